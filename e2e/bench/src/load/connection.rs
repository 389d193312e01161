//! One connection: its socket, what is on its way, and what is still to be written or understood.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::Request;

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    /// When it was meant to be sent.
    pub intended: Instant,
    /// What it asked.
    pub request: Request,
}

/// A connection and all that belongs to it.
pub(super) struct Connection<C> {
    /// `None` while it is broken.
    pub socket: Option<TcpStream>,
    /// Its server's place in the list of addresses; the next one is tried when it breaks.
    pub server: usize,
    /// What the protocol remembers.
    pub protocol: C,
    /// Oldest first.
    pub in_flight: VecDeque<InFlight>,
    /// Requests sent so far: the number of the last one.
    pub sent: u64,
    /// To be written.
    pub out: Vec<u8>,
    /// Received, and not yet a whole answer.
    pub leftover: Vec<u8>,
}

/// Reading or writing ended because the other side is gone.
pub(super) struct Gone;

impl<C: Default> Connection<C> {
    /// One that is not connected yet.
    pub fn new(server: usize) -> Self {
        Connection {
            socket: None,
            server,
            protocol: C::default(),
            in_flight: VecDeque::new(),
            sent: 0,
            out: Vec::with_capacity(4096),
            leftover: Vec::new(),
        }
    }

    /// Connects to `address` and forgets what the connection before had said. What was on its way must have been accounted for.
    pub fn connect(&mut self, address: SocketAddr) -> std::io::Result<&TcpStream> {
        let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        self.protocol = C::default();
        self.out.clear();
        self.leftover.clear();
        Ok(self.socket.insert(socket))
    }

    /// Writes what it can; the rest waits for the socket to become writable.
    pub fn flush(&mut self) -> Result<(), Gone> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let mut written = 0;
        while written < self.out.len() {
            match socket.write(&self.out[written..]) {
                Ok(0) => return Err(Gone),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        if written == self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..written);
        }
        Ok(())
    }

    /// Reads once: how many bytes came, 0 when there are none for now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Gone> {
        let Some(socket) = &mut self.socket else { return Ok(0) };
        loop {
            match socket.read(buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}
