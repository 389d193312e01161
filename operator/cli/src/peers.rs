//! Stores without a leader on the screen: who takes reads and writes, who reaches whom, what each replica lacks, and what was mended.

use trireme_crds::{
    StoreStatus,
    status::{GroupStatus, PeerStatus, ReplicaStatus},
};

use crate::{
    output::{Screen, bytes, thousands},
    status::{dash, digest, heard, lag, role},
};

/// Who serves, in the planner's own words: the condition Ready says it.
pub(crate) fn standing(status: &StoreStatus, group: &GroupStatus, r: u32, screen: &Screen) -> String {
    let ready = status.conditions.iter().find(|condition| condition.kind == "Ready");
    let message = ready.map_or("", |condition| condition.message.as_str());
    let first = message.split([':', ';']).next().unwrap_or(message);
    let served = match (group.serving, first) {
        (true, first) => screen.good(first),
        (false, "") => screen.bad("not served yet"),
        (false, first) => screen.bad(first),
    };
    format!("no leader; {served}   epoch {}   n={} w={} r={r}", group.epoch, group.n, group.w)
}

/// How each replica stands to the others.
pub(crate) fn replicas(status: &StoreStatus, screen: &Screen) -> String {
    let heads = ["REPLICA", "ROLE", "ORIGIN", "REACHES", "LACKS", "CLOCK", "KEYS", "HEARD", "CLIENTS AT", "DIGEST"];
    let n: usize = status.groups.iter().map(|group| group.members.len()).sum();
    let row = |replica: &ReplicaStatus| {
        let known = replica.peer.as_ref().filter(|_| replica.reachable);
        let of_peer = |cell: &dyn Fn(&PeerStatus) -> String| known.map_or_else(|| "-".to_owned(), cell);
        vec![
            screen.name(&replica.name),
            role(replica, screen),
            of_peer(&|peer| format!("{}.{}", replica.id, peer.generation)),
            of_peer(&|peer| {
                let reaches = format!("{} of {n}", peer.reaches.len());
                if replica.member && peer.reaches.len() < n { screen.bad(reaches) } else { reaches }
            }),
            lag(replica.lag_entries, replica.lag_ms),
            of_peer(&|peer| match peer.clock_offset_ms {
                ..=0 => "0".to_owned(),
                ms => format!("{} ms behind", thousands(ms.unsigned_abs())),
            }),
            thousands(replica.keys),
            heard(replica, screen),
            dash(&replica.client_address),
            digest(replica, status, screen),
        ]
    };
    screen.table(&heads, &status.replicas.iter().map(row).collect::<Vec<_>>())
}

/// What differs and what was mended, where anything was.
pub(crate) fn repairs(status: &StoreStatus, screen: &Screen) -> String {
    let mut text = String::new();
    for replica in &status.replicas {
        let Some(peer) = &replica.peer else { continue };
        let mut what = Vec::new();
        if peer.slots_differing > 0 {
            let slots = counted(peer.slots_differing, "slot differs", "slots differ");
            what.push(screen.bold(format!("{slots} from another replica's and are being mended")));
        }
        if peer.keys_repaired > 0 {
            let keys = counted(peer.keys_repaired, "key", "keys");
            what.push(format!("{keys} mended by comparing slots, {} moved for that", bytes(peer.repair_bytes)));
        }
        if peer.read_repairs > 0 {
            what.push(format!("{} mended by reads", counted(peer.read_repairs, "key", "keys")));
        }
        if !what.is_empty() {
            text.push_str(&format!("{}: {}\n", screen.name(&replica.name), what.join("; ")));
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What works where reads are refused.
pub(crate) fn what_goes_on(status: &StoreStatus) -> &'static str {
    let refused = |reason: &str| reason == "QuorumsLost" || reason == "ReadsLost";
    let lost = status.conditions.iter().any(|condition| condition.kind == "Ready" && refused(&condition.reason));
    if lost {
        "\nStill served: clients that say READONLY read what the replica that they ask holds itself.\n"
    } else {
        ""
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

/// How far each replica is from having everything.
pub(crate) fn lags(status: &StoreStatus, screen: &Screen) -> String {
    let heads =
        ["REPLICA", "ROLE", "ENTRIES LACKING", "BYTES LACKING", "OLDEST", "SLOTS DIFFERING", "KEYS MENDED", "BY READS"];
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), thousands);
    let row = |r: &ReplicaStatus| {
        let peer = |of: fn(&PeerStatus) -> u64| number(r.peer.as_ref().map(of));
        vec![
            screen.name(&r.name),
            if r.reachable { r.role.clone() } else { screen.bad("unreachable") },
            number(r.lag_entries),
            number(r.lag_bytes),
            r.lag_ms.map_or_else(|| "-".to_owned(), |ms| format!("{} ms", thousands(ms))),
            peer(|peer| peer.slots_differing),
            peer(|peer| peer.keys_repaired),
            peer(|peer| peer.read_repairs),
        ]
    };
    screen.table(&heads, &status.replicas.iter().map(row).collect::<Vec<_>>())
}
