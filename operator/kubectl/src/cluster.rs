//! The cluster that is meant, and what its refusals mean to whoever asked.

use std::{path::PathBuf, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use trireme_cli::Failure;

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for an answer; a watch may be silent for as long as a request is followed.
const ANSWER_MAX: Duration = Duration::from_secs(90);

/// Which cluster and namespace, as kubectl has it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// The namespace; without it, that of the context.
    #[arg(long, short, global = true)]
    namespace: Option<String>,
    /// The context of the kubeconfig; without it, the current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// The kubeconfig; without it, $KUBECONFIG or ~/.kube/config.
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
}

/// A cluster that may be there.
#[derive(Clone)]
pub struct Cluster {
    /// The way to its API server.
    pub client: Client,
    /// The namespace that is meant.
    pub namespace: String,
    url: String,
}

impl Which {
    /// The cluster that is meant. Nothing is sent to it yet.
    ///
    /// # Errors
    /// Where no cluster is meant.
    pub async fn cluster(&self) -> Result<Cluster, Failure> {
        let mut config = self.config().await?;
        config.connect_timeout = Some(CONNECT_MAX);
        config.read_timeout = Some(ANSWER_MAX);
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|error| Failure::Failed(format!("no connection to {url} can be made: {}", chain(&error))))?;
        Ok(Cluster { client, namespace, url })
    }

    async fn config(&self) -> Result<Config, Failure> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let read = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let kubeconfig = match read {
            Ok(kubeconfig) => kubeconfig,
            Err(error) => return self.inside(&error),
        };
        let contexts: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
        match Config::from_custom_kubeconfig(kubeconfig, &options).await {
            Ok(config) => Ok(config),
            Err(KubeconfigError::CurrentContextNotSet) if contexts.is_empty() => {
                Err(Failure::Failed(NO_CLUSTER.to_owned()))
            }
            Err(KubeconfigError::CurrentContextNotSet | KubeconfigError::LoadContext(_)) => {
                let asked = self.context.as_deref().unwrap_or("that is current");
                Err(Failure::Failed(format!("there is no context {asked}; there is: {}", contexts.join(", "))))
            }
            Err(error) => Err(Failure::Failed(chain(&error))),
        }
    }

    /// Without a kubeconfig: a pod has a cluster around it.
    fn inside(&self, error: &KubeconfigError) -> Result<Config, Failure> {
        let absent = matches!(error, KubeconfigError::ReadConfig(..) | KubeconfigError::FindPath);
        match Config::incluster() {
            Ok(config) if absent && self.kubeconfig.is_none() && self.context.is_none() => Ok(config),
            _ if absent && self.kubeconfig.is_none() && std::env::var_os("KUBECONFIG").is_none() => {
                Err(Failure::Failed(NO_CLUSTER.to_owned()))
            }
            _ => Err(Failure::Failed(chain(error))),
        }
    }
}

const NO_CLUSTER: &str = "no cluster is known: there is no kubeconfig at $KUBECONFIG or ~/.kube/config; \
                          --kubeconfig names one, and `trireme up` runs a store without a cluster";

impl Cluster {
    /// What an error of the API server means; `what` is what was to be done, as "list stores".
    pub fn failure(&self, what: &str, error: &kube::Error) -> Failure {
        let url = &self.url;
        Failure::Failed(match error {
            kube::Error::Api(status) => match status.code {
                401 => format!("{url} does not know who you are: {}; log in again", status.message),
                403 => format!(
                    "you may not {what}: {}; ask whoever runs the cluster for a role that allows it",
                    status.message
                ),
                404 if is_unknown_kind(error) => format!(
                    "{url} does not know what a ReplicatedStore is: Trireme is not installed there. \
                     `helm install trireme charts/trireme` installs it"
                ),
                _ => format!("{url} would not {what}: {}", status.message),
            },
            kube::Error::Service(_) | kube::Error::HyperError(_) | kube::Error::ReadEvents(_) => format!(
                "{url} does not answer: {}. Is the cluster up? `kubectl config current-context` says which one is meant",
                innermost(error)
            ),
            kube::Error::Auth(_) => format!("no credentials for {url}: {}", chain(error)),
            other => format!("{url}: could not {what}: {}", chain(other)),
        })
    }
}

/// The API server has no such kind, rather than no such object.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            status.code == 404 && status.details.as_ref().is_none_or(|details| details.name.is_empty())
        }
        _ => false,
    }
}

/// The API server has no such object.
pub fn is_absent(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404) && !is_unknown_kind(error)
}

/// Why a request for something that can be done without came to nothing, in few words.
pub fn briefly(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => chain(other),
    }
}

/// What caused an error in the first place.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(inner) => innermost(inner),
        None => error.to_string(),
    }
}

/// An error with what caused it, the same words only once.
fn chain(error: &impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
