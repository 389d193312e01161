//! What happens, in short words.

use trireme_proto::{Message, Position, Report, ids::Epoch, report::Role};
use trireme_replica::{
    io::{CheckpointOp, DiskOp, Event},
    log::record::{self, Kind},
};

/// One reply at the front of `bytes`: its text and its length. The type stays visible: `+OK`, `:1`, `"value"`, `(nil)`, `*[...]`, `%{...}`.
fn reply(bytes: &[u8]) -> (String, usize) {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n").expect("a reply's first line ends");
    let (line, mut at) = (String::from_utf8_lossy(&bytes[1..end]).into_owned(), end + 2);
    let mut several = |count: usize| -> Vec<String> {
        (0..count)
            .map(|_| {
                let (text, length) = reply(&bytes[at..]);
                at += length;
                text
            })
            .collect()
    };
    let text = match (bytes[0], line.parse::<i64>()) {
        (b'$', Ok(-1)) => "(nil)".to_owned(),
        (b'*', Ok(-1)) => "(nil array)".to_owned(),
        (b'_', _) => "(null)".to_owned(),
        (kind @ (b'$' | b'='), Ok(length)) => {
            let length = length as usize;
            let body = String::from_utf8_lossy(&bytes[at..at + length]).into_owned();
            at += length + 2;
            let prefix = if kind == b'=' { "=" } else { "" };
            if length > 60 { format!("{prefix}({length} bytes)") } else { format!("{prefix}{body:?}") }
        }
        (kind @ (b'*' | b'~' | b'>'), Ok(count)) => format!("{}[{}]", kind as char, several(count as usize).join(", ")),
        (b'%', Ok(count)) => {
            let items = several(2 * count as usize);
            let pairs: Vec<String> = items.chunks(2).map(|pair| format!("{}: {}", pair[0], pair[1])).collect();
            format!("%{{{}}}", pairs.join(", "))
        }
        (kind, _) => format!("{}{line}", kind as char),
    };
    (text, at)
}

/// All replies in `bytes`, which must be whole.
pub fn replies(mut bytes: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (text, length) = reply(bytes);
        all.push(text);
        bytes = &bytes[length..];
    }
    all
}

/// `3..5`, with what is no delta named.
pub fn entries(bytes: &[u8]) -> String {
    let (mut rest, mut seqs, mut kinds) = (bytes, Vec::new(), Vec::new());
    while let Ok(view) = record::read(rest) {
        seqs.push(view.position.seq);
        match view.kind {
            Kind::Start => kinds.push("start"),
            Kind::Forget => kinds.push("forget"),
            Kind::State => kinds.push("state"),
            Kind::Delta | Kind::Commit => {}
        }
        rest = &rest[view.bytes..];
    }
    let range = match seqs[..] {
        [] => "nothing".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}..{last}"),
    };
    if kinds.is_empty() { range } else { format!("{range} ({})", kinds.join(", ")) }
}

/// A message; `None` for what only repeats with time.
pub fn message(message: &Message) -> Option<String> {
    Some(match message {
        Message::Append(m) if m.entries.is_empty() => format!("commit {}", m.commit),
        Message::Append(m) => format!("append {} after {}, commit {}", entries(&m.entries), m.previous, m.commit),
        Message::AppendAck(m) => format!("ack {}", m.durable),
        Message::Topology(m) => format!("record v{} epoch {}", m.version, m.epoch),
        Message::Fenced(m) => format!("fenced: promised {}, refused {}", m.promise, m.refused),
        Message::LogState(m) => format!("log state {} last {} commit {}", table(&m.table), m.last, m.commit),
        Message::Resume(m) => format!("resume after {}", m.agreed),
        Message::SnapshotBegin(m) => format!("snapshot begins at {}", m.start),
        Message::SnapshotSlots(m) => format!("snapshot: {} slots", m.slots.len()),
        Message::SnapshotEnd(m) => format!("snapshot ends, whole at {}", m.whole_at),
        Message::SnapshotEntries(m) => format!("snapshot: {} bytes of log", m.entries.len()),
        Message::SnapshotAck(m) => format!("snapshot: took {} bytes", m.bytes),
        Message::Forward(m) => {
            let requests: Vec<String> = m.requests.iter().map(request).collect();
            let ended = if m.ended.is_empty() { String::new() } else { format!(", {} ended", m.ended.len()) };
            format!("forward [{}]{ended}", requests.join(", "))
        }
        Message::ForwardReply(m) => {
            let all: Vec<String> = m
                .replies
                .iter()
                .map(|reply| format!("#{} {}", reply.number, replies(&reply.bytes).join(" ")))
                .collect();
            format!("replies [{}]", all.join(", "))
        }
        Message::CutSuffix(m) if m.ends > 0 => format!("cut suffix: offer {} ends", m.ends),
        Message::CutSuffix(m) => format!("cut suffix {}", entries(&m.entries)),
        Message::SuffixTaken(m) => format!("cut suffix: offer {} taken, up to {}", m.ends, m.at),
        Message::Leads(_) | Message::Packed(_) | Message::Published(_) | Message::Regions(_) => return None,
        Message::KeyspaceEvents(_) => return None,
        Message::Probe(_) | Message::Probed(_) => return None,
        Message::Feed(_) | Message::Compare(_) | Message::Differ(_) | Message::States(_) => return None,
        Message::Digests(_) | Message::Hello(_) | Message::Report(_) | Message::Ended(_) | Message::TurnedAway(_) => {
            return None;
        }
    })
}

fn table(rows: &[Position]) -> String {
    let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    format!("[{}]", rows.join(" "))
}

fn request(request: &trireme_proto::message::Request) -> String {
    let commands: Vec<String> = request
        .commands
        .iter()
        .map(|command| {
            let args: Vec<String> = command.args.iter().map(|arg| arg_text(arg)).collect();
            args.join(" ")
        })
        .collect();
    let watched = if request.watched.is_empty() { "" } else { " watched" };
    format!("#{}{watched} {}", request.number, commands.join("; "))
}

fn arg_text(arg: &[u8]) -> String {
    if arg.len() > 30 { format!("({} bytes)", arg.len()) } else { String::from_utf8_lossy(arg).into_owned() }
}

/// A disk operation.
pub fn disk(op: &DiskOp) -> String {
    match op {
        DiskOp::Meta(meta) => {
            let record = meta.topology.as_ref().map_or(0, |topology| topology.version);
            format!("remember promise {}, led {}, record v{record}", meta.promise, meta.led)
        }
        DiskOp::Append { bytes, .. } => format!("append {}", entries(bytes)),
        DiskOp::Commit(seq) => format!("note commit {seq}"),
        DiskOp::Truncate { last } => format!("cut after {last}"),
        DiskOp::KeepAside { after } => format!("keep aside what is after {after}"),
        DiskOp::Reset { position } => format!("log anew after {position}"),
        DiskOp::Retain { from } => format!("keep from {from}"),
        DiskOp::Snapshot(step) => checkpoint(step),
    }
}

/// A step of a checkpoint.
pub fn checkpoint(step: &CheckpointOp) -> String {
    match step {
        CheckpointOp::Begin { start, .. } => format!("checkpoint begins at {start}"),
        CheckpointOp::Slot { slot, .. } => format!("checkpoint: slot {slot}"),
        CheckpointOp::Finish { whole_at } => format!("checkpoint finished, whole at {whole_at}"),
    }
}

/// An event.
pub fn event(event: &Event) -> String {
    match event {
        Event::Named(origin) => format!("writes as {}.{}", origin.group, origin.generation),
        Event::Promised(epoch) => format!("promises epoch {epoch}"),
        Event::Leads(epoch) => format!("leads epoch {epoch}"),
        Event::Serves(epoch) => format!("serves epoch {epoch}"),
        Event::Follows(leader, epoch) => format!("follows {leader} in epoch {epoch}"),
        Event::Deposed { by, undone } => format!("is deposed by epoch {by}, {undone} entries undone"),
        Event::Cut { last, entries } => format!("cuts its log after {last}, {entries} entries"),
        Event::Recovered { from, entries } => format!("recovers {entries} entries that were cut off {from}"),
        Event::NotRecovered { from, entries } => {
            format!("DOES NOT RECOVER {entries} entries that were cut off {from}: they are too old")
        }
        Event::SnapshotInstalled(position) => format!("has installed a snapshot at {position}"),
        Event::CheckpointFinished(position) => format!("has finished a checkpoint at {position}"),
        Event::DigestMismatch { slot, seq } => {
            format!("FINDS SLOT {slot} DIFFERENT FROM THE LEADER'S, last written by {seq}")
        }
        Event::DiskFull(full) => (if *full { "has a full disk" } else { "has room on its disk again" }).to_owned(),
    }
}

/// One line of `state`.
pub fn state(report: &Report) -> String {
    let role = match report.role() {
        Role::Idle => "idle",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Leader if report.serving => "leader, serving",
        Role::Leader => "leader, not serving",
        Role::Peer if report.serving => "peer, serving",
        Role::Peer => "peer, not serving",
    };
    format!(
        "{role}: promise {} last {} commit {} applied {} keys {}",
        report.promise, report.last, report.commit, report.applied, report.keys
    )
}

/// What `report` adds to `state`.
pub fn report(report: &Report) -> Vec<String> {
    let mut lines = vec![state(report)];
    lines.push(format!(
        "record v{}, log from {}, lease granted {} ms",
        report.topology_version, report.log_start, report.lease_remaining_ms
    ));
    lines.extend(report.led_before.map(|epoch| format!("epoch {epoch} was led by a process before it")));
    if report.leader_silence_ms >= 1_000 {
        lines.push(format!("without its leader for {} ms", report.leader_silence_ms));
    }
    let flags = [(report.drained, "drained"), (report.leaving, "leaving"), (report.disk_full, "disk full")];
    lines.extend(flags.iter().filter(|(set, _)| *set).map(|(_, name)| (*name).to_owned()));
    for f in &report.followers {
        let reach = if f.reachable { "reachable" } else { "unreachable" };
        let snapshot = f.snapshot_slots.map_or(String::new(), |slots| format!(", snapshot: took {slots} slots"));
        lines.push(format!(
            "follower {} {reach}, acknowledged {}, {} entries behind{snapshot}",
            f.id, f.acknowledged, f.lag_entries
        ));
    }
    if let Some(cut) = &report.cut {
        lines.push(format!("cut {} entries from {} by epoch {}", cut.entries, cut.first, cut.by));
    }
    let c = &report.counters;
    let counters = [
        ("recovered", report.recovered),
        ("digest mismatches", c.digest_mismatches),
        ("clock refusals", c.clock_refusals),
        ("peer refusals", c.peer_refusals),
        ("no replicas", c.no_replicas),
        ("in doubt", c.in_doubt),
        ("snapshots received", c.snapshots_received),
    ];
    lines.extend(counters.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count}")));
    lines
}

/// `1/5` as a position.
pub fn position(text: &str) -> Position {
    let (epoch, seq) = text.split_once('/').expect("epoch/seq");
    Position { epoch: epoch_of(epoch), seq: seq.parse().unwrap() }
}

/// An epoch of the operator's.
pub fn epoch_of(text: &str) -> Epoch {
    Epoch { number: text.parse().unwrap(), proposer: 0 }
}
