//! What replicas may do, which is nothing, and the password that clients must know.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

use super::metadata;
use crate::store::wanted::{Auth, Wanted};

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

/// A Secret as it is first made, with this password.
pub(crate) fn password_secret(secret: &Secret, password: &str) -> Secret {
    Secret { string_data: Some(BTreeMap::from([("password".to_owned(), password.to_owned())])), ..secret.clone() }
}
