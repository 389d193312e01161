//! What is remembered outside the log: one small file, replaced as a whole. Space for replacing it is kept aside, so that a promise can be made on a full disk.

use prost::Message;
use trireme_replica::io::Meta;

use super::{
    files::{File, Files, is_full, read_small, replace},
    segment::{crc, u32_at},
    types::{Corruption, DiskError},
};

/// The file.
pub(super) const META: &str = "meta";
const MAGIC: &[u8; 8] = b"TRIRMETA";
const HEAD: usize = 16;
const RESERVE: &str = "reserve";
const RESERVE_BYTES: u64 = 1 << 20;

/// What the file says; `None` if there is none, an error text if it is damaged.
pub(super) fn read<F: Files>(files: &F) -> Result<Result<Option<Meta>, Corruption>, DiskError> {
    let Some(bytes) = read_small(files, META)? else { return Ok(Ok(None)) };
    let damaged = |what: &str| Corruption { file: META.to_owned(), offset: 0, what: what.to_owned() };
    if bytes.len() < HEAD || &bytes[..8] != MAGIC || u32_at(&bytes, 8) as usize != bytes.len() - HEAD {
        return Ok(Err(damaged("its length is wrong")));
    }
    if u32_at(&bytes, 12) != crc(&bytes[HEAD..]) {
        return Ok(Err(damaged("its checksum is wrong")));
    }
    Ok(Meta::decode(&bytes[HEAD..]).map(Some).map_err(|error| damaged(&error.to_string())))
}

/// Replaces the file, durably.
pub(super) fn write<F: Files>(files: &F, meta: &Meta) -> Result<(), DiskError> {
    let body = meta.encode_to_vec();
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    match replace(files, META, &bytes) {
        Err(DiskError::Full { .. }) => {
            // Gone already, perhaps: then the second attempt says so.
            let _ = files.remove(RESERVE);
            replace(files, META, &bytes)
        }
        other => other,
    }
}

/// Keeps space aside, if there is some.
pub(super) fn reserve<F: Files>(files: &F) -> std::io::Result<()> {
    if files.list("")?.iter().any(|name| name == RESERVE) {
        return Ok(());
    }
    match files.create(RESERVE).and_then(|file| file.allocate(RESERVE_BYTES)) {
        Err(error) if is_full(&error) => files.remove(RESERVE),
        other => other,
    }
}
