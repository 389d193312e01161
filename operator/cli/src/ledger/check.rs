//! Afterwards: is every acknowledged write on every replica?

use std::{collections::VecDeque, io, net::SocketAddr};

use crate::{
    ledger::{Outcome, key, value},
    resp::{Client, Reply},
};

/// Reads under way at once on one connection.
const PIPELINE: usize = 256;

/// What was found on one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Acknowledged writes looked for.
    pub acknowledged: u64,
    /// Of these, missing or with another value.
    pub lost: u64,
    /// Writes in doubt looked for.
    pub in_doubt: u64,
    /// Of these, there.
    pub in_doubt_present: u64,
    /// Refused writes that are there all the same: the store said that nothing happened.
    pub refused_present: u64,
}

/// Reads every write back from one replica's own state.
///
/// # Errors
/// Where the replica cannot be read.
pub async fn check(address: SocketAddr, password: Option<&str>, outcomes: &[Vec<Outcome>]) -> io::Result<Found> {
    let mut connection = Client::connect(address, password).await?;
    // From its own state, as it is: asked for without this, it would have its leader answer, or ask others.
    for words in [&[&b"READONLY"[..]][..], &[b"SESSION", b"GUARANTEES", b"NONE"]] {
        if let Reply::Error(error) = connection.call(words).await? {
            return Err(io::Error::other(format!("{address}: {}: {error}", String::from_utf8_lossy(words[0]))));
        }
    }
    let mut found = Found::default();
    let mut under_way = VecDeque::with_capacity(PIPELINE);
    let writes = outcomes.iter().enumerate().flat_map(|(c, all)| (0..all.len()).map(move |w| (c, w)));
    for (client, write) in writes {
        connection.add(&[b"GET", &key(client, write)]);
        under_way.push_back((client, write));
        if under_way.len() == PIPELINE {
            connection.flush().await?;
            drain(&mut connection, &mut under_way, outcomes, &mut found).await?;
        }
    }
    connection.flush().await?;
    drain(&mut connection, &mut under_way, outcomes, &mut found).await?;
    Ok(found)
}

async fn drain(
    connection: &mut Client,
    under_way: &mut VecDeque<(usize, usize)>,
    outcomes: &[Vec<Outcome>],
    found: &mut Found,
) -> io::Result<()> {
    while let Some((client, write)) = under_way.pop_front() {
        let present = match connection.reply().await? {
            Reply::Bytes(bytes) => bytes == value(client, write),
            Reply::Nothing | Reply::Many(_) => false,
            Reply::Error(error) => return Err(io::Error::other(error)),
        };
        match outcomes[client][write] {
            Outcome::Acknowledged => {
                found.acknowledged += 1;
                found.lost += u64::from(!present);
            }
            Outcome::InDoubt => {
                found.in_doubt += 1;
                found.in_doubt_present += u64::from(present);
            }
            Outcome::Refused => found.refused_present += u64::from(present),
        }
    }
    Ok(())
}
