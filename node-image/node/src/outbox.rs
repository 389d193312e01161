//! What waits to be written to one connection, and the bell of the task that reads it.
//!
//! The pump appends and writes at once what the socket takes ([`Outbox::flush`]): no task is woken in the normal case. Only where the socket is full is the
//! connection's own task woken, which then waits until it can go on ([`Outbox::poll_flush`]).

use std::{
    cell::{Cell, RefCell, RefMut},
    io::ErrorKind,
    ops::Deref,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use tokio::net::tcp::OwnedWriteHalf;

/// A buffer larger than this is given back when it is empty.
const KEEP_BYTES: usize = 64 << 10;

/// What an outbox can be made of.
pub(crate) trait Buffer: Default + Deref<Target = [u8]> {
    /// Drops the first bytes.
    fn drop_front(&mut self, count: usize);
    /// Empties it; gives memory back if it has much.
    fn reset(&mut self);
}

impl Buffer for Vec<u8> {
    fn drop_front(&mut self, count: usize) {
        self.drain(..count);
    }

    fn reset(&mut self) {
        self.clear();
        self.shrink_to(KEEP_BYTES);
    }
}

impl Buffer for BytesMut {
    fn drop_front(&mut self, count: usize) {
        self.advance(count);
    }

    fn reset(&mut self) {
        self.clear();
        if self.capacity() > KEEP_BYTES * 16 {
            *self = BytesMut::new();
        }
    }
}

/// See the module.
pub(crate) struct Outbox<B> {
    half: OwnedWriteHalf,
    buffer: RefCell<B>,
    /// Bytes of `buffer` that the socket has taken.
    written: Cell<usize>,
    waker: Cell<Option<Waker>>,
    broken: Cell<bool>,
}

impl<B: Buffer> Outbox<B> {
    /// An empty one.
    pub(crate) fn new(half: OwnedWriteHalf) -> Outbox<B> {
        Outbox {
            half,
            buffer: RefCell::default(),
            written: Cell::new(0),
            waker: Cell::new(None),
            broken: Cell::new(false),
        }
    }

    /// Where to append.
    pub(crate) fn buffer(&self) -> RefMut<'_, B> {
        self.buffer.borrow_mut()
    }

    /// Bytes that wait.
    pub(crate) fn pending(&self) -> usize {
        self.buffer.borrow().len() - self.written.get()
    }

    /// Gives the buffer's memory back, if nothing waits in it.
    pub(crate) fn let_go(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.is_empty() {
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
        while !self.broken.get() && self.written.get() < buffer.len() {
            match self.half.try_write(&buffer[self.written.get()..]) {
                Ok(count) if count > 0 => self.written.set(self.written.get() + count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // What a slow reader has taken is dropped when it is half of the whole: each byte is moved at most once.
                    if self.written.get() > buffer.len() / 2 {
                        buffer.drop_front(self.written.take());
                    }
                    return false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.broken.set(true);
                    self.wake();
                }
            }
        }
        self.written.set(0);
        buffer.reset();
        true
    }
}
