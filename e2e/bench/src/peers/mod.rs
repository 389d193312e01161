//! The servers that are compared, as processes on loopback, each with free ports and a folder of its own.

pub mod echo;
pub mod etcd;
pub mod redis;
pub mod trireme;

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::Stop;

/// How long a server may take until it serves.
pub const START_MAX: Duration = Duration::from_secs(30);
/// How long a process may take to end when asked to.
const END_MAX: Duration = Duration::from_secs(20);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// A process that ends with this value, if not before.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Asked to end before it is killed.
    polite: bool,
}

impl Process {
    /// Starts a program whose output goes to `log`.
    ///
    /// # Errors
    /// When it is not installed: the message names the Debian package to install.
    pub fn start(command: &mut Command, package: &str, log: &Path) -> Result<Self, String> {
        let output = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        Self::spawn(command, package)
    }

    /// Starts a program with its streams as set.
    fn spawn(command: &mut Command, package: &str) -> Result<Self, String> {
        match command.spawn() {
            Ok(child) => Ok(Process { child, polite: false }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let program = command.get_program().to_string_lossy().into_owned();
                Err(format!("{program} is not installed; on Debian: apt-get install {package}"))
            }
            Err(error) => Err(format!("{}: {error}", command.get_program().to_string_lossy())),
        }
    }

    /// An error if it has ended.
    pub fn check(&mut self, name: &str) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{name} has ended: {status}")),
            Err(error) => Err(format!("{name}: {error}")),
        }
    }

    /// Asks it to end, and kills it if it does not.
    pub fn end(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.polite {
            self.end();
        } else {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port on 127.0.0.1 that nobody listens on.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A port as an address on 127.0.0.1.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Looks until `look` finds something.
///
/// # Errors
/// When it has not within `within`, when it fails for good, and when a signal came.
pub fn wait_for<T>(
    what: &str,
    within: Duration,
    stop: &Stop,
    mut look: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {} s", within.as_secs()));
        }
        std::thread::sleep(LOOK);
    }
}

/// What a program prints when asked for its version, first line.
pub fn version(program: &str, package: &str) -> Result<String, String> {
    let output = Command::new(program).arg("--version").output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not installed; on Debian: apt-get install {package}"),
        _ => format!("{program}: {error}"),
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_an_error_that_names_its_package() {
        let folder = tempfile::tempdir().unwrap();
        let error = Process::start(&mut Command::new("/no/such/redis"), "redis-server", &folder.path().join("log"));
        assert!(error.unwrap_err().contains("apt-get install redis-server"));
    }

    #[test]
    fn a_process_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        let process = Process::start(sleep.arg("600"), "coreutils", &folder.path().join("log")).unwrap();
        let pid = Pid::from_child(&process.child);
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err(), "it is gone, and waited for");
    }

    #[test]
    fn waiting_has_an_end() {
        let stop = Stop::new(false);
        let error = wait_for("nothing", Duration::ZERO, &stop, || Ok(None::<()>)).unwrap_err();
        assert!(error.contains("nothing: not within 0 s"), "{error}");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(wait_for("nothing", START_MAX, &stop, || Ok(None::<()>)).unwrap_err(), "interrupted");
    }
}
