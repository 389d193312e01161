//! Peers that are none: another version, another store, another number, another incarnation.

use std::net::SocketAddr;

use bytes::BytesMut;
use trireme_proto::{Message, PROTOCOL_VERSION, frame, message::Hello};

use crate::{
    support::{Replica, Store},
    tools::{Load, Raw, SPEC, acknowledged, assert_healed, assert_undisturbed, http, metric},
};

/// Says this to the peer port; what it answers, and whether it then closes the connection.
fn say(replica: &Replica, bytes: &[u8]) -> Option<Hello> {
    let mut connection = Raw::connect(SocketAddr::new(replica.address.ip(), 7600));
    connection.send(bytes);
    let mut answer = BytesMut::from(&connection.rest()[..]);
    match frame::decode(&mut answer) {
        Ok(Some(Some(Message::Hello(hello)))) => {
            assert!(answer.is_empty(), "it said more than Hello");
            Some(hello)
        }
        _ => None,
    }
}

fn hello(hello: Hello) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame::encode(Message::Hello(hello), &mut bytes);
    bytes
}

#[test]
fn who_does_not_belong_is_refused_counted_and_named() {
    let root = tempfile::tempdir().unwrap();
    let mut store = Store::up(root.path(), SPEC, &[]);
    let replica = store.replicas[1].clone();
    let uid = std::fs::read_to_string(store.dir.join("uid")).unwrap();
    let uid = uid.lines().find_map(|line| line.strip_prefix("uid ")).unwrap().to_owned();
    let load = Load::start("l", &store.replicas);
    let good =
        Hello { version: PROTOCOL_VERSION, store: uid, from: 1, incarnation: 77, to: 2, boot: 7, ..Hello::default() };
    let version = PROTOCOL_VERSION + 2;
    let speaks = format!("it speaks version {version} of the protocol, this replica");
    for (count, (bytes, why)) in [
        (hello(Hello { version, ..good.clone() }), speaks.as_str()),
        (
            hello(Hello { store: "carts".into(), ..good.clone() }),
            "it belongs to store \\\"carts\\\": an address is used by two stores",
        ),
        (
            hello(Hello { to: 3, ..good.clone() }),
            "it wants replica 3: an address belongs to another replica than it believes",
        ),
        (hello(Hello { from: 2, ..good.clone() }), "it says that it is replica 2, which cannot be here"),
        (hello(Hello { incarnation: 0, ..good.clone() }), "replica 1 names no incarnation"),
        (hello(good), "replica 1 is connected as another incarnation"),
        (BytesMut::from(&b"GET / HTTP/1.0\r\n\r\n"[..]), "it does not speak this protocol"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = say(&replica, &bytes);
        // It says who it is, so that the other side sees why.
        assert!(answer.is_none_or(|hello| hello.from == 2 && hello.version == PROTOCOL_VERSION), "{why}");
        assert_eq!(metric(&replica, "trireme_peer_refusals_total"), count as u64 + 1, "{why}");
        let status = http(&replica, "/status");
        assert!(status.contains(&format!(": {why}")), "{why}: {status}");
        let log = std::fs::read_to_string(store.dir.join("logs/orders-1.log")).unwrap();
        assert!(log.contains(&why.replace('\\', "")), "{why}: {log}");
    }
    let status = store.wait_status("counted", |s| s["replicas"][1]["peerRefusals"] == 7);
    assert_eq!(status["replicas"][0]["peerRefusals"], 0);
    let logs = load.finish();
    assert_undisturbed(&logs);
    assert_healed(&store, &acknowledged(&logs));
    store.stop();
}
