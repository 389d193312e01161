//! What sessions promise: each guarantee is kept by a session that carries its token to a replica that lacks what it has seen, and is seen to be broken, by
//! the checker that all loads have, where the session leaves it out.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use trireme_cli::resp::{Client, Reply};
use trireme_sessions::{Guarantee, Key, Session, Value};

use crate::{
    harness::{
        Case, Failure, Outcome, Stage, Store, ensure,
        load::{block, password},
        shell::fault,
        store::{CLIENT_PORT, Pod},
    },
    multi_leader::leader,
};

pub const CASES: &[Case] = &[Case { name: "sessions", faults: true, run: sessions }];

/// Longest time for an answer, and until what was written at one replica is at another one.
const ANSWERED: Duration = Duration::from_secs(15);
/// What a replica passes on of what another one has missed takes longer than all that is looked at here.
const SLOWLY: &str = "64Ki";
const LARGE: usize = 1 << 20;

fn sessions(stage: &Stage) -> Outcome {
    let wait = json!({ "waitMs": 300 });
    let single = json!({ "mode": "SingleLeader", "r": 1, "session": wait, "requestTimeout": "2s" });
    let store = stage.store("one", &single)?;
    store.all_pods_ready(3)?;
    let (at, behind) = (store.leader()?, store.follower()?);
    block(reads(&store, &at, &behind))?;

    let regions = json!([{ "name": "r1" }, { "name": "r2" }]);
    let store =
        stage.store("each", &json!({ "mode": "MultiLeader", "n": 1, "w": 1, "regions": regions, "session": wait }))?;
    store.all_pods_ready(2)?;
    let (at, behind) = (leader(&store, "r1")?, leader(&store, "r2")?);
    block(reads(&store, &at, &behind))?;
    block(writes(&store, &at, &behind))?;

    let none: Json = json!({
        "mode": "Leaderless", "n": 3, "w": 1, "r": 1, "writeOrder": "Clock", "session": wait, "feedBytesPerSecond": SLOWLY,
    });
    let store = stage.store("none", &none)?;
    store.all_pods_ready(3)?;
    let pods = store.pods();
    let [first, second, third] = &pods[..] else { return Err(Failure(format!("{} pods", pods.len()))) };
    block(prefix(&store, [first, second, third]))?;
    block(reads(&store, first, third))
}

/// A connection, and where it leads.
struct Line {
    client: Client,
    pod: String,
}

impl Line {
    async fn open(store: &Store<'_>, pod: &Pod) -> Outcome<Line> {
        let (password, address) = (password(store)?, SocketAddr::from((pod.address, CLIENT_PORT)));
        let client = Client::connect(address, password.as_deref()).await;
        let client = client.map_err(|error| Failure(format!("{}: {error}", pod.name)))?;
        let mut line = Line { client, pod: pod.name.clone() };
        line.done(&["READONLY"]).await?;
        Ok(line)
    }

    async fn say(&mut self, words: &[&str]) -> Outcome<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let answer = tokio::time::timeout(ANSWERED, self.client.call(&words)).await;
        let answer = answer.map_err(|_| Failure(format!("{} does not answer", self.pod)))?;
        answer.map_err(|error| Failure(format!("{}: {error}", self.pod)))
    }

    async fn done(&mut self, words: &[&str]) -> Outcome {
        match self.say(words).await? {
            Reply::Error(error) => Err(Failure(format!("{} answers {}: {error}", self.pod, words[0]))),
            _ => Ok(()),
        }
    }

    /// Goes on with a session that leaves out what is not among these, `DEFAULT` or `NONE`.
    async fn go_on(&mut self, token: &str, guarantees: &[&str]) -> Outcome {
        self.done(&["SESSION", "RESUME", token]).await?;
        self.done(&[&["SESSION", "GUARANTEES"], guarantees].concat()).await
    }

    async fn token(&mut self) -> Outcome<String> {
        match self.say(&["SESSION", "TOKEN"]).await? {
            Reply::Bytes(token) => Ok(String::from_utf8_lossy(&token).into_owned()),
            other => Err(Failure(format!("{}: no token but {other:?}", self.pod))),
        }
    }

    /// Writes a session's next value of a key.
    async fn write(&mut self, session: &mut Session, which: usize) -> Outcome<Key> {
        let key = session.key(which);
        let value = session.next_value(&[key]);
        self.done(&["SET", &key.to_string(), &value.text()]).await?;
        session.wrote(key, value.number);
        Ok(key)
    }

    /// What keys show; the text of an error where that is the answer.
    async fn read(&mut self, keys: &[Key]) -> Outcome<Result<Vec<(Key, Value)>, String>> {
        let names: Vec<String> = keys.iter().map(Key::to_string).collect();
        let words: Vec<&str> = ["MGET"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let value = |reply: &Reply| match reply {
            Reply::Bytes(text) => Value::read(&String::from_utf8_lossy(text)).unwrap_or_default(),
            _ => Value::default(),
        };
        match self.say(&words).await? {
            Reply::Many(values) => Ok(Ok(keys.iter().copied().zip(values.iter().map(value)).collect())),
            Reply::Error(error) => Ok(Err(error)),
            other => Err(Failure(format!("{}: {other:?}", self.pod))),
        }
    }

    /// Reads until a key has the number that it was given.
    async fn comes(&mut self, key: Key, number: u64) -> Outcome {
        let since = Instant::now();
        while !self.read(&[key]).await?.is_ok_and(|shown| shown[0].1.number >= number) {
            ensure(since.elapsed() < ANSWERED, || format!("{key} has not come to {} within {ANSWERED:?}", self.pod))?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Looks at keys as a session that leaves out a guarantee: the checker must say that this one is broken.
    async fn shows_less(&mut self, session: &mut Session, keys: &[Key], broken: Guarantee) -> Outcome {
        let shown = self.read(keys).await?.map_err(|error| Failure(format!("{}: {error}", self.pod)))?;
        let found = session.saw(&shown).err();
        println!(
            "    {}: left out, it is broken: {}",
            self.pod,
            found.as_ref().map_or(String::new(), ToString::to_string)
        );
        ensure(found.as_ref().is_some_and(|found| found.guarantee == broken), || {
            format!("{}: {broken:?} was to be broken: {found:?}, of {shown:?}", self.pod)
        })
    }

    /// Looks at keys as a session that has all guarantees: it is shown what it may be, or refused.
    async fn keeps(&mut self, session: &mut Session, keys: &[Key]) -> Outcome {
        match self.read(keys).await? {
            Ok(shown) => session.saw(&shown).map_err(|broken| Failure(format!("{}: {broken}", self.pod))),
            Err(error) => ensure(error.starts_with("STALE"), || format!("{}: {error}", self.pod)),
        }
    }
}

/// Cuts a replica off from these, both ways; whoever is no replica still reaches it.
fn apart(one: &Pod, others: &[&Pod]) -> Outcome {
    let path =
        |from: &Pod, to: &Pod| fault(&["cut-path", &one.node, &from.address.to_string(), &to.address.to_string()]);
    others.iter().try_for_each(|other| path(one, other).and_then(|()| path(other, one)))
}

fn together(pod: &Pod) -> Outcome {
    fault(&["heal", &pod.node])
}

/// Read your writes, and monotonic reads: at a replica that is behind another one.
async fn reads(store: &Store<'_>, at: &Pod, behind: &Pod) -> Outcome {
    let (mut writer, mut reader) = (Session::new(0), Session::new(1));
    let (mut here, mut there) = (Line::open(store, at).await?, Line::open(store, behind).await?);
    let key = here.write(&mut writer, 0).await?;
    there.comes(key, 1).await?;
    let pods = store.pods();
    let others: Vec<&Pod> = pods.iter().filter(|pod| pod.name != behind.name).collect();
    apart(behind, &others)?;
    here.write(&mut writer, 0).await?;
    let wrote = here.token().await?;
    let mut looks = Line::open(store, at).await?;
    looks.keeps(&mut reader, &[key]).await?;
    let saw = looks.token().await?;
    for (token, session, broken) in
        [(wrote, &mut writer, Guarantee::ReadYourWrites), (saw, &mut reader, Guarantee::MonotonicReads)]
    {
        let mut there = Line::open(store, behind).await?;
        there.go_on(&token, &["WritesFollowReads", "MonotonicWrites"]).await?;
        there.shows_less(&mut session.clone(), &[key], broken).await?;
        there.done(&["SESSION", "GUARANTEES", "DEFAULT"]).await?;
        there.keeps(session, &[key]).await?;
    }
    together(behind)?;
    let mut there = Line::open(store, behind).await?;
    there.comes(key, 2).await
}

/// Monotonic writes, and writes follow reads: in a region that lacks what the session has written and read in another one.
async fn writes(store: &Store<'_>, at: &Pod, behind: &Pod) -> Outcome {
    let (mut writer, mut reader) = (Session::new(2), Session::new(3));
    let (mut here, mut there) = (Line::open(store, at).await?, Line::open(store, behind).await?);
    let cause = here.write(&mut writer, 0).await?;
    there.comes(cause, 1).await?;
    apart(behind, &[at])?;
    here.write(&mut writer, 0).await?;
    let wrote = here.token().await?;
    let mut looks = Line::open(store, at).await?;
    looks.keeps(&mut reader, &[cause]).await?;
    let saw = looks.token().await?;
    for (token, session, broken) in
        [(wrote, &mut writer, Guarantee::MonotonicWrites), (saw, &mut reader, Guarantee::WritesFollowReads)]
    {
        let mut there = Line::open(store, behind).await?;
        there.go_on(&token, &["DEFAULT"]).await?;
        let refused = there.write(&mut session.clone(), 1).await;
        let why = refused.err().map_or(String::new(), |Failure(why)| why);
        ensure(why.contains("STALE"), || format!("a write that its cause is missing for: {why:?}"))?;
        there.done(&["SESSION", "GUARANTEES", "ReadYourWrites", "MonotonicReads"]).await?;
        let effect = there.write(session, 1).await?;
        let (mut stranger, mut anybody) = (Line::open(store, behind).await?, Session::new(9));
        stranger.keeps(&mut anybody, &[effect]).await?;
        stranger.shows_less(&mut anybody, &[cause], broken).await?;
    }
    together(behind)?;
    there.comes(cause, 2).await
}

/// Consistent prefix: at a replica that has got an effect before its cause, which came by another one.
async fn prefix(store: &Store<'_>, [first, second, third]: [&Pod; 3]) -> Outcome {
    let (mut writer, mut follower) = (Session::new(4), Session::new(5));
    let mut here = Line::open(store, first).await?;
    let cause = here.write(&mut writer, 0).await?;
    let mut there = Line::open(store, third).await?;
    there.comes(cause, 1).await?;
    apart(third, &[first])?;
    here.done(&["SET", "large", &"x".repeat(LARGE)]).await?;
    here.write(&mut writer, 0).await?;
    let mut between = Line::open(store, second).await?;
    between.comes(cause, 2).await?;
    between.keeps(&mut follower, &[cause]).await?;
    let effect = between.write(&mut follower, 0).await?;
    there.done(&["SESSION", "GUARANTEES", "NONE"]).await?;
    there.comes(effect, 1).await?;
    there.shows_less(&mut Session::new(9), &[cause, effect], Guarantee::ConsistentPrefix).await?;
    there.done(&["SESSION", "GUARANTEES", "DEFAULT"]).await?;
    there.keeps(&mut Session::new(9), &[cause, effect]).await?;
    store.patch(&json!({ "feedBytesPerSecond": null }))?;
    together(third)?;
    let mut there = Line::open(store, third).await?;
    there.comes(cause, 2).await
}
