//! Edges: the secret that a store on this machine makes their keys of, their tickets, and what an edge keeps of its own.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use trireme_crds::topology::{LeavingRecord, edge_named};
use trireme_proto::edge::{self, Ticket, TicketError};

use crate::{
    addresses,
    authority::Authority,
    directory::{DirectoryError, Owner, at, random_u64, replace_durably},
};

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum TicketsError {
    /// The store's directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store has no such edge.
    #[error(
        "{store} has no edge `{name}`{others}: spec.edges names them, and `trireme apply` makes them known to a store that runs"
    )]
    Unknown {
        /// The store.
        store: String,
        /// What was asked for.
        name: String,
        /// Those that it has, in words.
        others: String,
    },
    /// A token that was kept.
    #[error("{path}: {error}")]
    Token {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: TicketError,
    },
    /// Nobody has joined here.
    #[error(
        "{path}: no edge has joined from here yet: --join TOKEN, once; `trireme edge-token NAME --dir DIR` prints it where the store runs"
    )]
    NotJoined {
        /// The directory.
        path: PathBuf,
    },
    /// It has joined as somebody else.
    #[error("{path}: belongs to the edge `{found}`; nothing was touched. Choose another directory for `{wanted}`")]
    OtherEdge {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose the token is.
        wanted: String,
    },
}

/// Where the secret of a store's edges is.
fn secret_path(dir: &Path) -> PathBuf {
    dir.join("edges.secret")
}

/// Where an edge keeps its token.
pub(crate) fn token_path(dir: &Path) -> PathBuf {
    dir.join("token")
}

/// What the keys of the edges of the store in this directory are made from; made when it is asked for the first time. Who has it can come as any of them.
///
/// # Errors
/// Where the operating system refuses.
pub(crate) fn secret(dir: &Path) -> Result<Vec<u8>, DirectoryError> {
    made_once(&secret_path(dir))
}

/// Where the store in this directory has what its session tokens are sealed with; made when there is none.
///
/// # Errors
/// Where the operating system refuses.
pub(crate) fn session_key(dir: &Path) -> Result<PathBuf, DirectoryError> {
    let path = session_path(dir);
    made_once(&path).map(|_| path)
}

/// The same, whether or not it is there.
pub(crate) fn session_path(dir: &Path) -> PathBuf {
    dir.join("session.key")
}

fn made_once(path: &Path) -> Result<Vec<u8>, DirectoryError> {
    match fs::read(path) {
        Ok(secret) => return Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(path)(error)),
    }
    let mut secret = Vec::new();
    for _ in 0..4 {
        secret.extend(random_u64().map_err(at(path))?.to_le_bytes());
    }
    keep_private(path, &secret)?;
    Ok(secret)
}

/// The ticket of an edge of the store in this directory, which need not be running.
///
/// # Errors
/// Where there is no such store, or no such edge.
pub fn ticket(dir: &Path, name: &str) -> Result<Ticket, TicketsError> {
    let owner = Owner::read(dir)?;
    let groups = Authority::read_only(dir, &owner).object()?.map(|object| object.groups).unwrap_or_default();
    let (row, edge) = edge_named(&groups, name).map_err(|others| TicketsError::Unknown {
        store: owner.name.clone(),
        name: name.to_owned(),
        others,
    })?;
    let addresses = addresses::read(dir)?;
    let stay = groups.iter().filter(|group| group.leaving == LeavingRecord::Stays);
    let doors = stay.flat_map(|group| &group.replicas).filter_map(|row| {
        let address = addresses.get((row.id as usize).checked_sub(1)?)?;
        address.edge().map(|door| door.to_string())
    });
    Ok(Ticket {
        name: owner.name,
        store: owner.uid,
        edge: name.to_owned(),
        group: row.group,
        replica: row.replicas.first().map_or(0, |replica| replica.id),
        key: edge::key(&secret(dir)?, row.group, edge.nonce_number().unwrap_or(0)),
        doors: doors.collect(),
    })
}

/// The ticket that an edge in this directory comes with: the one that is given, which is kept, or the one that was kept.
///
/// # Errors
/// Where there is none, or the directory is another edge's.
pub(crate) fn joined(dir: &Path, given: Option<Ticket>) -> Result<Ticket, TicketsError> {
    let path = token_path(dir);
    let kept = match fs::read_to_string(&path) {
        Ok(text) => Some(Ticket::from_text(&text).map_err(|error| TicketsError::Token { path: path.clone(), error })?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(at(&path)(error).into()),
    };
    let ticket = match (given, kept) {
        (None, None) => return Err(TicketsError::NotJoined { path: dir.to_path_buf() }),
        (None, Some(kept)) => return Ok(kept),
        (Some(given), Some(kept)) if (&given.store, given.group) != (&kept.store, kept.group) => {
            // A name that was taken back and given again is another edge's.
            let as_number = |ticket: &Ticket| format!("{}, number {} of {}", ticket.edge, ticket.group, ticket.name);
            let (found, wanted) = (as_number(&kept), as_number(&given));
            return Err(TicketsError::OtherEdge { path: dir.to_path_buf(), found, wanted });
        }
        (Some(given), _) => given,
    };
    Ok(ticket)
}

/// Keeps the ticket for the next start.
///
/// # Errors
/// Where the operating system refuses.
pub(crate) fn keep(dir: &Path, ticket: &Ticket) -> Result<PathBuf, DirectoryError> {
    let path = token_path(dir);
    keep_private(&path, ticket.to_text().as_bytes())?;
    Ok(path)
}

/// Whether an edge has joined from this directory.
pub(crate) fn is_edges(dir: &Path) -> bool {
    token_path(dir).exists()
}

/// Replaces a file as a whole; only its owner may read it.
fn keep_private(path: &Path, content: &[u8]) -> Result<(), DirectoryError> {
    let new = path.with_extension("new");
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    let mut file = opened.map_err(at(&new))?;
    // It may have been left from an earlier attempt, with other rights.
    file.set_permissions(Permissions::from_mode(0o600)).map_err(at(&new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(at(&new))?;
    replace_durably(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket_of(group: u32) -> Ticket {
        Ticket {
            name: "carts".into(),
            store: "uid".into(),
            edge: "anna".into(),
            group,
            replica: 33,
            key: vec![1, 2],
            doors: vec!["127.0.0.11:7700".into()],
        }
    }

    #[test]
    fn a_token_is_given_once_and_a_directory_is_one_edges() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(joined(dir.path(), None), Err(TicketsError::NotJoined { .. })));
        let first = joined(dir.path(), Some(ticket_of(3))).unwrap();
        let path = keep(dir.path(), &first).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(joined(dir.path(), None).unwrap(), first);
        // The same edge, with other doors.
        let moved = Ticket { doors: vec!["h:1".into()], ..ticket_of(3) };
        assert_eq!(joined(dir.path(), Some(moved.clone())).unwrap(), moved);
        let error = joined(dir.path(), Some(ticket_of(4))).unwrap_err().to_string();
        assert!(error.contains("number 3") && error.contains("number 4"), "{error}");
        fs::write(&path, "trireme-edge-1.xx").unwrap();
        assert!(matches!(joined(dir.path(), None), Err(TicketsError::Token { .. })));
    }

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let made = secret(dir.path()).unwrap();
        assert_eq!((made.len(), secret(dir.path()).unwrap()), (32, made));
        assert_eq!(fs::metadata(secret_path(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
