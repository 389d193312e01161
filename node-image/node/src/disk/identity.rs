//! Who a directory belongs to, and how the last process that had it ended. Both are one line of JSON and one line with its CRC32C, in every format
//! to come: so a newer format is recognised by an older version.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use trireme_proto::topology::Durability;
use trireme_replica::io::Identity;

use super::{
    files::{Files, failed, read_small, replace},
    segment::crc,
    types::DiskError,
};

/// The newest format that this version reads, and the one that it writes.
pub(super) const FORMAT: u32 = 1;
const IDENTITY: &str = "identity";
const MARK: &str = "mark";

/// Turns a value into its two lines.
fn lines<T: Serialize>(value: &T) -> Result<Vec<u8>, DiskError> {
    let json = serde_json::to_string(value).map_err(|error| DiskError::Stopped(error.to_string()))?;
    Ok(format!("{json}\n{:08x}\n", crc(json.as_bytes())).into_bytes())
}

/// The reverse, exactly.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let (json, sum) = text.split_once('\n').ok_or("it has no second line")?;
    if sum != format!("{:08x}\n", crc(json.as_bytes())) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct IdentityFile {
    format: u32,
    store: String,
    id: u32,
    group: u32,
    incarnation: u64,
}

/// What an identity file says.
#[derive(Debug)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// It was written by a newer version, in this format.
    Newer(u32),
    /// It cannot be read.
    Damaged(String),
    /// Store, replica, group and incarnation.
    Identity { store: String, id: u32, group: u32, incarnation: u64 },
}

pub(super) fn read<F: Files>(files: &F) -> Result<Found, DiskError> {
    let Some(bytes) = read_small(files, IDENTITY)? else { return Ok(Found::Nothing) };
    Ok(match parse::<Format>(&bytes) {
        Err(what) => Found::Damaged(what),
        Ok(Format { format }) if format > FORMAT => Found::Newer(format),
        Ok(_) => match parse::<IdentityFile>(&bytes) {
            Err(what) => Found::Damaged(what),
            Ok(file) => {
                Found::Identity { store: file.store, id: file.id, group: file.group, incarnation: file.incarnation }
            }
        },
    })
}

/// Writes an identity, durably.
pub(super) fn write<F: Files>(files: &F, identity: &Identity) -> Result<(), DiskError> {
    let file = IdentityFile {
        format: FORMAT,
        store: identity.store.clone(),
        id: identity.id,
        group: identity.group,
        incarnation: identity.incarnation,
    };
    replace(files, IDENTITY, &lines(&file)?)
}

/// A random number that is not 0.
pub(super) fn random<F: Files>(files: &F) -> Result<u64, DiskError> {
    Ok(files.random().map_err(failed("/dev/urandom", "read"))?.max(1))
}

/// How a process had the directory.
#[derive(Serialize, Deserialize, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Which life of the machine.
    boot: String,
    /// Copies counted before they were durable.
    memory: bool,
    /// It ended with everything durable.
    clean: bool,
}

/// Whether what the last process acknowledged may be gone.
pub(super) fn tail_lost<F: Files>(files: &F) -> Result<bool, DiskError> {
    let Some(bytes) = read_small(files, MARK)? else { return Ok(false) };
    let boot = files.boot_id().map_err(failed("boot_id", "read"))?;
    // A damaged mark proves nothing: the worst is assumed.
    Ok(parse::<Mark>(&bytes).map_or(true, |mark| mark.memory && !mark.clean && mark.boot != boot))
}

/// Writes down how the directory is had from now on, durably.
pub(super) fn mark<F: Files>(files: &F, durability: Durability, clean: bool) -> Result<(), DiskError> {
    let boot = files.boot_id().map_err(failed("boot_id", "read"))?;
    replace(files, MARK, &lines(&Mark { boot, memory: durability == Durability::Memory, clean })?)
}
