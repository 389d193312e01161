//! The course where each region has a leader: a region is cut off, both sides write the same keys, and when it is back all regions have become the same.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::{interval, timeout};
use trireme_cli::{
    Failure,
    ledger::Load,
    resp::{Client, Reply},
};
use trireme_local::{Local, View};

use super::{FRAME, Rate, STEP_MAX, apply, show::Show, watch};

/// How long the region stays away, under load.
const AWAY: Duration = Duration::from_millis(2_000);
/// What is looked at, in this order.
const LOOKS: [(&str, &[&str]); 4] = [
    ("GET price", &["GET", "price"]),
    ("GET visits", &["GET", "visits"]),
    ("SCARD cart", &["SCARD", "cart"]),
    ("HGET card name", &["HGET", "card", "name"]),
];

/// A region to be cut off, and the texts of the store with it apart and together with the others.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Its name.
    pub region: String,
    /// The store whose feeds with it are paused.
    pub apart: String,
    /// The same without that.
    pub together: String,
}

/// What each region showed of the same keys.
#[derive(Clone, Debug, Default)]
pub struct Healed {
    /// The region that was cut off.
    pub region: String,
    /// All regions.
    pub regions: Vec<String>,
    /// Of each look, what each region showed while one was away, and at the end.
    pub looks: Vec<(&'static str, Vec<String>, Vec<String>)>,
    /// What the counter has to be: everything that was counted anywhere.
    pub visits: u64,
    /// From the moment in which the region was let back until all regions showed the same.
    pub after: Duration,
}

impl Healed {
    /// Whether all regions show the same, the counter has everything and the set has everybody's.
    pub fn holds(&self) -> bool {
        let same = |values: &Vec<String>| values.windows(2).all(|pair| pair[0] == pair[1]);
        let of = |what: &str| self.looks.iter().find(|(name, ..)| *name == what).and_then(|(.., end)| end.first());
        self.looks.iter().all(|(.., end)| same(end))
            && of("GET visits") == Some(&self.visits.to_string())
            && of("SCARD cart") == Some(&self.regions.len().to_string())
            && of("HGET card name").is_some_and(|name| name == &self.region)
    }
}

/// A replica of each region.
fn regions(view: &View) -> Vec<(String, SocketAddr)> {
    let mut all: Vec<(String, SocketAddr)> = Vec::new();
    for replica in &view.replicas {
        if !all.iter().any(|(region, _)| *region == replica.region) {
            all.push((replica.region.clone(), replica.address));
        }
    }
    all
}

async fn ask(client: &mut Client, command: &[&str]) -> Result<String, Failure> {
    let words: Vec<&[u8]> = command.iter().map(|word| word.as_bytes()).collect();
    let late = |_| Failure::Failed(format!("a client got no answer to {}", command.join(" ")));
    match timeout(STEP_MAX, client.call(&words)).await.map_err(late)?.map_err(Failure::from_error)? {
        Reply::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Reply::Nothing => Ok("-".to_owned()),
        Reply::Error(why) => Err(Failure::Failed(format!("{} was answered {why}", command.join(" ")))),
        Reply::Many(_) => Err(Failure::Failed(format!("{} was answered a list", command.join(" ")))),
    }
}

/// What each region shows of everything.
async fn look(clients: &mut [Client]) -> Result<Vec<Vec<String>>, Failure> {
    let mut all = Vec::new();
    for (_, command) in LOOKS {
        let mut values = Vec::new();
        for client in &mut *clients {
            values.push(ask(client, command).await?);
        }
        all.push(values);
    }
    Ok(all)
}

/// Cuts the region off, has all regions write the same keys, lets it back, and waits until all of them show the same.
///
/// # Errors
/// Where something that must happen does not happen in time.
pub(super) async fn run(
    store: &Local,
    load: &Load,
    rate: &mut Rate,
    show: &mut Show,
    cut: &Cut,
) -> Result<Healed, Failure> {
    let places = regions(&store.view().borrow());
    let mut clients = Vec::new();
    for (_, address) in &places {
        clients.push(Client::connect(*address, None).await.map_err(Failure::from_error)?);
    }
    ask(&mut clients[0], &["HSET", "card", "name", "nobody"]).await?;
    wait(store, load, rate, show, &mut clients, |looks| looks[3].iter().all(|name| name == "nobody")).await?;
    apply(store.dir(), &cut.apart).await?;
    show.cut_off(&cut.region);
    watch(store, load, rate, show, AWAY / 2).await;
    let mut visits = 0;
    for (number, ((region, _), client)) in places.iter().zip(&mut clients).enumerate() {
        let by = 10_u64.pow(number as u32);
        visits += by;
        ask(client, &["SET", "price", &format!("{}", 10 + number)]).await?;
        ask(client, &["INCRBY", "visits", &by.to_string()]).await?;
        ask(client, &["SADD", "cart", &format!("from {region}")]).await?;
    }
    // One side removes all of it, the other one sets a field anew, which the first has not seen.
    ask(&mut clients[0], &["DEL", "card"]).await?;
    let away = places.iter().position(|(region, _)| *region == cut.region).unwrap_or(0);
    ask(&mut clients[away], &["HSET", "card", "name", &cut.region]).await?;
    watch(store, load, rate, show, AWAY / 2).await;
    // Those that reach each other know of each other by now.
    let the_others = |values: &Vec<String>| {
        let mut others = values.iter().enumerate().filter(|(at, _)| *at != away).map(|(_, value)| value);
        let first = others.next();
        others.all(|value| Some(value) == first)
    };
    let apart = wait(store, load, rate, show, &mut clients, |looks| looks.iter().all(the_others)).await?;
    let names: Vec<String> = places.iter().map(|(region, _)| region.clone()).collect();
    show.looks(&names, &LOOKS.map(|(name, _)| name), &apart);
    let back = Instant::now();
    apply(store.dir(), &cut.together).await?;
    let same = |looks: &[Vec<String>]| looks.iter().all(|values| values.windows(2).all(|pair| pair[0] == pair[1]));
    let end = wait(store, load, rate, show, &mut clients, same).await?;
    let after = back.elapsed();
    let looks = LOOKS.iter().zip(apart).zip(end).map(|(((name, _), apart), end)| (*name, apart, end)).collect();
    let healed = Healed { region: cut.region.clone(), regions: names, looks, visits, after };
    show.together(&healed);
    Ok(healed)
}

/// Lets the load run until what the regions show is like this.
async fn wait(
    store: &Local,
    load: &Load,
    rate: &mut Rate,
    show: &mut Show,
    clients: &mut [Client],
    until: impl Fn(&[Vec<String>]) -> bool,
) -> Result<Vec<Vec<String>>, Failure> {
    let (end, mut frames) = (Instant::now() + STEP_MAX, interval(FRAME));
    loop {
        let looks = look(clients).await?;
        if until(&looks) {
            return Ok(looks);
        }
        if Instant::now() > end {
            return Err(Failure::Failed(format!("{} s later the regions still show {looks:?}", STEP_MAX.as_secs())));
        }
        frames.tick().await;
        rate.frame(store, load, show);
    }
}
