//! A session token: what a connection has seen and written, as one word that another connection goes on from.
//!
//! ```text
//! format (1) · store (2) · key (2) · for each origin: group and what follows, generation, sequence [, gaps] [, written] · seal (10)
//! ```
//!
//! In URL-safe base64 without padding; numbers take as few bytes as they need. The seal is the beginning of HMAC-SHA256 over all that stands before it, under
//! a key that the replicas of a store share, so nobody else can make a token, or make another one of it. Store and key are told by the first bytes of a hash:
//! enough to say why a token of somewhere else is refused; the seal alone decides that one is taken.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use trireme_proto::ids::{Dot, Origin};

use crate::engine::{
    ReceivedSet,
    bytes::{Reader, put_number},
    vector::SEQ_MAX,
};

const FORMAT: u8 = 1;
const MARK_BYTES: usize = 2;
const HEAD_BYTES: usize = 1 + 2 * MARK_BYTES;
const SEAL_BYTES: usize = 10;
/// Longest text that is looked at.
pub(crate) const TEXT_BYTES_MAX: usize = 2048;
/// Most origins that a token names.
pub(crate) const ORIGINS_MAX: usize = 64;
/// Gaps of one origin that are told. Of one with more everything up to its last entry is asked for.
const GAPS_MAX: usize = 4;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token {
    /// What the connection has seen, its own writes included.
    pub(crate) seen: ReceivedSet,
    /// Of the origins that it has written under: its last write, or a later entry.
    pub(crate) written: Vec<Dot>,
}

impl Token {
    /// Nothing was seen.
    pub(crate) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// What of it is the connection's own writes, or may be.
    pub(crate) fn own_writes(&self) -> ReceivedSet {
        let mut own = ReceivedSet::default();
        for dot in &self.written {
            let intervals = self.seen.seen(dot.origin).map(|seen| seen.intervals()).unwrap_or_default();
            for (first, last) in intervals.into_iter().filter(|(first, _)| *first <= dot.seq) {
                own.insert_range(dot.origin, first, last.min(dot.seq));
            }
        }
        own
    }

    /// Adds what another one says.
    pub(crate) fn merge(&mut self, other: &Token) {
        self.seen.merge(&other.seen);
        for dot in &other.written {
            match self.written.iter_mut().find(|mine| mine.origin == dot.origin) {
                Some(mine) => mine.seq = mine.seq.max(dot.seq),
                None => self.written.push(*dot),
            }
        }
    }
}

/// Why a text is no token that can be gone on from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it is no session token, or a part of it is missing")]
    Cut,
    #[error("it is of another format: another version of this software has made it")]
    Format,
    #[error("it is of another store")]
    Store,
    #[error("it was made under another key: the store has got a new one since, or this replica has a key of its own")]
    Key,
    #[error("it was changed, or made by somebody who does not have the store's key")]
    Forged,
}

/// What a store's tokens are sealed with.
pub(crate) struct Key {
    store: [u8; MARK_BYTES],
    mark: [u8; MARK_BYTES],
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive() // It is a secret.
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.store == other.store && self.seal_of(b"").finalize() == other.seal_of(b"").finalize()
    }
}

fn mark_of(what: &[u8], bytes: &[u8]) -> [u8; MARK_BYTES] {
    let mut hash = Sha256::new();
    hash.update(what);
    hash.update(bytes);
    let hash = hash.finalize();
    [hash[0], hash[1]]
}

impl Key {
    /// From the secret of a store of this name; none where there is no secret.
    pub(crate) fn new(store: &str, secret: &[u8]) -> Option<Key> {
        if secret.is_empty() {
            return None;
        }
        let mac = Hmac::new_from_slice(secret).ok()?;
        let store = mark_of(b"trireme session store", store.as_bytes());
        Some(Key { store, mark: mark_of(b"trireme session key", secret), mac })
    }

    /// As clients carry it.
    pub(crate) fn seal(&self, token: &Token) -> String {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.mark);
        for seen in token.seen.origins().iter().take(ORIGINS_MAX) {
            let last = seen.beyond.last().map_or(seen.upto, |beyond| beyond.1);
            let gaps: &[(u64, u64)] = if seen.beyond.len() > GAPS_MAX { &[] } else { &seen.beyond };
            let written = token.written.iter().find(|dot| dot.origin == seen.origin);
            let follows = u64::from(!gaps.is_empty()) | u64::from(written.is_some()) << 1;
            put_number(&mut bytes, u64::from(seen.origin.group) << 2 | follows);
            put_number(&mut bytes, seen.origin.generation.into());
            put_number(&mut bytes, if gaps.is_empty() { last } else { seen.upto });
            if !gaps.is_empty() {
                put_number(&mut bytes, gaps.len() as u64);
                let mut end = seen.upto;
                for (first, last) in gaps {
                    put_number(&mut bytes, first - end);
                    put_number(&mut bytes, last - first);
                    end = *last;
                }
            }
            if let Some(written) = written {
                put_number(&mut bytes, last.saturating_sub(written.seq));
            }
        }
        let seal = self.seal_of(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&seal[..SEAL_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn seal_of(&self, bytes: &[u8]) -> Hmac<Sha256> {
        self.mac.clone().chain_update(bytes)
    }

    /// From what a client has carried.
    ///
    /// # Errors
    /// [`TokenError`].
    pub(crate) fn open(&self, text: &[u8]) -> Result<Token, TokenError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TokenError::Cut);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Cut)?;
        let Some((said, seal)) = bytes.split_last_chunk::<SEAL_BYTES>() else { return Err(TokenError::Cut) };
        let Some((head, origins)) = said.split_first_chunk::<HEAD_BYTES>() else { return Err(TokenError::Cut) };
        if head[0] != FORMAT {
            return Err(TokenError::Format);
        }
        if head[1..=MARK_BYTES] != self.store {
            return Err(TokenError::Store);
        }
        if head[1 + MARK_BYTES..] != self.mark {
            return Err(TokenError::Key);
        }
        self.seal_of(said).verify_truncated_left(seal).map_err(|_| TokenError::Forged)?;
        read(origins).ok_or(TokenError::Cut)
    }
}

/// For how long a store's replicas may have different keys after a change: a kubelet brings a new Secret within a minute or two, each at its own time.
const KEYS_DIFFER_US: u64 = 180_000_000;

/// The keys that a replica has had. Tokens of the newest and of the one before are taken, until the process ends; new ones are sealed with the one before as
/// long as other replicas may not have the newest.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    newest: Option<Key>,
    before: Option<Key>,
    /// Since when there is the newest.
    since_us: u64,
}

impl Keys {
    /// The store's secret, as it is now; perhaps it is the same.
    pub(crate) fn change(&mut self, newest: Option<Key>, now_us: u64) {
        let Some(newest) = newest else { return *self = Keys::default() };
        if self.newest.as_ref() != Some(&newest) {
            *self = Keys { before: self.newest.take(), newest: Some(newest), since_us: now_us };
        }
    }

    /// What tokens are sealed with now.
    pub(crate) fn sealing(&self, now_us: u64) -> Option<&Key> {
        let spreads = now_us < self.since_us.saturating_add(KEYS_DIFFER_US);
        self.before.as_ref().filter(|_| spreads).or(self.newest.as_ref())
    }

    /// See [`Key::open`]; none where there is no key.
    pub(crate) fn open(&self, text: &[u8]) -> Option<Result<Token, TokenError>> {
        let opened = self.newest.as_ref()?.open(text);
        Some(match (&self.before, opened) {
            (Some(before), Err(TokenError::Key | TokenError::Forged)) => before.open(text),
            (_, opened) => opened,
        })
    }
}

fn read(bytes: &[u8]) -> Option<Token> {
    let (mut reader, mut token) = (Reader { rest: bytes }, Token::default());
    while !reader.rest.is_empty() {
        let head = reader.number().ok()?;
        let origin =
            Origin { group: u32::try_from(head >> 2).ok()?, generation: u32::try_from(reader.number().ok()?).ok()? };
        let upto = reader.number().ok().filter(|upto| *upto <= SEQ_MAX)?;
        token.seen.insert_prefix(origin, upto);
        let mut end = upto;
        if head & 1 == 1 {
            let gaps = reader.number().ok().filter(|gaps| *gaps <= GAPS_MAX as u64)?;
            for _ in 0..gaps {
                let first = end.checked_add(reader.number().ok()?)?;
                let last = first.checked_add(reader.number().ok()?).filter(|last| first > 0 && *last <= SEQ_MAX)?;
                token.seen.insert_range(origin, first, last);
                end = last;
            }
        }
        if head & 2 == 2 {
            token.written.push(Dot { origin, seq: end.checked_sub(reader.number().ok()?)? });
        }
        if token.seen.origins().len() > ORIGINS_MAX {
            return None;
        }
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new("store", b"secret").unwrap()
    }

    fn token(origins: u32, upto: u64) -> Token {
        let mut token = Token::default();
        for group in 1..=origins {
            let origin = Origin { group, generation: 3 };
            token.seen.insert_prefix(origin, upto);
            token.written.push(Dot { origin, seq: upto - u64::from(group) });
        }
        token
    }

    #[test]
    fn a_token_is_read_back_and_short() {
        let mut gaps = token(2, 1000);
        gaps.seen.insert_range(Origin { group: 2, generation: 3 }, 1_005, 1_009);
        for token in [Token::default(), token(1, 1), token(3, 1 << 40), gaps] {
            let text = key().seal(&token);
            assert_eq!(key().open(text.as_bytes()), Ok(token));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
        }
        assert!(key().seal(&token(3, 1 << 41)).len() <= 64, "three origins with two million million entries each");
    }

    #[test]
    fn of_many_gaps_all_up_to_the_last_entry_is_asked_for() {
        let (origin, mut token) = (Origin { group: 1, generation: 1 }, Token::default());
        (1..=20).for_each(|i| token.seen.insert_range(origin, 10 * i, 10 * i + 1));
        let mut all = Token::default();
        all.seen.insert_prefix(origin, 201);
        assert_eq!(key().open(key().seal(&token).as_bytes()), Ok(all));
    }

    #[test]
    fn what_is_no_token_of_this_store_says_why() {
        let text = key().seal(&token(3, 77));
        let others = [
            (Key::new("other", b"secret").unwrap(), TokenError::Store),
            (Key::new("store", b"other").unwrap(), TokenError::Key),
        ];
        for (other, error) in others {
            assert_eq!(key().open(other.seal(&token(3, 77)).as_bytes()), Err(error));
        }
        for text in ["", "hello world", "aaaa", &text[..12], &"A".repeat(TEXT_BYTES_MAX + 4)] {
            assert_eq!(key().open(text.as_bytes()), Err(TokenError::Cut), "{text}");
        }
        for at in 0..text.len() {
            assert!(key().open(&text.as_bytes()[..at]).is_err(), "cut at {at}");
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let error = key().open(&changed);
            assert!(error.is_err(), "changed at {at}");
            if at > 4 * HEAD_BYTES.div_ceil(3) && at + 1 < text.len() {
                assert_eq!(error, Err(TokenError::Forged), "changed at {at}");
            }
        }
        assert!(Key::new("store", b"").is_none());
        assert!(!format!("{:?}", key()).contains("secret"));
    }

    #[test]
    fn a_new_key_is_taken_at_once_and_used_when_all_have_it() {
        let key = |secret: &str| Key::new("store", secret.as_bytes());
        let text = |keys: &Keys, now_us| keys.sealing(now_us).map(|key| key.seal(&token(1, 5)));
        let (mut one, mut other) = (Keys::default(), Keys::default());
        assert!(one.open(b"x").is_none() && one.sealing(0).is_none());
        one.change(key("first"), 1_000_000);
        other.change(key("first"), 1_000_000);
        let first = text(&one, 1_000_001).unwrap();
        one.change(key("second"), 2_000_000);
        one.change(key("second"), 3_000_000); // It is read again, and is the same.
        assert_eq!(text(&one, 3_000_000).unwrap(), first, "the other one has not got it yet");
        other.change(key("second"), 92_000_000);
        let second = text(&one, 2_000_000 + KEYS_DIFFER_US).unwrap();
        assert_ne!(second, first);
        for keys in [&one, &other] {
            for text in [&first, &second] {
                assert_eq!(keys.open(text.as_bytes()), Some(Ok(token(1, 5))));
            }
        }
        one.change(key("third"), 400_000_000);
        assert_eq!(one.open(first.as_bytes()), Some(Err(TokenError::Key)), "two are kept");
        assert!(one.open(second.as_bytes()).unwrap().is_ok());
        one.change(None, 500_000_000);
        assert!(one.open(second.as_bytes()).is_none());
    }

    #[test]
    fn what_was_written_is_the_part_up_to_the_last_write() {
        let mut token = token(2, 100);
        assert_eq!(token.own_writes().upto(Origin { group: 2, generation: 3 }), 98);
        token.written.pop();
        assert_eq!(token.own_writes().origins().len(), 1);
        let mut later = Token::default();
        later.seen.insert_prefix(Origin { group: 1, generation: 3 }, 130);
        later.written.push(Dot { origin: Origin { group: 1, generation: 3 }, seq: 120 });
        token.merge(&later);
        assert_eq!(token.own_writes().upto(Origin { group: 1, generation: 3 }), 120);
        assert_eq!(token.seen.upto(Origin { group: 2, generation: 3 }), 100);
    }
}
