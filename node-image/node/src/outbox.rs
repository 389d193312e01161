//! What waits to be written to one connection, and the bell of the task that reads it.
//!
//! The pump appends and writes at once what the socket takes ([`Outbox::flush`]): no task is woken in the normal case. Only where the socket is full is the
//! connection's own task woken, which then waits until it can go on ([`Outbox::poll_flush`]).

use std::{
    cell::{Cell, RefCell, RefMut},
    io::{ErrorKind, IoSlice},
    task::{Context, Poll, Waker},
};

use bytes::Buf;
use tokio::net::tcp::OwnedWriteHalf;
use trireme_proto::pieces::Pieces;

/// A buffer of replies larger than this is given back when it is empty.
const KEEP_BYTES: usize = 64 << 10;
/// Pieces that are written in one go.
const SLICES: usize = 16;

/// What an outbox can be made of.
pub(crate) trait Buffer: Buf + Default {
    /// Gives memory back if nothing is left and it has much.
    fn let_go(&mut self);
}

impl Buffer for Pieces {
    fn let_go(&mut self) {
        Pieces::let_go(self);
    }
}

/// Replies to a client, behind those that its socket has taken.
#[derive(Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    written: usize,
}

impl Replies {
    /// Where to append.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Buf for Replies {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// What a slow reader has taken is dropped when it is half of the whole: each byte is moved at most once.
    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..std::mem::take(&mut self.written));
        }
    }
}

impl Buffer for Replies {
    fn let_go(&mut self) {
        self.bytes.shrink_to(KEEP_BYTES);
    }
}

/// See the module.
pub(crate) struct Outbox<B> {
    half: OwnedWriteHalf,
    buffer: RefCell<B>,
    waker: Cell<Option<Waker>>,
    broken: Cell<bool>,
}

impl<B: Buffer> Outbox<B> {
    /// An empty one.
    pub(crate) fn new(half: OwnedWriteHalf) -> Outbox<B> {
        Outbox { half, buffer: RefCell::default(), waker: Cell::new(None), broken: Cell::new(false) }
    }

    /// Where to append.
    pub(crate) fn buffer(&self) -> RefMut<'_, B> {
        self.buffer.borrow_mut()
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.buffer.borrow().remaining()
    }

    /// Gives the buffer's memory back, if nothing waits in it.
    pub(crate) fn let_go(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.has_remaining() {
            *buffer = B::default();
        }
    }

    /// Ends the connection: its task notices at once.
    pub(crate) fn cut(&self) {
        self.broken.set(true);
        self.wake();
    }

    /// Whether it was cut, or a write failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// Has the connection's task look at its state again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Notes the task that [`Outbox::wake`] wakes.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let waker = match self.waker.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.waker.set(Some(waker));
    }

    /// Writes what the socket takes now; the connection's task sees to the rest.
    pub(crate) fn flush(&self) {
        if !self.write() {
            self.wake();
        }
    }

    /// Writes until nothing is left (`Ready`) or the socket is full.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<()> {
        while !self.write() {
            match self.half.as_ref().poll_write_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.broken.set(true),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Whether nothing is left to be written; a broken connection has nothing left.
    fn write(&self) -> bool {
        let mut buffer = self.buffer.borrow_mut();
        while !self.broken.get() && buffer.has_remaining() {
            match self.write_some(&*buffer) {
                Ok(count) if count > 0 => buffer.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.broken.set(true);
                    self.wake();
                }
            }
        }
        buffer.let_go();
        true
    }

    fn write_some(&self, buffer: &B) -> std::io::Result<usize> {
        let first = buffer.chunk();
        if first.len() == buffer.remaining() {
            return self.half.try_write(first);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = buffer.chunks_vectored(&mut slices);
        self.half.try_write_vectored(&slices[..count])
    }
}
