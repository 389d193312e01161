//! Commands about the replica as a server: ROLE, LASTSAVE, DEBUG SLEEP, CONFIG SET.

use crate::{
    engine::command::{Error, Reply},
    group::Role,
    io::ClientId,
    replica::Replica,
};

use super::{Flow, client::Blocked};

/// How long DEBUG SLEEP may wait, in seconds.
const SLEEP_S_MAX: f64 = 3_600.0;

const NOT_ONE_LEADER: Error = Error::Fixed(
    "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - keys are evicted only where the store has \
     one leader (mode SingleLeader)",
);

/// `host:port` as two; of what is no such thing, all as the host.
fn host_and_port(address: &str) -> (&str, &str) {
    address.rsplit_once(':').unwrap_or((address, "0"))
}

impl Replica {
    /// ROLE, in Redis's form: other replicas of the group are replicas of the one that leads. Where nobody leads each is a master of all others.
    pub(super) fn role_command(&mut self, id: ClientId) -> Flow {
        let report = self.make_report(self.now);
        let address = |id| {
            self.meta.topology.as_ref().and_then(|topology| topology.replica(id)).map(|row| &row.client_address[..])
        };
        let number = |reply: &mut Reply<'_>, number: u64| reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
        let mut bytes = Vec::new();
        let mut reply = Reply::new(&mut bytes, false);
        if self.leads() || matches!(self.role, Role::Peer(_)) {
            let reached: Vec<_> = report.followers.iter().filter(|follower| follower.reachable).collect();
            reply.array(3);
            reply.bulk(b"master");
            number(&mut reply, report.commit);
            reply.array(reached.len());
            for follower in reached {
                let (host, port) = host_and_port(address(follower.id).unwrap_or_default());
                reply.array(3);
                reply.bulk(host.as_bytes());
                reply.bulk(port.as_bytes());
                reply.bulk(follower.acknowledged.to_string().as_bytes());
            }
        } else {
            let leader = self.meta.topology.as_ref().map_or(0, |topology| topology.leader);
            let (host, port) = host_and_port(address(leader).unwrap_or_default());
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(host.as_bytes());
            number(&mut reply, port.parse().unwrap_or(0));
            reply.bulk(if self.peers.contains_key(&leader) { b"connected" } else { b"connect" });
            number(&mut reply, report.applied);
        }
        self.answer(id, |reply| reply.raw(&bytes));
        Flow::Done
    }

    /// When this replica's newest checkpoint was finished, or found at the start: seconds since 1970.
    pub(super) fn last_save(&mut self, id: ClientId) -> Flow {
        let at_s = self.checkpoint.at_ms / 1_000;
        self.answer(id, |reply| reply.integer(i64::try_from(at_s).unwrap_or(i64::MAX)));
        Flow::Done
    }

    /// DEBUG: SLEEP holds up the one client that asks for it, no thread.
    pub(super) fn debug(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let [_, what, seconds] = args else { return self.unknown_debug(id, args) };
        if !what.eq_ignore_ascii_case(b"sleep") {
            return self.unknown_debug(id, args);
        }
        let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse::<f64>().ok());
        let Some(seconds) = seconds.filter(|seconds| (0.0..=SLEEP_S_MAX).contains(seconds)) else {
            return self.refuse(id, &Error::Fixed("ERR DEBUG SLEEP takes seconds, at most 3600"));
        };
        let until_us = self.now.mono_us.saturating_add((seconds * 1e6) as u64);
        let Some(client) = self.clients.get_mut(id) else { return Flow::Done };
        if !client.in_order() {
            return Flow::NotNow; // What it asked before is answered first.
        }
        client.blocked = Some(Blocked::Sleep(until_us));
        self.clients.blocked.push(id);
        Flow::Done
    }

    fn unknown_debug(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let name = String::from_utf8_lossy(args[1]).into_owned();
        let why =
            format!("ERR unknown subcommand or wrong number of arguments for '{name}'. This store has DEBUG SLEEP.");
        self.refuse(id, &Error::Text(why.into_bytes()))
    }

    /// CONFIG SET.
    pub(super) fn config_set(&mut self, id: ClientId, args: &[&[u8]]) -> Flow {
        let mut parameters = self.clients.parameters.clone();
        if let Err(error) = parameters.set(args) {
            return self.refuse(id, &error);
        }
        if parameters.tuning().eviction.is_some() && !self.has_one_leader() {
            return self.refuse(id, &NOT_ONE_LEADER);
        }
        self.clients.parameters = parameters;
        self.say_keyspace_events(args);
        self.with_client(id, |_| {})
    }

    /// When the next client has slept, or been held back, for long enough.
    pub(crate) fn next_wake_us(&self) -> Option<u64> {
        let slept = self.clients.blocked.iter().filter_map(|id| match self.clients.map.get(id)?.blocked {
            Some(Blocked::Sleep(until_us)) => Some(until_us),
            _ => None,
        });
        slept.chain(self.clients.pause.map(|pause| pause.until_us)).min()
    }
}
