//! `trireme-operator check`, which `helm test` runs: whether an operator acts in this cluster.
//!
//! It looks from outside, with no more rights than to see the Lease: the API server serves both kinds, and somebody holds the Lease and renews it. As the
//! candidates do, it compares what it sees with what it saw before, and no clock of another machine with its own.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, sleep};
use trireme_crds::API_VERSION;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);
/// What the API server must serve.
const KINDS: [&str; 2] = ["replicatedstores", "storetopologies"];

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArguments {
    /// Name of the operator's Lease.
    #[arg(long, env = "LEASE_NAME", default_value = "trireme-operator")]
    pub lease_name: String,
    /// Its namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub lease_namespace: String,
    /// Seconds after which it gives up.
    #[arg(long, default_value_t = 60)]
    pub timeout_s: u64,
}

/// Looks until both hold, and prints what it found.
///
/// # Errors
/// What does not hold yet, when the time is over.
pub(crate) async fn check(client: Client, arguments: &CheckArguments) -> Result<(), String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &arguments.lease_namespace);
    let end = Instant::now() + Duration::from_secs(arguments.timeout_s);
    let mut before = None;
    loop {
        let (found, lease) = look(&client, &leases, &arguments.lease_name, before.as_ref()).await;
        match found {
            Ok(holder) => {
                println!("{API_VERSION} is served: {}", KINDS.join(", "));
                println!(
                    "{holder} holds the Lease {}/{}, and renews it",
                    arguments.lease_namespace, arguments.lease_name
                );
                return Ok(());
            }
            Err(why) if Instant::now() >= end => return Err(why),
            Err(_) => {}
        }
        before = lease;
        sleep(EVERY).await;
    }
}

async fn look(
    client: &Client,
    leases: &Api<Lease>,
    name: &str,
    before: Option<&Lease>,
) -> (Result<String, String>, Option<Lease>) {
    let served: Vec<String> = match client.list_api_group_resources(API_VERSION).await {
        Ok(list) => list.resources.into_iter().map(|resource| resource.name).collect(),
        Err(error) => return (Err(format!("{API_VERSION} is not served: {error}")), None),
    };
    let lease = match leases.get_opt(name).await {
        Ok(lease) => lease,
        Err(error) => return (Err(format!("the Lease {name} cannot be seen: {error}")), None),
    };
    (judge(&served, name, before, lease.as_ref()), lease)
}

/// The holder's name, or what does not hold yet.
fn judge(served: &[String], name: &str, before: Option<&Lease>, now: Option<&Lease>) -> Result<String, String> {
    if let Some(missing) = KINDS.iter().find(|kind| !served.iter().any(|there| there == *kind)) {
        return Err(format!("{API_VERSION} is served without {missing}: the CRDs are another version's"));
    }
    let Some(now) = now else { return Err(format!("there is no Lease {name}: no operator has ever acted")) };
    let holder = now.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty());
    let Some(holder) = holder else { return Err(format!("nobody holds the Lease {name}")) };
    match before {
        Some(before) if before.resource_version() != now.resource_version() => Ok(holder),
        _ => Err(format!("{holder} holds the Lease {name}, and was not seen to renew it")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{api::coordination::v1::LeaseSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() }),
        }
    }

    #[test]
    fn an_operator_acts_when_its_lease_is_seen_to_be_renewed() {
        let served = KINDS.map(str::to_owned).to_vec();
        let judged = |before: Option<&Lease>, now: Option<&Lease>| judge(&served, "l", before, now);
        assert_eq!(judged(Some(&lease("a", "1")), Some(&lease("a", "2"))), Ok("a".to_owned()));
        let not_yet = "a holds the Lease l, and was not seen to renew it".to_owned();
        assert_eq!(judged(None, Some(&lease("a", "2"))), Err(not_yet.clone()));
        assert_eq!(judged(Some(&lease("a", "2")), Some(&lease("a", "2"))), Err(not_yet));
        assert_eq!(judged(Some(&lease("a", "2")), Some(&lease("", "3"))), Err("nobody holds the Lease l".to_owned()));
        assert_eq!(judged(None, None), Err("there is no Lease l: no operator has ever acted".to_owned()));
        let why = judge(&[KINDS[0].to_owned()], "l", None, None);
        assert_eq!(
            why,
            Err("trireme.dev/v1alpha1 is served without storetopologies: the CRDs are another version's".to_owned())
        );
    }
}
