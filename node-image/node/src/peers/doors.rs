//! The door for edges: who is let in there, and how an edge keeps knocking.
//!
//! An edge is dialled by nobody. It knocks at all doors that it knows, each again and again, and talks with every leader behind one; who is no leader turns it
//! away. Its first frame has its key, which the record knows by a hash, and it is told why where it is not let in. Nobody else comes in by this door: so it,
//! and not the port for peers, is what may be open to the world. The key crosses the line as it is, as everything else does: there is no TLS yet.

use std::{rc::Rc, time::Duration};

use tokio::{net::TcpStream, time::sleep};
use trireme_proto::{
    Message, ReplicaId, edge, frame,
    ids::Peer,
    message::{Hello, TurnedAway},
    topology::{Group, Topology},
};

use super::{
    Door, call,
    hello::{self, Greeted, HelloError},
    link,
};
use crate::shell::Shell;

/// Pause after the first failure; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a leader may be behind the door by then.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Whether whoever says this Hello is let in by the door for edges.
///
/// # Errors
/// Why not, in words that the edge is told.
pub(super) fn admit(shell: &Shell, theirs: &Hello) -> Result<(), HelloError> {
    let core = shell.core.borrow();
    is_known(core.topology(), theirs)?;
    if theirs.connected.contains(&shell.identity.id) {
        return Err(HelloError::Already);
    }
    if !core.speaks_for_group() {
        return Err(HelloError::LeadsNot);
    }
    shell.links.is_twin(Peer::Replica(theirs.from), theirs.incarnation)
}

/// Whether the record has an edge with this number, and this key.
fn is_known(topology: Option<&Topology>, theirs: &Hello) -> Result<(), HelloError> {
    let is_its = |row: &&Group| row.replicas.iter().any(|replica| replica.id == theirs.from);
    let row = edge_of(topology, theirs.group)?.filter(is_its);
    may_stay(row, theirs.from, &edge::verifier(&theirs.key))
}

/// An edge's row in the record.
///
/// # Errors
/// A replica that is new has no record yet: that says nothing of whoever knocks.
fn edge_of(topology: Option<&Topology>, group: u32) -> Result<Option<&Group>, HelloError> {
    let topology = topology.ok_or(HelloError::LeadsNot)?;
    Ok(topology.groups.iter().find(|row| row.is_edge() && row.group == group))
}

/// Whether a key, known by its verifier, is that of this edge still.
fn may_stay(row: Option<&Group>, from: ReplicaId, verifier: &[u8]) -> Result<(), HelloError> {
    match row.and_then(|row| row.edge.as_ref().map(|edge| (row, edge))) {
        Some((row, edge)) if edge.verifier == verifier => match edge.revoked {
            true => Err(HelloError::Revoked(row.region.clone())),
            false => Ok(()),
        },
        _ => Err(HelloError::Key(from)),
    }
}

/// Cuts connections of edges that would not be let in any more. Where that is for good they are told why first: when the last edge is revoked there is no door
/// any more at which they could ask.
pub(crate) fn look_after(shell: &Shell) {
    if shell.links.edges() == 0 {
        return;
    }
    let core = shell.core.borrow();
    let (speaks, topology) = (core.speaks_for_group(), core.topology());
    let open = shell.links.open.borrow();
    for link in open.values().filter(|link| !link.outbox.is_broken()) {
        let (Some(key), Peer::Replica(from)) = (&link.edge, link.peer) else { continue };
        // One whose feeds are paused stays connected: it is not turned away.
        let stays = edge_of(topology, link.group).and_then(|row| may_stay(row, from, key));
        match stays {
            Ok(()) if speaks => continue,
            Err(why) if why.is_refusal() => {
                let message = Message::TurnedAway(TurnedAway { why: why.to_string() });
                frame::encode(message, link.outbox.buffer().end());
                link.outbox.flush();
            }
            _ => {}
        }
        link.outbox.cut();
    }
}

/// An edge: knocks at this door for as long as the process runs, and talks with whoever is behind it.
pub(crate) async fn keep_knocking(shell: Rc<Shell>, door: String) {
    let mut pause = PAUSE_MIN;
    loop {
        match knock(&shell, &door).await {
            Ok((stream, greeted)) => {
                pause = PAUSE_MIN;
                shell.links.turned_away.replace(None);
                let peer = Peer::Replica(greeted.hello.from);
                if let Err(error) = link::serve(&shell, stream, peer, greeted, Door::Peers).await {
                    shell.links.refuse(&door, &error);
                }
            }
            Err(error) => {
                if let HelloError::Refused(why) = &error {
                    shell.links.turned_away.replace(Some(format!("{door}: {why}")));
                }
                shell.links.refuse(&door, &error);
            }
        }
        sleep(shell.links.jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn knock(shell: &Shell, door: &str) -> Result<(TcpStream, Greeted), HelloError> {
    let key = shell.config.edge.as_ref().map(|edge| edge.key.clone()).unwrap_or_default();
    // The way to a door leads through other networks than those between replicas: calls come from wherever the system says.
    let mut stream = call::connect(None, door).await?;
    // Another door may lead to somebody who is connected already; that connection is to stay.
    let connected = shell.links.connected().into_iter().filter_map(|peer| match peer {
        Peer::Replica(id) => Some(id),
        Peer::Operator(_) => None,
    });
    let mine = Hello { to: 0, key, connected: connected.collect(), ..shell.links.me.clone() };
    let greeted = hello::knock(&mut stream, &mine).await?;
    Ok((stream, greeted))
}

#[cfg(test)]
mod tests {
    use trireme_proto::topology::{Edge, Replica};

    use super::*;

    #[test]
    fn an_edge_is_let_in_by_its_own_key_until_it_is_revoked() {
        let row = |group: u32, id: u32, revoked: bool| Group {
            group,
            region: format!("edge-{group}"),
            replicas: vec![Replica { id, ..Replica::default() }],
            edge: Some(Edge { verifier: edge::verifier(&edge::key(b"s", group, 7)).into(), revoked, nonce: 7 }),
            ..Group::default()
        };
        let region = Group { group: 2, replicas: vec![Replica { id: 17, ..Replica::default() }], ..Group::default() };
        let topology = Topology { groups: vec![region, row(3, 33, false), row(4, 49, true)], ..Topology::default() };
        let knock = |group: u32, from: u32, secret: &[u8], of: u32| {
            let hello = Hello { group, from, key: edge::key(secret, of, 7), ..Hello::default() };
            is_known(Some(&topology), &hello)
        };
        assert!(knock(3, 33, b"s", 3).is_ok());
        assert!(matches!(knock(4, 49, b"s", 4), Err(HelloError::Revoked(name)) if name == "edge-4"));
        // The number of another edge, of a region, of nobody; another replica's; another store's key; none.
        for (group, from, secret, of) in [
            (3, 33, b"s", 4),
            (2, 17, b"s", 2),
            (9, 129, b"s", 9),
            (3, 17, b"s", 3),
            (3, 33, b"t", 3),
            (4, 49, b"t", 4),
        ] {
            assert!(matches!(knock(group, from, secret, of), Err(HelloError::Key(id)) if id == from), "{group} {from}");
        }
        let nothing = Hello { group: 3, from: 33, ..Hello::default() };
        assert!(matches!(is_known(Some(&topology), &nothing), Err(HelloError::Key(33))));
        assert!(matches!(is_known(None, &nothing), Err(HelloError::LeadsNot)));
    }
}
