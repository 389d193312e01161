//! One client connection: a local task that reads what came, executes it on the core in place, and tells the pump.
//!
//! Replies are written by the pump ([`crate::pump`]). This task reads as long as the client takes its replies
//! ([`PENDING_BYTES_SOFT`]), is not paused by the core, and the disk keeps up.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
};
use trireme_replica::{
    engine::command::config::Tuning,
    io::{ClientId, Input},
};

use crate::{
    ahead::places_in,
    outbox::{Outbox, Replies},
    resp::Parser,
    shell::{Core, READ_BYTES, Shell, count},
};

/// Replies that may wait in bytes before no more commands are read.
const PENDING_BYTES_SOFT: usize = 1 << 20;
/// Replies that may wait in bytes before the connection is cut, whatever the limits say: above the longest reply.
const PENDING_BYTES_HARD: u64 = 1 << 30;
/// Commands executed before others get their turn, and before it is looked at how much the replies have grown.
pub(crate) const COMMANDS_PER_TURN: usize = 256;

/// A client one of whose last replies had so many bytes takes turns with others like it.
const LARGE_BYTES: usize = 64 << 10;
/// Bytes of replies to such clients in one turn, about: the others wait no longer than these take.
pub(crate) const LARGE_BYTES_PER_TURN: usize = 1 << 20;

/// Room in bytes that is made for a command of which little has come.
const ROOM_BYTES: usize = 1 << 20;

/// What the pump knows of a connection.
pub(crate) struct Client {
    id: ClientId,
    pub(crate) outbox: Outbox<Replies>,
    /// The core wants no commands.
    paused: Cell<bool>,
    /// Nothing more is executed; see [`Client::end_after_replies`].
    ending: Cell<bool>,
    /// The connection is cut when everything is written.
    closing: Cell<bool>,
    /// Bytes of the longest reply that it got when it got some last.
    longest: Cell<usize>,
    /// Commands executed since then.
    untold: Cell<usize>,
    /// Something was written since it was last looked whether it is idle.
    written: Cell<bool>,
    /// Since when more replies wait than may for long.
    much_since: Cell<Option<Instant>>,
}

impl Client {
    /// The core wants no commands from it (true), or wants them again.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.set(paused);
        if !paused {
            self.outbox.wake();
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> ClientId {
        self.id
    }

    /// Takes its replies from the core.
    pub(crate) fn take_replies(&self, core: &mut dyn Core) {
        self.untold.set(0);
        self.longest.set(core.take_replies(self.id, self.outbox.buffer().end()));
    }

    /// Closes the connection when what was answered has been written.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        self.outbox.wake();
    }

    /// Ends the connection, whatever waits to be written.
    pub(crate) fn cut(&self) {
        self.closing.set(true);
        self.outbox.cut();
    }

    /// Writes its replies, unless it takes so few of them that it is given up.
    pub(crate) fn flush(&self, tuning: &Tuning, listens: impl FnOnce() -> bool) {
        self.written.set(true);
        self.outbox.flush();
        self.look(tuning, listens);
    }

    /// One that has got nothing since the last call keeps no buffer.
    pub(crate) fn rest(&self) {
        if !self.written.replace(false) {
            self.outbox.let_go();
        }
    }

    /// Gives it up if too much of what it was told is unread, or much for too long.
    pub(crate) fn look(&self, tuning: &Tuning, listens: impl FnOnce() -> bool) {
        let (pending, [others, listeners]) = (self.outbox.pending() as u64, tuning.output);
        let limit = if pending > 0 && listens() { listeners } else { others };
        let hard = if limit.hard == 0 { PENDING_BYTES_HARD } else { limit.hard.min(PENDING_BYTES_HARD) };
        let much = limit.soft > 0 && pending > limit.soft;
        self.much_since.set(if much { self.much_since.get().or_else(|| Some(Instant::now())) } else { None });
        let long = self.much_since.get().is_some_and(|since| since.elapsed().as_secs() >= limit.soft_s);
        if (pending > hard || long) && !self.outbox.is_broken() {
            tracing::warn!(client = self.id, "a client does not read its replies: connection closed");
            self.outbox.cut();
        }
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(shell: Rc<Shell>, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client was gone before it was served");
        return;
    }
    let id = shell.clients_opened.get() + 1;
    shell.clients_opened.set(id);
    let addresses = [stream.peer_addr(), stream.local_addr()]
        .map(|address| address.map_or_else(|_| String::new(), |address| address.to_string()));
    let (read, write) = stream.into_split();
    let client = Rc::new(Client {
        id,
        outbox: Outbox::new(write),
        paused: Cell::new(false),
        ending: Cell::new(false),
        closing: Cell::new(false),
        longest: Cell::new(0),
        untold: Cell::new(0),
        written: Cell::new(false),
        much_since: Cell::new(None),
    });
    shell.clients.borrow_mut().insert(id, Rc::clone(&client));
    shell.step(Input::ClientOpened(id));
    let [address, local_address] = &addresses;
    shell.step(Input::ClientFrom { client: id, address, local_address });
    let mut reader = Reader {
        shell: &shell,
        client: &client,
        half: read,
        parser: Parser::default(),
        rest: BytesMut::new(),
        more: false,
    };
    reader.parser.set_stranger(shell.core.borrow().must_authenticate(id));
    poll_fn(|context| reader.poll(context)).await;
    shell.clients.borrow_mut().remove(&id);
    shell.step(Input::ClientClosed(id));
}

/// The reading side of a connection.
struct Reader<'a> {
    shell: &'a Shell,
    client: &'a Client,
    half: OwnedReadHalf,
    parser: Parser,
    /// What was read and not executed: the beginning of a command, or commands beyond the bounds of a turn.
    rest: BytesMut,
    /// `rest` may hold whole commands.
    more: bool,
}

impl Reader<'_> {
    /// Goes on as far as it can; ready when the connection is at its end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.client.outbox.register(context);
        let written = self.client.outbox.poll_flush(context).is_ready();
        if self.client.outbox.is_broken() || (written && self.client.closing.get()) {
            return Poll::Ready(());
        }
        while self.may_read() {
            if self.is_others_turn() {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let (read, asked) = if self.more {
                self.more = false;
                (Ok(self.execute_rest()), 0)
            } else if self.rest.is_empty() {
                let Poll::Ready(read) = self.poll_read_scratch(context) else { return Poll::Pending };
                (read, READ_BYTES)
            } else {
                let Poll::Ready(read) = self.poll_read_rest(context) else { return Poll::Pending };
                (read, READ_BYTES)
            };
            match read {
                Ok(0) if asked > 0 => self.end_after_replies(&[]),
                Ok(count) if self.more || count >= asked => {
                    // There is more to do here, but it is others' turn.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn may_read(&self) -> bool {
        !self.client.paused.get()
            && !self.client.ending.get()
            && !self.client.closing.get()
            && !self.shell.congested.get()
            && self.client.outbox.pending() <= PENDING_BYTES_SOFT
    }

    /// It gets large replies, and in this turn there are enough of these. Then something was executed, so that there will be a next turn.
    fn is_others_turn(&self) -> bool {
        self.client.longest.get() >= LARGE_BYTES && self.shell.large_left.get() == 0
    }

    /// One of its commands is executed: the next reply will be about as long as the last ones.
    fn takes_of_turn(&self) {
        let (bytes, left) = (self.client.longest.get(), &self.shell.large_left);
        if bytes < LARGE_BYTES {
            return;
        }
        left.set(left.get().saturating_sub(bytes));
        let untold = self.client.untold.get() + 1;
        self.client.untold.set(untold);
        if untold > COMMANDS_PER_TURN {
            self.client.longest.set(0); // It wants no replies now.
        }
    }

    /// Reads into the buffer that all share, and executes in place.
    fn poll_read_scratch(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let shell = self.shell;
        let mut scratch = shell.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.half).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let bytes = buffer.filled();
                let executed = self.execute(bytes);
                self.rest.extend_from_slice(&bytes[executed..]);
                Poll::Ready(Ok(bytes.len()))
            }
        }
    }

    /// Reads behind the beginning of a command.
    fn poll_read_rest(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        let missing = self.parser.bytes_needed().saturating_sub(self.rest.len()).max(1);
        if self.rest.capacity() - self.rest.len() < missing.min(READ_BYTES) {
            // At once for all that is missing, so that it is not moved again; but a length alone gets little.
            self.rest.reserve(missing.clamp(READ_BYTES, self.rest.len().max(ROOM_BYTES)));
        }
        let read = pin!(self.half.read_buf(&mut self.rest));
        let read = std::task::ready!(std::future::Future::poll(read, context));
        if matches!(read, Ok(count) if count > 0) {
            self.execute_rest();
            let most = self.shell.core.borrow().tuning().query;
            if self.rest.len() as u64 > most {
                tracing::warn!(client = self.client.id, "a command is longer than {most} bytes: connection closed");
                self.client.outbox.cut();
            }
        }
        Poll::Ready(read)
    }

    fn execute_rest(&mut self) -> usize {
        let rest = std::mem::take(&mut self.rest);
        // Nothing can be whole before this many bytes are there.
        let executed = if rest.len() < self.parser.bytes_needed() { 0 } else { self.execute(&rest) };
        self.rest = rest;
        self.rest.advance(executed);
        if self.rest.is_empty() {
            self.rest = BytesMut::new();
        }
        executed
    }

    /// Executes the whole commands that `bytes` begin with; returns how many bytes they have.
    fn execute(&mut self, bytes: &[u8]) -> usize {
        let mut core = self.shell.core.borrow_mut();
        let now = self.shell.clock.now();
        // The first goes by itself: most have none behind them.
        let (mut at, mut warm) = (0, 1);
        for _ in 0..COMMANDS_PER_TURN {
            if self.is_others_turn() {
                break;
            }
            if warm == 0 {
                let places = places_in(&bytes[at..]);
                core.warm(&places);
                warm = places.len().max(1);
            }
            match self.parser.parse(&bytes[at..]) {
                Ok(Some(length)) => {
                    let args = self.parser.arguments(&bytes[at..]);
                    (at, warm) = (at + length, warm - 1);
                    if self.parser.is_inline() && is_http(&args) {
                        count(&self.shell.protocol_errors);
                        tracing::warn!(
                            client = self.client.id,
                            "an HTTP client on the store's port: connection closed"
                        );
                        self.client.outbox.cut();
                        return at;
                    }
                    let Some(name) = args.first() else { continue };
                    let decides = self.parser.is_stranger() || name.eq_ignore_ascii_case(b"reset");
                    core.step(Input::Command { client: self.client.id, args: &args }, now);
                    self.takes_of_turn();
                    if decides {
                        drop(args);
                        self.parser.set_stranger(core.must_authenticate(self.client.id));
                    }
                }
                Ok(None) => {
                    self.shell.wake.notify_one();
                    return at;
                }
                Err(error) => {
                    count(&self.shell.protocol_errors);
                    tracing::debug!(client = self.client.id, %error, "not the protocol: connection closed");
                    let mut words = Vec::new();
                    error.write(&mut words);
                    drop(core);
                    self.end_after_replies(&words);
                    return at;
                }
            }
        }
        self.more = true;
        self.shell.wake.notify_one();
        at
    }

    /// Nothing more is executed. What was, is answered in its order; then these words are written and the connection is closed.
    fn end_after_replies(&mut self, words: &[u8]) {
        self.client.ending.set(true);
        self.shell.step(Input::LastWords { client: self.client.id, words });
    }
}

/// Whether it is the first or second line of a web browser that was led here: nothing of it may be executed.
fn is_http(args: &[&[u8]]) -> bool {
    args.first().is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}
