//! Where the replicas of a store listen.
//!
//! On Linux every address of 127.0.0.0/8 is this machine's, so each replica gets one of its own with the standard ports, and a partition between
//! two replicas is one firewall rule. Where that cannot be had, all share 127.0.0.1 with ports that the operating system chose. Either is
//! remembered, so that clients find a store where it was.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::directory::{DirectoryError, at, write_durably};

/// Where the first replica listens, unless told otherwise.
pub const BASE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Where an edge listens, unless told otherwise.
pub const EDGE_BASE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Standard ports: clients, peers and operator, HTTP, edges.
pub const PORTS: [u16; 4] = [6379, 7600, 9600, trireme_proto::edge::PORT];

/// Addresses that are bound at the same time to make sure: a process may open about a thousand files.
const CHECKED_AT_ONCE: usize = 64;

/// Where one replica listens, and the address that it dials from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Port for clients.
    pub client_port: u16,
    /// Port for peers and the operator.
    pub peer_port: u16,
    /// Port for HTTP: health, metrics, status.
    pub admin_port: u16,
    /// Port for edges; 0 where there is none.
    #[serde(default)]
    pub edge_port: u16,
}

impl Address {
    /// Where clients connect.
    pub fn client(&self) -> SocketAddr {
        SocketAddrV4::new(self.ip, self.client_port).into()
    }

    /// Where peers and the operator connect.
    pub fn peer(&self) -> SocketAddr {
        SocketAddrV4::new(self.ip, self.peer_port).into()
    }

    /// Where edges knock, if there is such a door.
    pub fn edge(&self) -> Option<SocketAddr> {
        (self.edge_port != 0).then(|| SocketAddrV4::new(self.ip, self.edge_port).into())
    }

    fn ports(&self) -> [u16; 4] {
        [self.client_port, self.peer_port, self.admin_port, self.edge_port]
    }
}

/// What was chosen, and what a person should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// One per replica, in order.
    pub addresses: Vec<Address>,
    /// Why these are not the usual ones, where they are not.
    pub note: Option<String>,
}

/// Why there are no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// An address that was asked for cannot be had.
    #[error(
        "{address} cannot be listened on: {error}. Stop what listens there, choose another --address, or leave --address out to use 127.0.0.1 with free ports"
    )]
    Taken {
        /// Which.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The base is not one of this machine's own.
    #[error(
        "--address {base}: {n} addresses from there on are not all within 127.0.0.0/8, and a store in local mode listens nowhere else"
    )]
    OutOfRange {
        /// The first address.
        base: Ipv4Addr,
        /// How many are needed.
        n: usize,
    },
    /// Not even free ports.
    #[error("no free ports on 127.0.0.1: {0}")]
    NoPorts(io::Error),
    /// The file that remembers them.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Chooses where `n` replicas listen: where `base` says, else where they were, else from `first` on, else free ports. Each is bound once to make sure.
///
/// # Errors
/// Where `base` was asked for and cannot be had, or nothing is free, or the file that remembers them cannot be read or written.
pub fn choose(dir: &Path, n: usize, base: Option<Ipv4Addr>, first: Ipv4Addr) -> Result<Chosen, AddressError> {
    let file = dir.join("addresses.json");
    let mut note = None;
    let addresses = if let Some(base) = base {
        let wanted = from_base(base, n)?;
        check(&wanted).map_err(|(address, error)| AddressError::Taken { address, error })?;
        wanted
    } else {
        let mut wanted = remembered(&file)?;
        let known = wanted.len().min(n);
        wanted.truncate(n);
        if known < n {
            let more = beside(&wanted, n - known, first)?;
            wanted.extend(more);
        }
        match check(&wanted) {
            Ok(()) => wanted,
            Err((address, error)) => {
                note = Some(format!(
                    "{address} cannot be listened on ({error}): the replicas share 127.0.0.1, each with ports of its own"
                ));
                free_ports(n).map_err(AddressError::NoPorts)?
            }
        }
    };
    let json = serde_json::to_vec_pretty(&addresses).unwrap_or_default();
    write_durably(&file, &json)?;
    Ok(Chosen { addresses, note })
}

/// The same for a store that runs and grows to `n` replicas: those that it has stay where they are.
///
/// # Errors
/// Where the next address cannot be had, or the file that remembers them cannot be read or written.
pub(crate) fn grow(dir: &Path, n: usize) -> Result<Vec<Address>, AddressError> {
    let file = dir.join("addresses.json");
    let mut addresses = remembered(&file)?;
    if addresses.len() >= n {
        return Ok(addresses);
    }
    let more = beside(&addresses, n - addresses.len(), BASE)?;
    check(&more).map_err(|(address, error)| AddressError::Taken { address, error })?;
    addresses.extend(more);
    write_durably(&file, &serde_json::to_vec_pretty(&addresses).unwrap_or_default())?;
    Ok(addresses)
}

/// So many more, in the way of those that are there.
fn beside(known: &[Address], more: usize, first: Ipv4Addr) -> Result<Vec<Address>, AddressError> {
    match known.last() {
        Some(last) if last.client_port != PORTS[0] => free_ports(more).map_err(AddressError::NoPorts),
        Some(last) => from_base(next(last.ip, 1), more),
        None => from_base(first, more),
    }
}

/// Where the replicas of the store in this directory listen.
///
/// # Errors
/// Where the file cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Address>, DirectoryError> {
    remembered(&dir.join("addresses.json"))
}

fn remembered(file: &Path) -> Result<Vec<Address>, DirectoryError> {
    match fs::read(file) {
        Ok(json) => serde_json::from_slice(&json)
            .map_err(|error| DirectoryError::Damaged { path: file.to_path_buf(), reason: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(file)(error)),
    }
}

fn next(base: Ipv4Addr, by: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits().wrapping_add(by as u32))
}

fn from_base(base: Ipv4Addr, n: usize) -> Result<Vec<Address>, AddressError> {
    let addresses: Vec<Address> = (0..n).map(|i| at_ports(next(base, i), PORTS)).collect();
    match addresses.iter().all(|a| a.ip.is_loopback()) {
        true => Ok(addresses),
        false => Err(AddressError::OutOfRange { base, n }),
    }
}

fn at_ports(ip: Ipv4Addr, [client_port, peer_port, admin_port, edge_port]: [u16; 4]) -> Address {
    Address { ip, client_port, peer_port, admin_port, edge_port }
}

/// Binds every port once, many at the same time, so that no two of them are the same.
fn check(addresses: &[Address]) -> Result<(), (SocketAddr, io::Error)> {
    for some in addresses.chunks(CHECKED_AT_ONCE) {
        let mut held = Vec::with_capacity(PORTS.len() * some.len());
        for address in some {
            for port in address.ports().into_iter().filter(|port| *port != 0) {
                let socket = SocketAddrV4::new(address.ip, port).into();
                held.push(TcpListener::bind(socket).map_err(|error| (socket, error))?);
            }
        }
    }
    Ok(())
}

pub(crate) fn free_ports(n: usize) -> io::Result<Vec<Address>> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // Held together until all are known: none is handed out twice.
    let listeners = (0..PORTS.len() * n).map(|_| bind()).collect::<io::Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|l| Ok(l.local_addr()?.port())).collect::<io::Result<Vec<u16>>>()?;
    Ok(ports.chunks_exact(PORTS.len()).map(|p| at_ports(Ipv4Addr::LOCALHOST, [p[0], p[1], p[2], p[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A range of its own for this process, away from what people use.
    fn base() -> Ipv4Addr {
        Ipv4Addr::from_bits(Ipv4Addr::new(127, 128, 0, 0).to_bits() | ((std::process::id() & 0x3fff) << 6))
    }

    #[test]
    fn own_addresses_with_the_standard_ports_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = choose(dir.path(), 2, Some(base()), BASE).unwrap();
        assert_eq!(chosen.addresses[1].ip, next(base(), 1));
        assert_eq!(chosen.addresses[1].ports(), PORTS);
        let grown = choose(dir.path(), 3, None, BASE).unwrap();
        assert_eq!((grown.addresses[0].ip, grown.addresses[2].ip), (base(), next(base(), 2)));
        assert_eq!(read(dir.path()).unwrap(), grown.addresses);
    }

    #[test]
    fn a_store_that_grows_while_it_runs_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let base = next(base(), 40);
        let chosen = choose(dir.path(), 1, Some(base), BASE).unwrap();
        let _replica = TcpListener::bind((base, PORTS[0])).unwrap();
        let grown = grow(dir.path(), 3).unwrap();
        assert_eq!((grown[0], grown[2].ip), (chosen.addresses[0], next(base, 2)));
        assert_eq!((read(dir.path()).unwrap(), grow(dir.path(), 2).unwrap()), (grown.clone(), grown));
        let taken = next(base, 3);
        let _other = TcpListener::bind((taken, PORTS[1])).unwrap();
        let error = grow(dir.path(), 4).unwrap_err().to_string();
        assert!(error.contains(&format!("{taken}:7600")), "{error}");
        assert_eq!(read(dir.path()).unwrap().len(), 3, "nothing was changed");
    }

    #[test]
    fn an_address_that_was_asked_for_and_is_taken_is_an_error_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let taken = next(base(), 9);
        let _other = TcpListener::bind((taken, PORTS[1])).unwrap();
        let error = choose(dir.path(), 2, Some(next(taken, u32::MAX as usize)), BASE).unwrap_err().to_string();
        assert!(error.contains(&format!("{taken}:7600")), "{error}");
    }

    #[test]
    fn a_remembered_address_that_is_taken_gives_way_to_free_ports() {
        let dir = tempfile::tempdir().unwrap();
        let base = next(base(), 20);
        choose(dir.path(), 2, Some(base), BASE).unwrap();
        let _other = TcpListener::bind((base, PORTS[0])).unwrap();
        let chosen = choose(dir.path(), 2, None, BASE).unwrap();
        assert!(chosen.addresses.iter().all(|a| a.ip == Ipv4Addr::LOCALHOST && a.ports() != PORTS));
        assert!(chosen.note.unwrap().contains(&format!("{base}:6379")));
    }

    #[test]
    fn only_loopback() {
        let dir = tempfile::tempdir().unwrap();
        let error = choose(dir.path(), 1, Some(Ipv4Addr::new(192, 168, 1, 1)), BASE).unwrap_err();
        assert!(matches!(error, AddressError::OutOfRange { .. }), "{error}");
    }
}
