//! Edge replicas: what such a replica is given to join its store, and how it is known again.
//!
//! An edge is a region of one, outside the machines that the store's operator looks after: it dials, and nobody dials it. What it shows to be let in is a key of
//! its own, made from the store's secret and its group's number, which no other edge ever has; the record has a hash of it only. Who has the key is the edge:
//! a [`Ticket`] is kept like a password.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::ids::ReplicaId;

/// The port that edges come by, unless told otherwise.
pub const PORT: u16 = 7700;
/// What a ticket's text begins with; the number is its format's.
const PREFIX: &str = "trireme-edge-1.";
/// Bytes of the hash that show a ticket to be whole.
const CHECK_BYTES: usize = 4;
/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Everything that an edge needs to know to join its store.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Ticket {
    /// The store's name, as its users know it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its unique name.
    #[prost(string, tag = "2")]
    pub store: String,
    /// The edge's name.
    #[prost(string, tag = "3")]
    pub edge: String,
    /// Its group.
    #[prost(uint32, tag = "4")]
    pub group: u32,
    /// Its only replica.
    #[prost(uint32, tag = "5")]
    pub replica: ReplicaId,
    /// Its key.
    #[prost(bytes = "vec", tag = "6")]
    pub key: Vec<u8>,
    /// `host:port` of doors for edges; behind each is a replica of the store, or something that leads to one.
    #[prost(string, repeated, tag = "7")]
    pub doors: Vec<String>,
}

/// Why a text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It is something else.
    #[error("it does not begin with '{PREFIX}': it is no token of an edge, or one of another version")]
    Foreign,
    /// A part of it is missing or was changed.
    #[error("it is incomplete or was changed: copy it again, as one line")]
    Damaged,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        let Ticket { name, store, edge, group, replica, doors, .. } = self;
        f.debug_struct("Ticket")
            .field("name", name)
            .field("store", store)
            .field("edge", edge)
            .field("group", group)
            .field("replica", replica)
            .field("doors", doors)
            .finish_non_exhaustive()
    }
}

impl Ticket {
    /// As people pass it on: one word of letters, digits, `-`, `_` and `.`.
    pub fn to_text(&self) -> String {
        let mut bytes = self.encode_to_vec();
        let check = Sha256::digest(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// From what somebody passed on.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn from_text(text: &str) -> Result<Ticket, TicketError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Foreign)?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(TicketError::Damaged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TicketError::Damaged)?;
        let (bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError::Damaged)?;
        if Sha256::digest(bytes)[..CHECK_BYTES] != check[..] {
            return Err(TicketError::Damaged);
        }
        let ticket = Ticket::decode(bytes).map_err(|_| TicketError::Damaged)?;
        let whole = ticket.group != 0 && ticket.replica != 0 && !ticket.store.is_empty() && !ticket.key.is_empty();
        if whole { Ok(ticket) } else { Err(TicketError::Damaged) }
    }
}

/// The key of the edge that this group is, made from the store's secret and from what was drawn when the edge was made known.
pub fn key(secret: &[u8], group: u32, nonce: u64) -> Vec<u8> {
    // Each part has one length, so that no two of all look the same.
    let mut hash = Sha256::new();
    hash.update(b"trireme edge key");
    hash.update(group.to_be_bytes());
    hash.update(nonce.to_be_bytes());
    hash.update(Sha256::digest(secret));
    hash.finalize().to_vec()
}

/// What the record has of a key: enough to know it again, and nothing that lets in.
pub fn verifier(key: &[u8]) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            name: "carts".into(),
            store: "0123".into(),
            edge: "anna".into(),
            group: 4,
            replica: 49,
            key: key(b"secret", 4, 7),
            doors: vec!["127.0.0.11:7700".into()],
        }
    }

    #[test]
    fn a_ticket_is_read_back_as_it_was_and_shows_no_key() {
        let text = ticket().to_text();
        assert_eq!(Ticket::from_text(&format!(" {text}\n")), Ok(ticket()));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{text}");
        let shown = format!("{:?}", ticket());
        assert!(!shown.contains("key"), "{shown}");
    }

    #[test]
    fn what_is_no_ticket_says_why() {
        let text = ticket().to_text();
        assert_eq!(Ticket::from_text("hello"), Err(TicketError::Foreign));
        assert_eq!(Ticket::from_text(&text.replace("edge-1", "edge-2")), Err(TicketError::Foreign));
        for cut in PREFIX.len()..text.len() {
            assert_eq!(Ticket::from_text(&text[..cut]), Err(TicketError::Damaged), "cut at {cut}");
        }
        for at in PREFIX.len()..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(Ticket::from_text(&changed), Err(TicketError::Damaged), "changed at {at}");
        }
    }

    #[test]
    fn each_edge_of_each_store_has_a_key_of_its_own() {
        let keys = [key(b"a", 1, 7), key(b"a", 2, 7), key(b"b", 1, 7), key(b"a", 1, 8)];
        assert!(keys[1..].iter().all(|other| *other != keys[0]));
        assert_eq!(key(b"a", 1, 7), keys[0]);
        assert_ne!(verifier(&keys[0]), keys[0]);
    }
}
