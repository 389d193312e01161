//! What every part of the operator needs.

use std::{fs::File, io::Read as _, sync::Arc};

use kube::Client;

use trireme_page::Hub;

use crate::{cluster::Cluster, metrics::Metrics, store::wanted::Operator};

/// What every store's tasks share.
pub(crate) struct Context {
    /// Talks to the API server.
    pub client: Client,
    /// What the watches know.
    pub cluster: Cluster,
    /// Name of this operator, who says Events.
    pub identity: String,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the page shows.
    pub page: Arc<Hub>,
    /// Random number of this process, which replicas know it by.
    pub boot: u64,
    /// What every store has from this operator.
    pub operator: Operator,
}

/// Milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// Now, as RFC 3339 in UTC.
pub(crate) fn timestamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Why the API server did not do what it was asked for, in its own words; the error itself prints a whole object.
pub(crate) fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} ({})", status.message, status.code),
        other => other.to_string(),
    }
}

fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A random number.
///
/// # Errors
/// Where the system has no randomness.
pub(crate) fn random_u64() -> std::io::Result<u64> {
    random().map(u64::from_le_bytes)
}

/// A password of 192 random bits, as 48 hexadecimal digits.
///
/// # Errors
/// Where the system has no randomness.
pub(crate) fn password() -> std::io::Result<String> {
    Ok(random::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}
