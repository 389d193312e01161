//! A client that asks one thing at a time, or many of a kind: for looking, not for load.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::load::resp::{Reply, encode, reply};

const CONNECT_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Requests sent before their answers are read.
const BATCH: usize = 512;

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self, String> {
        let open = || {
            let socket = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
            socket.set_read_timeout(Some(ANSWER_MAX))?;
            socket.set_write_timeout(Some(ANSWER_MAX))?;
            socket.set_nodelay(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error: std::io::Error| format!("{address}: {error}"))?;
        Ok(Client { socket, received: Vec::new() })
    }

    /// Asks, and waits for one answer: a string, or the text of a status or number.
    ///
    /// # Errors
    /// When it is an error, or does not come.
    pub fn bulk(&mut self, command: &[&[u8]]) -> Result<Option<Vec<u8>>, String> {
        self.send(&encode(command))?;
        self.receive()
    }

    /// Asks several things at once, and waits for their answers: the last one.
    ///
    /// # Errors
    /// When one of them is an error, or does not come.
    pub fn last_of(&mut self, commands: &[&[&[u8]]]) -> Result<Option<Vec<u8>>, String> {
        let requests: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        self.send(&requests)?;
        let mut last = None;
        for _ in commands {
            last = self.receive()?;
        }
        Ok(last)
    }

    /// The values of many keys, in order.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn values(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let mut values = Vec::with_capacity(keys.len());
        for batch in keys.chunks(BATCH) {
            let requests: Vec<u8> = batch.iter().flat_map(|key| encode(&[b"GET", key])).collect();
            self.send(&requests)?;
            for _ in batch {
                values.push(self.receive()?);
            }
        }
        Ok(values)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket.write_all(bytes).map_err(|error| error.to_string())
    }

    fn receive(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            if let Some((answer, consumed)) = reply(&self.received)? {
                let answer = match answer {
                    Reply::Error(_) => Err(String::from_utf8_lossy(&self.received[..consumed]).trim_end().to_owned()),
                    Reply::Simple(text) => Ok(Some(text.to_vec())),
                    Reply::Integer(number) => Ok(Some(number.to_string().into_bytes())),
                    Reply::Bulk(value) => Ok(value.map(<[u8]>::to_vec)),
                };
                self.received.drain(..consumed);
                return answer;
            }
            let mut buffer = [0; 16 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err("connection closed".into()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
