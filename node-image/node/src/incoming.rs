//! Reads what a peer says off its bytes: frames, and frames within packed pieces ([`trireme_proto::message::Packed`]).
//!
//! A message lies where it was read: what the core keeps of it keeps the whole block alive, so one block serves many frames. After an error the bytes have no
//! known meaning: the connection is closed.

use bytes::BytesMut;
use trireme_proto::{Message, frame};

use crate::peers::unpack;

/// One connection's bytes, from the first one that has not been understood.
#[derive(Debug, Default)]
pub struct Incoming {
    plain: BytesMut,
    /// What was packed, as far as it is not a whole frame yet.
    unpacked: BytesMut,
}

impl Incoming {
    /// Begins with what has come already.
    pub fn new(plain: BytesMut) -> Incoming {
        Incoming { plain, unpacked: BytesMut::new() }
    }

    /// Where more is to be put, behind all that has come.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.plain
    }

    /// The next whole message, packed or not; none of a later version is `Some(None)`.
    ///
    /// # Errors
    /// Where it is no frame, or out of place: a message for a person.
    pub fn next_message(&mut self) -> Result<Option<Option<Message>>, String> {
        loop {
            if let Some(message) = frame::decode(&mut self.unpacked).map_err(|error| error.to_string())? {
                return match message {
                    Some(Message::Packed(_)) => Err("it packed what was packed".into()),
                    other => Ok(Some(other)),
                };
            }
            match frame::decode(&mut self.plain).map_err(|error| error.to_string())? {
                Some(Some(Message::Packed(packed))) => unpack(&packed, &mut self.unpacked)?,
                Some(_) if !self.unpacked.is_empty() => return Err("it said something within a packed message".into()),
                other => return Ok(other),
            }
        }
    }
}
