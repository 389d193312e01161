//! The shell around a stand-in for the core: connections, the order of replies, back-pressure, the disk, peers, HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use trireme_proto::{
    Message, PROTOCOL_VERSION, Position, frame,
    ids::Peer,
    message::{AppendAck, Feed, Hello, Packed},
    topology::{Durability, FeedCompression, Mode, Replica, Settings, Topology},
};
use trireme_replica::io::{CheckpointOp, DiskOp};

use crate::{
    client::{COMMANDS_PER_TURN, LARGE_BYTES_PER_TURN},
    peers::follow_record,
    pump::Ending,
    testing::{BIG_BYTES, World, exchange, in_world, read_to_end},
};

#[test]
fn commands_are_answered_in_order_however_they_are_cut() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        exchange(&mut client, b"PING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n", b"+PONG\r\n+a\r\n").await;
        for byte in b"*2\r\n$4\r\nECHO\r\n$2\r\nbc\r" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        exchange(&mut client, b"\nPING\r\n", b"+bc\r\n+PONG\r\n").await;
    });
}

#[test]
fn more_commands_than_a_turn_takes_are_all_answered() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        let (pings, pongs) = (b"PING\r\n".repeat(50_000), b"+PONG\r\n".repeat(50_000));
        let (mut read, mut write) = client.split();
        let mut got = vec![0; pongs.len()];
        let (sent, received) = tokio::join!(write.write_all(&pings), read.read_exact(&mut got));
        sent.unwrap();
        received.unwrap();
        assert!(got == pongs);
    });
}

#[test]
fn a_large_argument_arrives_whole() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        let value = vec![b'v'; 3 << 20];
        let command =
            [format!("PING\r\n*2\r\n$4\r\nECHO\r\n${}\r\n", value.len()).as_bytes(), &value, b"\r\nPING\r\n"].concat();
        let expect = [&b"+PONG\r\n+"[..], &value, b"\r\n+PONG\r\n"].concat();
        let (mut read, mut write) = client.split();
        let mut got = vec![0; expect.len()];
        let (sent, received) = tokio::join!(write.write_all(&command), read.read_exact(&mut got));
        sent.unwrap();
        received.unwrap();
        assert!(got == expect);
    });
}

#[test]
fn an_error_comes_after_the_replies_before_it_and_closes_only_its_connection() {
    in_world(Durability::Disk, async |world: World| {
        let (mut good, mut bad) = (world.connect().await, world.connect().await);
        world.script.borrow_mut().held = true;
        bad.write_all(b"PING\r\n*1\r\nx\r\nPING\r\n").await.unwrap();
        while world.shell.protocol_errors.get() == 0 {
            tokio::task::yield_now().await;
        }
        world.script.borrow_mut().held = false;
        world.ring();
        assert_eq!(read_to_end(&mut bad).await, "+PONG\r\n-ERR Protocol error: expected '$', got 'x'\r\n");
        world.until_seen("ClientClosed(").await;
        exchange(&mut good, b"PING\r\n", b"+PONG\r\n").await;
    });
}

#[test]
fn a_client_that_has_said_everything_still_gets_its_replies() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        client.write_all(b"PING\r\nWRITE\r\n*1\r\n$4\r\nPI").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "+PONG\r\n+WRITTEN\r\n");
        let mut client = world.connect().await;
        client.write_all(b"QUIT\r\n").await.unwrap();
        assert_eq!(read_to_end(&mut client).await, "+OK\r\n");
    });
}

#[test]
fn a_browser_is_shown_the_door() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\nPING\r\n").await.unwrap();
        let mut got = Vec::new();
        // The rest of its request is not read: the system may say so with a reset.
        let _ = client.read_to_end(&mut got).await;
        assert!(got.is_empty(), "{}", got.escape_ascii());
    });
}

#[test]
fn a_client_that_does_not_read_its_replies_is_not_read_from() {
    in_world(Durability::Disk, async |world: World| {
        let (mut slow, mut other) = (world.connect().await, world.connect().await);
        slow.write_all(&b"BIG\r\n".repeat(600)).await.unwrap();
        while world.script.borrow().bigs == 0 {
            tokio::task::yield_now().await;
        }
        for _ in 0..50 {
            exchange(&mut other, b"PING\r\n", b"+PONG\r\n").await;
        }
        assert_eq!(world.script.borrow().bigs, COMMANDS_PER_TURN, "only one turn's commands were executed");
        let mut got = vec![0; 600 * BIG_BYTES];
        slow.read_exact(&mut got).await.unwrap();
        exchange(&mut slow, b"PING\r\n", b"+PONG\r\n").await;
    });
}

#[test]
fn clients_with_large_replies_take_turns() {
    in_world(Durability::Disk, async |world: World| {
        let mut clients = [world.connect().await, world.connect().await, world.connect().await];
        let mut got = vec![0; 40 * BIG_BYTES];
        for client in &mut clients {
            exchange(client, b"BIG\r\n", &vec![b'x'; BIG_BYTES]).await;
        }
        world.script.borrow_mut().bigs_most = 0;
        for client in &mut clients {
            client.write_all(&b"BIG\r\n".repeat(40)).await.unwrap();
        }
        for client in &mut clients {
            client.read_exact(&mut got).await.unwrap();
        }
        let most = world.script.borrow().bigs_most;
        assert_eq!(most, LARGE_BYTES_PER_TURN / BIG_BYTES, "as many as fit into a turn, of all clients together");
    });
}

#[test]
fn a_paused_client_is_not_read_until_it_is_resumed() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        exchange(&mut client, b"PING\r\n", b"+PONG\r\n").await;
        world.script.borrow_mut().next.paused.push(1);
        world.ring();
        let mut other = world.connect().await;
        exchange(&mut other, b"PING\r\n", b"+PONG\r\n").await;
        client.write_all(b"PING\r\n").await.unwrap();
        for _ in 0..20 {
            exchange(&mut other, b"PING\r\n", b"+PONG\r\n").await;
        }
        assert_eq!(client.try_read(&mut [0; 16]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        world.script.borrow_mut().next.resumed.push(1);
        world.ring();
        exchange(&mut client, b"", b"+PONG\r\n").await;
    });
}

#[test]
fn too_many_clients_are_told_so() {
    in_world(Durability::Disk, async |world: World| {
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = world.connect().await;
            exchange(&mut client, b"PING\r\n", b"+PONG\r\n").await;
            clients.push(client);
        }
        let mut refused = world.connect().await;
        assert_eq!(read_to_end(&mut refused).await, "-ERR max number of clients reached\r\n");
        drop(clients.pop());
        world.until_seen("ClientClosed(").await;
        let mut client = world.connect().await;
        exchange(&mut client, b"PING\r\n", b"+PONG\r\n").await;
    });
}

#[test]
fn writes_go_to_the_disk_thread_or_are_written_at_once() {
    for (durability, command, thread) in [
        (Durability::Disk, "WRITE\r\n", true),
        (Durability::Memory, "WRITE\r\n", false),
        (Durability::Memory, "MUCH\r\n", true),
    ] {
        in_world(durability, async move |world: World| {
            let mut client = world.connect().await;
            exchange(&mut client, command.repeat(2).as_bytes(), b"+WRITTEN\r\n+WRITTEN\r\n").await;
            let state = world.disk.state.lock().unwrap();
            assert_eq!(state.batches.first(), Some(&2), "one batch for both");
            assert_eq!(state.threads[0].as_deref() == Some("disk"), thread);
        });
    }
}

#[test]
fn a_full_disk_is_reported_and_heals() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        world.disk.state.lock().unwrap().room = Some(1);
        exchange(&mut client, b"WRITE\r\nWRITE\r\n", b"+WRITTEN\r\n").await;
        world.until_seen("DiskFull(true)").await;
        world.disk.state.lock().unwrap().room = None;
        // Once a second it is looked whether there is room again.
        exchange(&mut client, b"", b"+WRITTEN\r\n").await;
        world.until_seen("DiskFull(false)").await;
    });
}

#[test]
fn a_sync_beside_the_writes_holds_nothing_up_and_its_failure_ends_the_replica() {
    in_world(Durability::Memory, async |world| {
        let (open, gate) = std::sync::mpsc::channel();
        let (fail, second) = std::sync::mpsc::channel::<()>();
        world.disk.state.lock().unwrap().sync_gate = Some(gate);
        let taken = async || {
            while world.disk.state.lock().unwrap().sync_gate.is_some() {
                tokio::task::yield_now().await;
            }
        };
        taken().await;
        let mut client = world.connect().await;
        exchange(&mut client, b"WRITE\r\n", b"+WRITTEN\r\n").await;
        {
            let mut state = world.disk.state.lock().unwrap();
            assert_eq!((state.syncs, state.batches.len()), (0, 1), "written and answered while it goes on");
            state.sync_gate = Some(second);
        }
        open.send(()).unwrap();
        taken().await;
        assert_eq!(world.disk.state.lock().unwrap().syncs, 1);
        drop(fail);
        let Ending::Fatal(why) = world.pump.await.unwrap() else { panic!("it goes on") };
        assert!(why.contains("sync failed"), "{why}");
    });
}

#[test]
fn a_checkpoint_holds_no_write_up_and_its_failure_ends_the_replica() {
    for durability in [Durability::Disk, Durability::Memory] {
        in_world(durability, async |world| {
            let begin = CheckpointOp::Begin { start: Position::ZERO, meta: Bytes::new() };
            let (open, gate) = std::sync::mpsc::channel();
            world.disk.state.lock().unwrap().checkpoint_gate = Some(gate);
            world.script.borrow_mut().next.checkpoint.push(begin.clone());
            world.ring();
            let mut client = world.connect().await;
            exchange(&mut client, b"WRITE\r\n", b"+WRITTEN\r\n").await;
            assert_eq!(world.disk.state.lock().unwrap().steps, 0, "written and answered while it goes on");
            open.send(()).unwrap();
            world.until_seen("Checkpointed").await;
            // The next one fails.
            let (fail, gate) = std::sync::mpsc::channel::<()>();
            world.disk.state.lock().unwrap().checkpoint_gate = Some(gate);
            world.script.borrow_mut().next.checkpoint.push(begin);
            world.ring();
            drop(fail);
            let Ending::Fatal(why) = world.pump.await.unwrap() else { panic!("it goes on") };
            assert!(why.contains("nobody opens the gate"), "{why}");
        });
    }
}

#[test]
fn what_has_not_begun_of_a_checkpoint_never_does_once_a_snapshot_begins() {
    in_world(Durability::Disk, async |world| {
        let begin = || CheckpointOp::Begin { start: Position::ZERO, meta: Bytes::new() };
        // The disk is with its thread when the steps come, and when the snapshot does.
        let (open, gate) = std::sync::mpsc::channel();
        world.disk.state.lock().unwrap().apply_gate = Some(gate);
        world.script.borrow_mut().next.persist.push((1, DiskOp::Commit(1)));
        world.ring();
        while world.disk.state.lock().unwrap().apply_gate.is_some() {
            tokio::task::yield_now().await;
        }
        world.script.borrow_mut().next.checkpoint.push(begin());
        world.ring();
        while !world.script.borrow().next.checkpoint.is_empty() {
            tokio::task::yield_now().await;
        }
        world.script.borrow_mut().next.persist.push((2, DiskOp::Snapshot(begin())));
        world.ring();
        world.until_seen("Checkpointed").await;
        open.send(()).unwrap();
        world.until_seen("Persisted(2)").await;
        // What comes behind the snapshot's steps is another checkpoint, and goes on.
        world.script.borrow_mut().seen.clear();
        world.script.borrow_mut().next.checkpoint.push(begin());
        world.ring();
        world.until_seen("Checkpointed").await;
        assert_eq!(world.disk.state.lock().unwrap().steps, 1);
    });
}

#[test]
fn a_failed_sync_ends_the_replica_with_its_reason() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        world.disk.state.lock().unwrap().broken = true;
        client.write_all(b"WRITE\r\n").await.unwrap();
        let Ending::Fatal(why) = world.pump.await.unwrap() else { panic!("not fatal") };
        assert!(why.contains("log: sync failed"), "{why}");
    });
}

#[test]
fn told_to_end_it_finishes_and_closes_the_disk() {
    in_world(Durability::Disk, async |world: World| {
        world.shell.stop();
        assert_eq!(world.pump.await.unwrap(), Ending::Finished);
        assert!(world.disk.state.lock().unwrap().closed);
    });
}

fn hello(from: u32, to: u32) -> Hello {
    let incarnation = if from == 0 { 0 } else { 9 };
    Hello { version: PROTOCOL_VERSION, store: "test".into(), from, incarnation, to, boot: 3, ..Hello::default() }
}

async fn call(world: &World, hello: Hello) -> TcpStream {
    let mut stream = TcpStream::connect(world.at.peer).await.unwrap();
    say(&mut stream, Message::Hello(hello)).await;
    stream
}

async fn say(stream: &mut TcpStream, message: Message) {
    let mut out = BytesMut::new();
    frame::encode(message, &mut out);
    stream.write_all(&out).await.unwrap();
}

async fn hear(stream: &mut TcpStream) -> Option<Message> {
    let mut buffer = BytesMut::new();
    loop {
        if let Some(message) = frame::decode(&mut buffer).unwrap() {
            return message;
        }
        // One byte at a time: what follows the frame stays in the socket.
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            return None;
        }
        buffer.extend_from_slice(&byte);
    }
}

#[test]
fn a_peer_is_greeted_heard_and_answered() {
    in_world(Durability::Disk, async |world: World| {
        let mut peer = call(&world, hello(1, 2)).await;
        let Some(Message::Hello(answer)) = hear(&mut peer).await else { panic!("no Hello") };
        assert_eq!((answer.from, answer.to, answer.incarnation), (2, 1, 42));
        world.until_seen("PeerOpened { peer: Replica(1), incarnation: 9, group: 0 }").await;
        say(&mut peer, Message::AppendAck(AppendAck { durable: 5, ..AppendAck::default() })).await;
        world.until_seen("Peer { peer: Replica(1), message: AppendAck(").await;
        let reply = Message::AppendAck(AppendAck { durable: 6, ..AppendAck::default() });
        world.script.borrow_mut().next.send.push((Peer::Replica(1), reply.clone()));
        world.ring();
        assert_eq!(hear(&mut peer).await, Some(reply));
        drop(peer);
        world.until_seen("PeerClosed(Replica(1))").await;
    });
}

#[test]
fn what_goes_to_another_region_is_packed_for_who_understands_it() {
    use FeedCompression::{Lz4, Off};
    in_world(Durability::Disk, async |world: World| {
        let large = || {
            let entries = vec![Bytes::from(b"record ".repeat(20_000))];
            Message::Feed(Box::new(Feed { entries, ..Feed::default() }))
        };
        let cases = [(Lz4, 3, true, true), (Lz4, 3, false, false), (Lz4, 0, true, false), (Off, 3, true, false)];
        for (compression, group, unpacks, packed) in cases {
            let feed_compression = compression as i32;
            let settings = Settings { mode: Mode::MultiLeader as i32, feed_compression, ..Settings::standard() };
            follow_record(&world.shell, &Topology { settings, ..Topology::default() });
            world.script.borrow_mut().seen.clear();
            let mut peer = call(&world, Hello { group, unpacks, ..hello(1, 2) }).await;
            assert!(hear(&mut peer).await.is_some());
            world.until_seen("PeerOpened").await;
            world.script.borrow_mut().next.send.push((Peer::Replica(1), large()));
            world.ring();
            let heard = hear(&mut peer).await.unwrap();
            let is_packed = matches!(heard, Message::Packed(_));
            assert_eq!(is_packed, packed, "{compression:?}, group {group}, unpacks: {unpacks}");
            assert!(is_packed || heard == large());
        }
        let sent = world.shell.links.sent_to(3);
        assert!(sent.plain > 3 * 140_000 && sent.wire < sent.plain - 130_000, "{sent:?}");
        assert_eq!(world.shell.links.sent_to(0).plain, 0, "that is no other group");
    });
}

/// Frames as a packed piece.
fn packed(bytes: &[u8]) -> Message {
    Message::Packed(Packed { bytes: bytes.len() as u32, lz4: lz4_flex::block::compress(bytes).into() })
}

#[test]
fn what_is_packed_is_heard_and_what_cannot_be_unpacked_ends_the_connection_and_is_counted() {
    in_world(Durability::Disk, async |world: World| {
        let ack = |durable| Message::AppendAck(AppendAck { durable, ..AppendAck::default() });
        let mut frames = BytesMut::new();
        [5, 6].into_iter().for_each(|durable| frame::encode(ack(durable), &mut frames));
        let mut peer = call(&world, hello(1, 2)).await;
        assert!(hear(&mut peer).await.is_some());
        for piece in frames.chunks(frames.len() * 2 / 3) {
            say(&mut peer, packed(piece)).await;
        }
        let heard = |world: &World| {
            world.script.borrow().seen.iter().filter(|seen| seen.contains("message: AppendAck(")).count()
        };
        while heard(&world) < 2 {
            tokio::task::yield_now().await;
        }
        let half = packed(&frames[..frames.len() / 3]);
        let mut again = BytesMut::new();
        frame::encode(packed(&frames), &mut again);
        let lie = Message::Packed(Packed { bytes: u32::MAX, lz4: Bytes::from_static(b"x") });
        let bad = [vec![lie], vec![half, ack(7)], vec![packed(&again)]];
        for (number, messages) in bad.into_iter().enumerate() {
            let mut peer = call(&world, hello(1, 2)).await;
            assert!(hear(&mut peer).await.is_some());
            for message in messages {
                say(&mut peer, message).await;
            }
            assert_eq!(hear(&mut peer).await, None, "case {number}");
            assert_eq!(world.shell.links.unreadable(), number as u64 + 1);
        }
    });
}

#[test]
fn a_newer_connection_of_a_peer_replaces_the_old_one() {
    in_world(Durability::Disk, async |world: World| {
        let mut old = call(&world, hello(1, 2)).await;
        assert!(hear(&mut old).await.is_some());
        world.until_seen("PeerOpened").await;
        let mut new = call(&world, hello(1, 2)).await;
        assert!(hear(&mut new).await.is_some());
        assert_eq!(hear(&mut old).await, None, "the old one is closed");
        let words: Vec<String> =
            world.script.borrow().seen.iter().map(|seen| seen.chars().take(10).collect()).collect();
        assert_eq!(words, ["PeerOpened", "PeerClosed", "PeerOpened"]);
        assert_eq!(world.shell.links.connected(), [Peer::Replica(1)]);
    });
}

#[test]
fn a_replica_that_has_moved_is_called_at_its_new_address_at_once() {
    in_world(Durability::Disk, async |world: World| {
        let listen = async || tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let named = |listener: &tokio::net::TcpListener| {
            let peer_address = listener.local_addr().unwrap().to_string();
            Topology { replicas: vec![Replica { id: 3, peer_address, ..Replica::default() }], ..Topology::default() }
        };
        let (old, new) = (listen().await, listen().await);
        follow_record(&world.shell, &named(&old));
        // Whoever is there says nothing: that is waited for.
        let (_silent, _) = old.accept().await.unwrap();
        follow_record(&world.shell, &named(&new));
        let called = tokio::time::timeout(Duration::from_millis(1_500), new.accept()).await;
        assert!(called.is_ok(), "it still waits at the old address");
    });
}

#[test]
fn several_operators_are_told_apart() {
    in_world(Durability::Disk, async |world: World| {
        let (mut first, mut second) = (call(&world, hello(0, 2)).await, call(&world, hello(0, 2)).await);
        assert!(hear(&mut first).await.is_some() && hear(&mut second).await.is_some());
        world.until_seen("PeerOpened { peer: Operator(1)").await;
        world.until_seen("PeerOpened { peer: Operator(2)").await;
    });
}

#[test]
fn who_is_no_peer_is_refused_counted_and_named() {
    in_world(Durability::Disk, async |world: World| {
        let cases = [
            (Hello { version: PROTOCOL_VERSION + 2, ..hello(1, 2) }, "version 3"),
            (Hello { store: "other".into(), ..hello(1, 2) }, "\"other\""),
            (hello(1, 3), "wants replica 3"),
            (hello(2, 2), "says that it is replica 2"),
            (Hello { incarnation: 0, ..hello(1, 2) }, "names no incarnation"),
        ];
        for (count, (bad, word)) in (1..).zip(cases) {
            let mut peer = call(&world, bad).await;
            assert!(matches!(hear(&mut peer).await, Some(Message::Hello(_))), "it is told who it has reached");
            assert_eq!(hear(&mut peer).await, None);
            assert_eq!(world.shell.links.refusals(), count);
            let why = world.shell.links.last_refusal().unwrap();
            assert!(why.contains(word), "{why}");
        }
        let mut stranger = TcpStream::connect(world.at.peer).await.unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let _ = stranger.read(&mut [0; 16]).await;
        let mut mute = TcpStream::connect(world.at.peer).await.unwrap();
        say(&mut mute, Message::AppendAck(AppendAck::default())).await;
        assert_eq!(hear(&mut mute).await, None);
        assert_eq!(world.shell.links.refusals(), 7);
        assert!(world.script.borrow().seen.is_empty(), "the core hears of none of them");
    });
}

async fn get(world: &World, path: &str) -> String {
    let mut stream = TcpStream::connect(world.at.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

#[test]
fn the_http_port_answers() {
    in_world(Durability::Disk, async |world: World| {
        let mut client = world.connect().await;
        exchange(&mut client, b"PING\r\n", b"+PONG\r\n").await;
        assert!(get(&world, "/livez").await.starts_with("HTTP/1.1 200"));
        let ready = get(&world, "/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("no record"), "{ready}");
        assert!(get(&world, "/nothing").await.starts_with("HTTP/1.1 404"));
        let metrics = get(&world, "/metrics").await;
        let labels = "store=\"test\",group=\"0\",replica=\"replica-2\"";
        let sample = format!("# TYPE trireme_clients_connected gauge\ntrireme_clients_connected{{{labels}}} 1\n");
        assert!(metrics.contains(&sample), "{metrics}");
        assert_conventions(metrics.split("\r\n\r\n").nth(1).unwrap());
        let status = get(&world, "/status").await;
        let json: serde_json::Value = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(json["clientsConnected"], 1);
        assert_eq!(json["incarnation"], "000000000000002a");
        let digests = get(&world, "/digests").await;
        assert!(digests.starts_with("HTTP/1.1 200") && digests.contains("\"lastWrites\":[3,0]"), "{digests}");
        assert!(get(&world, "/digests").await.starts_with("HTTP/1.1 429"), "not twice at once");
    });
}

/// Every sample belongs to the family announced last, and families are named as Prometheus's users expect.
fn assert_conventions(page: &str) {
    let (mut families, mut family) = (std::collections::BTreeSet::new(), ("", ""));
    for line in page.lines() {
        if let Some(announced) = line.strip_prefix("# TYPE ") {
            family = announced.split_once(' ').unwrap();
            assert!(families.insert(family.0), "{} is announced twice", family.0);
            assert_eq!(family.0.ends_with("_total"), family.1 == "counter", "{line}");
            assert!(!["_ms", "_us", "_count", "_sum"].iter().any(|end| family.0.ends_with(end)), "{line}");
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
            let belongs =
                name == family.0 || (family.1 == "histogram" && parts.into_iter().any(|part| part == family.0));
            assert!(belongs && name.starts_with("trireme_"), "{line} is no sample of {}", family.0);
        }
    }
    assert!(families.len() > 30, "{families:?}");
}
