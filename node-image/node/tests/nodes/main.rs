//! Whole replicas, with their real core and disk, on loopback sockets: alone, and three of them.

#![allow(clippy::unwrap_used, reason = "a test ends with whatever goes wrong; what helps tests counts as one")]

mod common;
mod oracle;
mod pubsub;
mod redis;

use common::{Authority, FIRST, Node};
use trireme_node::ExitReason;
use trireme_proto::topology::Durability;

const BOTH: [Durability; 2] = [Durability::Disk, Durability::Memory];

#[test]
fn a_replica_alone_serves_and_finds_everything_again() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let nodes = [Node::start(dir.path(), 1, durability)];
        let mut authority = Authority::of(&nodes, 1, durability);
        assert_eq!(authority.lead(None), 1);
        assert_eq!(authority.record.epoch, FIRST);
        let mut client = nodes[0].client();
        assert_eq!(client.ask(&["SET", "key", "value"]), "+OK");
        assert_eq!(client.ask(&["INCR", "count"]), ":1");
        assert_eq!(client.ask(&["GET", "key"]), "value");
        drop((client, authority));
        let [node] = nodes;
        assert!(matches!(node.stop(), Ok(ExitReason::OutOfTime | ExitReason::Finished)));

        let nodes = [Node::start(dir.path(), 1, durability)];
        let mut authority = Authority::of(&nodes, 1, durability);
        (authority.record.version, authority.record.epoch) = (2, FIRST);
        assert_eq!(authority.lead(None), 1);
        let mut client = nodes[0].client();
        assert_eq!(client.ask(&["GET", "key"]), "value", "{durability:?}");
        assert_eq!(client.ask(&["INCR", "count"]), ":2");
    }
}

#[test]
fn what_is_no_command_closes_its_own_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = [Node::start(dir.path(), 1, Durability::Memory)];
    Authority::of(&nodes, 1, Durability::Memory).lead(None);
    let (mut good, mut bad) = (nodes[0].client(), nodes[0].client());
    bad.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*1\r\n$-5\r\n");
    assert_eq!(bad.rest(), "+OK\r\n-ERR Protocol error: invalid bulk length\r\n");
    assert_eq!(good.ask(&["GET", "a"]), "b");
    let mut bad = nodes[0].client();
    bad.send(b"*1\r\n$4\r\nPING\r\n*1048577\r\n");
    assert_eq!(bad.rest(), "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n");
    assert_eq!(good.ask(&["PING"]), "+PONG");
}

#[test]
fn three_replicas_take_commands_anywhere_and_survive_their_leader() {
    for durability in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let mut nodes: Vec<Node> = (1..=3).map(|id| Node::start(dir.path(), id, durability)).collect();
        let mut authority = Authority::of(&nodes, 2, durability);
        assert_eq!(authority.lead(Some(1)), 1);
        let mut clients: Vec<_> = nodes.iter().map(Node::client).collect();
        for (count, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask(&["INCR", "count"]), format!(":{}", count + 1));
        }
        assert_eq!(clients[2].ask(&["SET", "key", "value"]), "+OK");
        assert_eq!(clients[1].ask(&["GET", "key"]), "value");

        drop((clients.remove(0), authority.operators.remove(0)));
        let _ = nodes.remove(0).stop();
        let leader = authority.lead(None);
        assert!(leader == 2 || leader == 3);
        for (count, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask(&["GET", "key"]), "value", "{durability:?}");
            assert_eq!(client.ask(&["INCR", "count"]), format!(":{}", count + 4));
        }
    }
}
