//! The password that clients must say, and what session tokens are sealed with: each in a file of its own, a mounted Secret.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    rc::Rc,
    time::Duration,
};

use tokio::time::sleep;
use trireme_replica::io::Input;

use crate::{config::NodeError, shell::Shell};

/// How often it is looked whether the file has changed: a kubelet takes longer to bring a new Secret.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Longest password in bytes: far below what a client may send before it is known.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Reads the password from its file, without the line's end.
///
/// # Errors
/// It cannot be read, is empty, or longer than a password may be.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, NodeError> {
    let wrong = |why: String| NodeError::Config(format!("the password file {}: {why}", path.display()));
    let mut password = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(PASSWORD_BYTES_MAX + 2).read_to_end(&mut password).map_err(|error| wrong(error.to_string()))?;
    if password.ends_with(b"\n") {
        password.pop();
    }
    if password.ends_with(b"\r") {
        password.pop();
    }
    match password.len() as u64 {
        0 => Err(wrong("it is empty; write the password into it, or start without --password-file".into())),
        1..=PASSWORD_BYTES_MAX => Ok(password),
        _ => Err(wrong(format!("a password may have {PASSWORD_BYTES_MAX} bytes"))),
    }
}

/// Fewest and most bytes of what session tokens are sealed with.
const KEY_BYTES: std::ops::RangeInclusive<u64> = 16..=PASSWORD_BYTES_MAX;

/// Reads what session tokens are sealed with, to the last byte.
///
/// # Errors
/// It cannot be read, or is too short to be a secret.
pub(crate) fn read_key(path: &Path) -> Result<Vec<u8>, NodeError> {
    let wrong = |why: String| NodeError::Config(format!("the session key file {}: {why}", path.display()));
    let mut key = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut key).map_err(|error| wrong(error.to_string()))?;
    match KEY_BYTES.contains(&(key.len() as u64)) {
        true => Ok(key),
        false => {
            Err(wrong(format!("it has {} bytes; {} to {} are allowed", key.len(), KEY_BYTES.start(), KEY_BYTES.end())))
        }
    }
}

/// The same at the start: a replica without one gives and takes no tokens, and does everything else until there is one.
pub(crate) fn session_key(path: &Path) -> Option<Vec<u8>> {
    read_key(path).inspect_err(|error| tracing::warn!(%error, "goes on without session tokens")).ok()
}

/// What changes when the file is written, or replaced behind its links as a Secret is.
fn mark(path: &Path) -> Option<(u64, u64, i64, i64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec(), found.len()))
}

/// Takes over the password whenever its file changes, for ever. Where it cannot be read any more, the last one stays in force.
pub(crate) async fn follow(shell: Rc<Shell>) {
    let Some(path) = shell.config.password_file.clone() else { return };
    follow_file(&path, "the last password stays in force", || {
        read(&path).map(|password| shell.step(Input::Password(&password)))
    })
    .await;
}

/// The same with what session tokens are sealed with.
pub(crate) async fn follow_key(shell: Rc<Shell>) {
    let Some(path) = shell.config.session_key_file.clone() else { return };
    follow_file(&path, "what was read last stays in force", || {
        read_key(&path).map(|key| shell.step(Input::SessionKey(&key)))
    })
    .await;
}

async fn follow_file(path: &Path, else_: &str, take: impl Fn() -> Result<(), NodeError>) {
    // The first look reads it again: it may have changed since the start.
    let mut seen = None;
    loop {
        sleep(LOOK_EVERY).await;
        let now = mark(path);
        if now == seen {
            continue;
        }
        if let Err(error) = take() {
            tracing::warn!(%error, "{else_}");
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_read_without_the_line_end_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let written = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        for bytes in [&b"secret"[..], b"secret\n", b"secret\r\n"] {
            assert_eq!(written(bytes).unwrap(), b"secret");
        }
        assert_eq!(written(b" a b \n\n").unwrap(), b" a b \n");
        assert!(written(b"").unwrap_err().contains("empty"));
        assert!(written(b"\n").unwrap_err().contains("empty"));
        assert!(written(&[b'x'; 4097]).unwrap_err().contains("4096"));
        assert_eq!(written(&[&[b'x'; 4096][..], b"\r\n"].concat()).unwrap().len(), 4096);
        std::fs::write(&path, b"0123456789abcdef\n").unwrap();
        assert_eq!(read_key(&path).unwrap(), b"0123456789abcdef\n");
        std::fs::write(&path, b"short").unwrap();
        assert!(read_key(&path).unwrap_err().to_string().contains("5 bytes"));
        assert_eq!(session_key(&path), None);
        assert_eq!(session_key(&dir.path().join("none")), None);
        std::fs::write(&path, [b'x'; 16]).unwrap();
        assert_eq!(session_key(&path), Some(vec![b'x'; 16]));
        assert!(read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
