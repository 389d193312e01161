//! What an edge of a store joins with: made of the store's secret, its record, and the Service that leads to its leaders.

use k8s_openapi::api::core::v1::{Node, Secret, Service};
use kube::{
    Api,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
};
use serde::Deserialize;
use trireme_cli::Failure;
use trireme_crds::topology::{GroupRecord, TOPOLOGY_KIND, edge_named};
use trireme_proto::edge::{PORT, Ticket, key};

use crate::cluster::Cluster;

/// The token of this edge. `doors` are where it is to knock; none: where the Service says.
///
/// # Errors
/// Where there is no such edge, or its parts may not be read.
pub async fn token(cluster: &Cluster, store: &str, name: &str, doors: &[String]) -> Result<String, Failure> {
    let (client, namespace) = (&cluster.client, &cluster.namespace);
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("trireme.dev", "v1alpha1", TOPOLOGY_KIND));
    let topologies: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let read = topologies.get_opt(store).await;
    let topology = read.map_err(|error| cluster.failure(&format!("read the record of {store}"), &error))?;
    let unknown =
        || Failure::Input(format!("there is no store {store} in {namespace}, or nothing was decided about it yet"));
    let topology = Records::deserialize(&topology.ok_or_else(unknown)?.data).map_err(|error| {
        let version = env!("CARGO_PKG_VERSION");
        Failure::Failed(format!("the record of {store} is not what kubectl-trireme {version} knows: {error}"))
    })?;
    let (row, edge) = edge_named(&topology.groups, name)
        .map_err(|others| Failure::Input(format!("{store} has no edge {name}{others}: spec.edges names them")))?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let at = format!("{store}-edges");
    let read = secrets.get_opt(&at).await;
    let secret = read.map_err(|error| cluster.failure(&format!("read the Secret {at}"), &error))?;
    let secret = secret.and_then(|secret| secret.data?.remove("secret"));
    let secret =
        secret.ok_or_else(|| Failure::Failed(format!("the Secret {at} is not there yet, or has no key secret")))?;
    let nonce = edge.nonce_number();
    let nonce =
        nonce.ok_or_else(|| Failure::Failed(format!("the record of {store} is damaged: {name} has no nonce")))?;
    let doors = match doors {
        [] => found(cluster, &at).await?,
        named => named.to_vec(),
    };
    let ticket = Ticket {
        name: store.to_owned(),
        store: topology.store.clone(),
        edge: name.to_owned(),
        group: row.group,
        replica: row.replicas.first().map_or(0, |replica| replica.id),
        key: key(&secret.0, row.group, nonce),
        doors,
    };
    Ok(ticket.to_text())
}

/// What is read of the records.
#[derive(Deserialize)]
struct Records {
    store: String,
    groups: Vec<GroupRecord>,
}

/// Where the Service is reached: from outside as far as it is led out, else by its address in the cluster.
async fn found(cluster: &Cluster, name: &str) -> Result<Vec<String>, Failure> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let read = services.get_opt(name).await;
    let service = read.map_err(|error| cluster.failure(&format!("read the Service {name}"), &error))?;
    let service = service.ok_or_else(|| Failure::Failed(format!("the Service {name} is not there yet")))?;
    let ingress = service.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    let balancers: Vec<String> =
        ingress.into_iter().filter_map(|at| Some(door(&at.ip.or(at.hostname)?, PORT.into()))).collect();
    let spec = service.spec.unwrap_or_default();
    let node_port = spec.ports.iter().flatten().find_map(|port| port.node_port);
    let doors = match (balancers.is_empty(), node_port) {
        (false, _) => balancers,
        (true, Some(port)) => nodes(cluster).await?.into_iter().map(|at| door(&at, port)).collect(),
        (true, None) => spec.cluster_ip.into_iter().map(|at| door(&at, PORT.into())).collect(),
    };
    match doors.is_empty() {
        true => {
            Err(Failure::Failed(format!("the Service {name} has no address yet; --door HOST:PORT names another way")))
        }
        false => Ok(doors),
    }
}

/// `host:port`, also of an address with colons of its own.
fn door(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Addresses of the nodes: external ones where there are any.
async fn nodes(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let listed = nodes.list(&kube::api::ListParams::default()).await;
    let listed = listed.map_err(|error| {
        cluster.failure("list nodes, whose ports lead to the store (--door HOST:PORT goes without)", &error)
    })?;
    let all: Vec<_> = listed.items.into_iter().filter_map(|node| node.status?.addresses).flatten().collect();
    let of = |kind: &str| -> Vec<String> {
        all.iter().filter(|address| address.type_ == kind).map(|address| address.address.clone()).collect()
    };
    let external = of("ExternalIP");
    Ok(if external.is_empty() { of("InternalIP") } else { external })
}
