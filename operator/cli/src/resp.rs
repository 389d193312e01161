//! A small client of the Redis protocol: what the ledger's clients and its check need, and no more.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest reply line and largest bulk string accepted, in bytes: the ledger's values are far smaller.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Most replies within one.
const MANY_MAX: usize = 10_000;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`, `:1`, `$3...`: its bytes.
    Bytes(Vec<u8>),
    /// There is no such key.
    Nothing,
    /// `-ERR ...`, without the minus.
    Error(String),
    /// `*2...`: several.
    Many(Vec<Reply>),
}

/// A connection: commands are gathered, sent at once, and their replies read in order.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    read: usize,
}

impl Client {
    /// Connects, and says the password where there is one.
    ///
    /// # Errors
    /// Where nobody listens, or the password is not the right one.
    pub async fn connect(address: SocketAddr, password: Option<&str>) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, output: Vec::new(), input: Vec::new(), read: 0 };
        if let Some(password) = password
            && let Reply::Error(error) = client.call(&[b"AUTH", password.as_bytes()]).await?
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, error));
        }
        Ok(client)
    }

    /// Adds a command to what [`Client::flush`] sends.
    pub fn add(&mut self, arguments: &[&[u8]]) {
        self.output.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
        for argument in arguments {
            self.output.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
            self.output.extend_from_slice(argument);
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// Sends what was added.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// Reads the next reply.
    ///
    /// # Errors
    /// Where the connection is lost, or what comes is no reply that these commands can have.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, length)) = parse(&self.input[self.read..])? {
                self.read += length;
                return Ok(reply);
            }
            self.input.drain(..self.read);
            self.read = 0;
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// One command and its reply.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn call(&mut self, arguments: &[&[u8]]) -> io::Result<Reply> {
        self.add(arguments);
        self.flush().await?;
        self.reply().await
    }
}

/// The first whole reply and its length; `None` where more bytes are needed.
fn parse(input: &[u8]) -> io::Result<Option<(Reply, usize)>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not a reply: {what}"));
    let Some(end) = input.windows(2).position(|w| w == b"\r\n") else {
        return match input.len() > REPLY_BYTES_MAX {
            true => Err(bad("a line without end")),
            false => Ok(None),
        };
    };
    let (line, rest) = (&input[1..end.max(1)], &input[end + 2..]);
    let length = || -> io::Result<usize> {
        std::str::from_utf8(line).ok().and_then(|l| l.parse().ok()).ok_or_else(|| bad("a length"))
    };
    match input[0] {
        b'+' | b':' => Ok(Some((Reply::Bytes(line.to_vec()), end + 2))),
        b'-' => Ok(Some((Reply::Error(String::from_utf8_lossy(line).into_owned()), end + 2))),
        b'_' => Ok(Some((Reply::Nothing, end + 2))),
        b'$' if line == b"-1" => Ok(Some((Reply::Nothing, end + 2))),
        b'$' => {
            let length = length()?;
            if length > REPLY_BYTES_MAX {
                return Err(bad("too long"));
            }
            match rest.len() >= length + 2 {
                true => Ok(Some((Reply::Bytes(rest[..length].to_vec()), end + 2 + length + 2))),
                false => Ok(None),
            }
        }
        b'*' => {
            let (count, mut at, mut all) = (length()?, end + 2, Vec::new());
            if count > MANY_MAX {
                return Err(bad("too many"));
            }
            for _ in 0..count {
                let Some((reply, length)) = parse(&input[at..])? else { return Ok(None) };
                at += length;
                all.push(reply);
            }
            Ok(Some((Reply::Many(all), at)))
        }
        other => Err(bad(&format!("it begins with {:?}", char::from(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_come_whole_or_not_yet() {
        let stream = b"+OK\r\n$3\r\na\r\n\r\n$-1\r\n-ERR no\r\n:12\r\n*2\r\n$1\r\nb\r\n$-1\r\n";
        let all = [
            Reply::Bytes(b"OK".to_vec()),
            Reply::Bytes(b"a\r\n".to_vec()),
            Reply::Nothing,
            Reply::Error("ERR no".to_owned()),
            Reply::Bytes(b"12".to_vec()),
            Reply::Many(vec![Reply::Bytes(b"b".to_vec()), Reply::Nothing]),
        ];
        for cut in 0..=stream.len() {
            let (mut at, mut got) = (0, Vec::new());
            for end in [cut, stream.len()] {
                while let Some((reply, length)) = (at < end).then(|| parse(&stream[at..end]).unwrap()).flatten() {
                    at += length;
                    got.push(reply);
                }
            }
            assert_eq!(got, all, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_reply_is_an_error() {
        assert!(parse(b"HTTP/1.1 200\r\n").is_err());
        assert!(parse(b"$99999999999\r\n").is_err());
    }
}
