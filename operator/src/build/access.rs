//! What replicas may do, which is nothing, the password that clients must know, and what lets edges in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

use super::metadata;
use crate::store::wanted::{Auth, Wanted};

/// Key of the password in its Secret.
pub(crate) const PASSWORD_KEY: &str = "password";
/// Key of what session tokens are sealed with, in its Secret.
pub(crate) const SESSION_KEY: &str = "key";
/// Fewest and most bytes that a replica takes for it.
const SESSION_KEY_BYTES: std::ops::RangeInclusive<usize> = 16..=4096;
/// Key of what the keys of edges are made from, in its Secret.
pub(crate) const EDGES_KEY: &str = "secret";

/// The replicas' account: it has no rights, and its token is not mounted.
pub(super) fn account(wanted: &Wanted) -> ServiceAccount {
    ServiceAccount {
        metadata: metadata(wanted, wanted.name.clone()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// The password's Secret without its password, where one is to be made.
pub(super) fn secret(wanted: &Wanted) -> Option<Secret> {
    let Auth::Generated(name) = &wanted.auth else { return None };
    Some(Secret { metadata: metadata(wanted, name.clone()), type_: Some("Opaque".to_owned()), ..Secret::default() })
}

/// Name of the Secret with what session tokens are sealed with.
pub(crate) fn session_name(store: &str) -> String {
    format!("{store}-session")
}

/// That Secret without what is in it.
pub(super) fn session(wanted: &Wanted) -> Secret {
    let metadata = metadata(wanted, session_name(&wanted.name));
    Secret { metadata, type_: Some("Opaque".to_owned()), ..Secret::default() }
}

/// Why replicas seal no session tokens with this Secret, if they do not.
pub(crate) fn no_session_key(secret: &Secret) -> Option<String> {
    let (name, data) = (secret.metadata.name.as_deref().unwrap_or_default(), secret.data.as_ref());
    let goes_on = "replicas go on without session tokens until it has one";
    match data.and_then(|data| data.get(SESSION_KEY)).map(|value| value.0.len()) {
        None => Some(format!("Secret {name} has no key {SESSION_KEY}: {goes_on}")),
        Some(bytes) if !SESSION_KEY_BYTES.contains(&bytes) => Some(format!(
            "the key {SESSION_KEY} of Secret {name} has {bytes} bytes, and {} to {} are allowed: {goes_on}",
            SESSION_KEY_BYTES.start(),
            SESSION_KEY_BYTES.end()
        )),
        Some(_) => None,
    }
}

/// Name of the Secret that the keys of a store's edges are made from, and of the Service that they come by.
pub(crate) fn edges_name(store: &str) -> String {
    format!("{store}-edges")
}

/// That Secret without what is in it, where there are edges.
pub(super) fn edges(wanted: &Wanted) -> Option<Secret> {
    let metadata = metadata(wanted, edges_name(&wanted.name));
    wanted.has_edges().then(|| Secret { metadata, type_: Some("Opaque".to_owned()), ..Secret::default() })
}

/// A Secret as it is first made, with this under this key.
pub(crate) fn with_value(secret: &Secret, key: &str, value: &str) -> Secret {
    Secret { string_data: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])), ..secret.clone() }
}
