//! The first frame of both sides, and when it is refused.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use trireme_proto::{
    Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, ReplicaId,
    frame::{self, FrameError},
    message::Hello,
};

/// Both sides must have said Hello within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// So much of a name that a stranger says is kept.
const STORE_CHARS_MAX: usize = 80;
/// Longest first frame in bytes: nothing larger is read from somebody unknown.
const FRAME_BYTES_MAX: usize = 16 << 10;

/// Why a connection between peers did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    /// It speaks another version.
    #[error("it speaks version {0} of the protocol, this replica {PROTOCOL_VERSION_MIN} to {max}: upgrade one step at a time", max = PROTOCOL_VERSION + 1)]
    Version(u32),
    /// It is of another store.
    #[error("it belongs to store {0:?}: an address is used by two stores")]
    Store(String),
    /// It wants another replica.
    #[error("it wants replica {0}: an address belongs to another replica than it believes")]
    Recipient(ReplicaId),
    /// It is another replica than the one called, or cannot be one.
    #[error("it says that it is replica {0}, which cannot be here")]
    Sender(ReplicaId),
    /// It has no incarnation.
    #[error("replica {0} names no incarnation")]
    Incarnation(ReplicaId),
    /// It was called, and its parent answers in its place.
    #[error("the process of replica {0} has ended")]
    Ended(ReplicaId),
    /// A replica with its number is connected, from another disk.
    #[error("replica {0} is connected as another incarnation: two processes say that they are this replica")]
    Twin(ReplicaId),
    /// At the port for peers: only edges have keys.
    #[error("replica {0} is an edge, and this is the port for peers: edges come by a door of their own")]
    WrongDoor(ReplicaId),
    /// At a door for edges: its key is none that the record knows.
    #[error(
        "replica {0} shows no key of an edge of this store: its token is another store's, or one that was never valid"
    )]
    Key(ReplicaId),
    /// At a door for edges: it is not one any more.
    #[error("the edge {0} was revoked: its token lets nobody in any more")]
    Revoked(String),
    /// At a door for edges: somebody else leads here.
    #[error("it does not lead its region: another one does, or will")]
    LeadsNot,
    /// At an edge: it was turned away, and told why.
    #[error("turned away: {0}")]
    Refused(String),
    /// At an edge: this door is not the right one now, and why.
    #[error("not now: {0}")]
    NotNow(String),
    /// At a door for edges: this edge is connected here by another door.
    #[error("it is connected here by another door")]
    Already,
    /// It began with something else.
    #[error("it did not begin with Hello")]
    NoHello,
    /// It did not speak the protocol.
    #[error("it does not speak this protocol: {0}")]
    Frame(#[from] FrameError),
    /// It was silent.
    #[error("it said nothing for {} s", PATIENCE.as_secs())]
    Silent,
    /// The connection failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl HelloError {
    /// Whether it is a refusal, for the counter and the status, or just a connection that failed.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(
            self,
            HelloError::Io(_)
                | HelloError::Silent
                | HelloError::Ended(_)
                | HelloError::LeadsNot
                | HelloError::Already
                | HelloError::NotNow(_)
        )
    }
}

/// Who is on the other side, and what it already sent after its Hello.
#[derive(Debug)]
pub(crate) struct Greeted {
    /// Its Hello.
    pub(crate) hello: Hello,
    /// The beginning of what follows.
    pub(crate) rest: BytesMut,
}

/// Greets as the side that called: first speaks, then listens.
pub(crate) async fn call(stream: &mut TcpStream, mine: &Hello) -> Result<Greeted, HelloError> {
    patiently(async {
        say(stream, mine.clone()).await?;
        let greeted = listen(stream).await?;
        match check(&greeted.hello, mine) {
            Err(HelloError::Incarnation(id)) => return Err(HelloError::Ended(id)),
            checked => checked?,
        }
        if greeted.hello.from == mine.to { Ok(greeted) } else { Err(HelloError::Sender(greeted.hello.from)) }
    })
    .await
}

/// Greets as the side that was called. The answer is given even where the other is refused, so that it can see why.
pub(crate) async fn answer(stream: &mut TcpStream, mine: &Hello) -> Result<Greeted, HelloError> {
    patiently(async {
        let greeted = listen(stream).await?;
        let from = greeted.hello.from;
        say(stream, Hello { to: from, ..mine.clone() }).await?;
        check(&greeted.hello, mine)?;
        if !greeted.hello.key.is_empty() {
            return Err(HelloError::WrongDoor(from));
        }
        // Of two replicas the one with the lower number calls: anything else would be a second connection.
        if from < mine.from { Ok(greeted) } else { Err(HelloError::Sender(from)) }
    })
    .await
}

/// Greets as an edge that knocks: whoever is behind the door says who it is, or why it does not let the edge in.
pub(super) async fn knock(stream: &mut TcpStream, mine: &Hello) -> Result<Greeted, HelloError> {
    patiently(async {
        say(stream, mine.clone()).await?;
        let greeted = listen(stream).await?;
        check(&greeted.hello, mine)?;
        match (greeted.hello.refused.as_str(), greeted.hello.not_now) {
            ("", _) => Ok(greeted),
            (why, true) => Err(HelloError::NotNow(why.to_owned())),
            (why, false) => Err(HelloError::Refused(why.to_owned())),
        }
    })
    .await
}

/// Greets whoever knocks at the door for edges, if `admit` has nothing against it.
pub(super) async fn open_door(
    stream: &mut TcpStream,
    mine: &Hello,
    admit: impl FnOnce(&Hello) -> Result<(), HelloError>,
) -> Result<Greeted, HelloError> {
    patiently(async {
        let greeted = listen(stream).await?;
        let from = greeted.hello.from;
        // It does not say whom it wants, as it cannot know who is there.
        let admitted =
            check(&Hello { to: mine.from, ..greeted.hello.clone() }, mine).and_then(|()| admit(&greeted.hello));
        let answer = match &admitted {
            Ok(()) => Hello { to: from, ..mine.clone() },
            // A stranger learns nothing of who is here.
            Err(why) => {
                let (version, store, not_now) = (mine.version, greeted.hello.store.clone(), !why.is_refusal());
                Hello { version, store, to: from, refused: why.to_string(), not_now, ..Hello::default() }
            }
        };
        say(stream, answer).await?;
        admitted.map(|()| greeted)
    })
    .await
}

async fn patiently(greeting: impl Future<Output = Result<Greeted, HelloError>>) -> Result<Greeted, HelloError> {
    timeout(PATIENCE, greeting).await.unwrap_or(Err(HelloError::Silent))
}

fn check(theirs: &Hello, mine: &Hello) -> Result<(), HelloError> {
    if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION + 1).contains(&theirs.version) {
        return Err(HelloError::Version(theirs.version));
    }
    if theirs.store != mine.store {
        // It is shown and logged: no more of it than a name has.
        return Err(HelloError::Store(theirs.store.chars().take(STORE_CHARS_MAX).collect()));
    }
    if theirs.to != mine.from {
        return Err(HelloError::Recipient(theirs.to));
    }
    if theirs.from != 0 && theirs.incarnation == 0 {
        return Err(HelloError::Incarnation(theirs.from));
    }
    Ok(())
}

async fn say(stream: &mut TcpStream, hello: Hello) -> Result<(), HelloError> {
    let mut out = BytesMut::new();
    frame::encode(Message::Hello(hello), &mut out);
    Ok(stream.write_all(&out).await?)
}

/// The other side's first frame, which must be a Hello.
pub(crate) async fn listen(stream: &mut TcpStream) -> Result<Greeted, HelloError> {
    let mut rest = BytesMut::with_capacity(1 << 10);
    loop {
        if let Some(length) = rest.first_chunk::<4>().map(|raw| u32::from_le_bytes(*raw) as usize)
            && length > FRAME_BYTES_MAX
        {
            return Err(FrameError::TooLong(length).into());
        }
        match frame::decode(&mut rest)? {
            Some(Some(Message::Hello(hello))) => return Ok(Greeted { hello, rest }),
            Some(_) => return Err(HelloError::NoHello),
            None => {}
        }
        if stream.read_buf(&mut rest).await? == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
}
