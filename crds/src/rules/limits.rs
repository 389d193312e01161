//! Rules about what clients may take: what can never be right, and how much memory is left for the rest.

use super::{Check, Rule, Subject};
use crate::{
    limits::{Eviction, OutputLimit},
    quantity::{Bytes, Millis},
    store::{Mode, Settled},
};

/// Most connections that may be asked for.
const CLIENTS_MAX: u32 = 1_000_000;
/// Shortest and longest time after which an idle connection is closed, in milliseconds.
const IDLE_MS: (u64, u64) = (1_000, 24 * 3_600_000);
/// Shortest bound of a command, in bytes: Redis's.
const QUERY_BYTES_MIN: u64 = 1 << 20;
/// Least memory that may be a bound, in bytes: a replica without any data takes a good part of it.
const MEMORY_BYTES_MIN: u64 = 32 << 20;
/// Part of a container's memory that a bound may be without a warning, in percent.
const FITS_PERCENT: u64 = 80;

/// A field of `limits` is not given, or else.
macro_rules! unless {
    ($field:literal, $rest:literal) => {
        concat!("!has(self.limits) || !has(self.limits.", $field, ") || ", $rest)
    };
}

/// The bounds of one class of clients are in order, or not both given.
macro_rules! in_order {
    ($class:literal) => {
        concat!(
            "(!has(self.limits.outputBuffers.",
            $class,
            ") || !has(self.limits.outputBuffers.",
            $class,
            ".hard) || !has(self.limits.outputBuffers.",
            $class,
            ".soft) || quantity(self.limits.outputBuffers.",
            $class,
            ".hard).compareTo(quantity('0')) == 0 || quantity(self.limits.outputBuffers.",
            $class,
            ".soft).compareTo(quantity(self.limits.outputBuffers.",
            $class,
            ".hard)) <= 0)"
        )
    };
}

/// Memory that a container may take, if that is said in a way that can be read here.
fn container_bytes(subject: &Subject<'_>) -> Option<u64> {
    let text = subject.spec.resources.as_ref()?.get("limits")?.get("memory")?.as_str()?;
    text.parse::<Bytes>().ok().map(|bytes| bytes.0)
}

fn memory_fits(subject: &Subject<'_>, settled: &Settled) -> bool {
    let bytes = settled.limits.memory_bytes();
    container_bytes(subject).is_none_or(|most| bytes <= most / 100 * FITS_PERCENT)
}

/// The log that is kept in memory, and a replica without any data, leave room for some.
fn memory_beside_log(settled: &Settled) -> bool {
    let bytes = settled.limits.memory_bytes();
    bytes == 0 || bytes >= settled.log_bytes_max.saturating_add(MEMORY_BYTES_MIN)
}

/// The rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "limits-clients-range",
        path: "spec.limits.maxClients",
        cel: unless!("maxClients", "(self.limits.maxClients >= 1 && self.limits.maxClients <= 1000000)"),
        says: "",
        check: Check::Object(|_, s| s.limits.max_clients.is_some_and(|most| (1..=CLIENTS_MAX).contains(&most))),
        message: |_, _| "no client could connect, or more than a process can have".to_owned(),
        allowed: "1 to 1000000",
    },
    Rule {
        id: "limits-idle-range",
        path: "spec.limits.idleTimeout",
        cel: unless!(
            "idleTimeout",
            "duration(self.limits.idleTimeout) == duration('0s') || (duration(self.limits.idleTimeout) >= duration('1s') && duration(self.limits.idleTimeout) <= duration('24h'))"
        ),
        says: "'connections would be closed after ' + self.limits.idleTimeout",
        check: Check::Object(|_, s| {
            s.limits.idle_timeout.is_none_or(|Millis(ms)| ms == 0 || (IDLE_MS.0..=IDLE_MS.1).contains(&ms))
        }),
        message: |_, s| format!("connections would be closed after {}", s.limits.idle_timeout.unwrap_or_default()),
        allowed: "0 for never, or 1s to 24h",
    },
    Rule {
        id: "limits-query-useful",
        path: "spec.limits.queryBuffer",
        cel: unless!("queryBuffer", "quantity(self.limits.queryBuffer).compareTo(quantity('1Mi')) >= 0"),
        says: "'with ' + self.limits.queryBuffer + ' ordinary commands would be too long'",
        check: Check::Object(|_, s| s.limits.query_buffer.is_none_or(|bytes| bytes.0 >= QUERY_BYTES_MIN)),
        message: |_, s| {
            format!("with {} ordinary commands would be too long", s.limits.query_buffer.unwrap_or_default())
        },
        allowed: "at least 1Mi",
    },
    Rule {
        id: "limits-output-order",
        path: "spec.limits.outputBuffers",
        cel: concat!(
            "!has(self.limits) || !has(self.limits.outputBuffers) || (",
            in_order!("replies"),
            " && ",
            in_order!("subscribers"),
            ")"
        ),
        says: "",
        check: Check::Object(|_, s| {
            let buffers = s.limits.output_buffers.as_ref();
            let classes = buffers.into_iter().flat_map(|buffers| [&buffers.replies, &buffers.subscribers]);
            classes.flatten().all(OutputLimit::in_order)
        }),
        message: |_, _| "a soft bound above the hard one is never reached".to_owned(),
        allowed: "soft at most as large as hard, or hard 0 for no such bound",
    },
    Rule {
        id: "limits-memory-useful",
        path: "spec.limits.maxMemory",
        cel: unless!(
            "maxMemory",
            "quantity(self.limits.maxMemory).compareTo(quantity('0')) == 0 || quantity(self.limits.maxMemory).compareTo(quantity('32Mi')) >= 0"
        ),
        says: "'a replica without any data would be beyond ' + self.limits.maxMemory",
        check: Check::Object(|_, s| s.limits.memory_bytes() == 0 || s.limits.memory_bytes() >= MEMORY_BYTES_MIN),
        message: |_, s| format!("a replica without any data would be beyond {}", Bytes(s.limits.memory_bytes())),
        allowed: "0 for no bound, or at least 32Mi",
    },
    Rule {
        id: "eviction-bounded",
        path: "spec.limits.eviction",
        cel: unless!(
            "eviction",
            "self.limits.eviction == 'NoEviction' || (has(self.limits.maxMemory) && quantity(self.limits.maxMemory).compareTo(quantity('0')) > 0)"
        ),
        says: "self.limits.eviction + ' without maxMemory evicts nothing'",
        check: Check::Object(|_, s| s.limits.eviction() == Eviction::NoEviction || s.limits.memory_bytes() > 0),
        message: |_, s| format!("{:?} without maxMemory evicts nothing", s.limits.eviction()),
        allowed: "NoEviction, or maxMemory above 0",
    },
    Rule {
        id: "eviction-one-leader",
        path: "spec.limits.eviction",
        cel: unless!("eviction", "self.limits.eviction == 'NoEviction' || self.mode == 'SingleLeader'"),
        says: "'in mode ' + self.mode + ' nobody knows all that is used, and who evicted would remove what others need'",
        check: Check::Object(|_, s| s.limits.eviction() == Eviction::NoEviction || s.mode == Mode::SingleLeader),
        message: |_, s| {
            format!("in mode {:?} nobody knows all that is used, and who evicted would remove what others need", s.mode)
        },
        allowed: "NoEviction; AllKeysLru or VolatileTtl only with mode SingleLeader",
    },
    Rule {
        id: "memory-fits",
        path: "spec.limits.maxMemory",
        cel: "",
        says: "",
        check: Check::Advice(memory_fits),
        message: |subject, s| {
            format!(
                "maxMemory is {} of {} that a container may take: what the allocator cannot use again and what connections have beside comes on top, and at the container's limit the replica is killed; up to {FITS_PERCENT} % leaves room.",
                Bytes(s.limits.memory_bytes()),
                Bytes(container_bytes(subject).unwrap_or_default())
            )
        },
        allowed: "",
    },
    Rule {
        id: "memory-beside-log",
        path: "spec.limits.maxMemory",
        cel: "",
        says: "",
        check: Check::Advice(|_, s| memory_beside_log(s)),
        message: |_, s| {
            format!(
                "maxMemory is {}, of which the log takes up to {} (logRetention.bytes), and a replica without any data up to {}: once the log has grown, writes are refused for good or find no room that eviction could make; at least {} leaves some for data.",
                Bytes(s.limits.memory_bytes()),
                Bytes(s.log_bytes_max),
                Bytes(MEMORY_BYTES_MIN),
                Bytes(s.log_bytes_max.saturating_add(MEMORY_BYTES_MIN))
            )
        },
        allowed: "",
    },
];

#[cfg(test)]
mod tests {
    use crate::{ReplicatedStore, validate, warnings};

    fn store(mode: &str, more: &str) -> ReplicatedStore {
        let head = "apiVersion: trireme.dev/v1alpha1\nkind: ReplicatedStore\nmetadata:\n  name: orders\nspec:\n";
        serde_saphyr::from_str(&format!("{head}  mode: {mode}\n{more}")).unwrap_or_else(|why| panic!("{more}: {why}"))
    }

    fn refused(mode: &str, limits: &str) -> Vec<&'static str> {
        let regions = if mode == "MultiLeader" { "  regions: [{name: a}, {name: b}]\n" } else { "" };
        let store = store(mode, &format!("{regions}  limits: {{{limits}}}\n"));
        validate(&store).iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn limits_are_such_that_they_can_be_kept() {
        for (limits, rules) in [
            ("", &[][..]),
            ("maxClients: 1", &[]),
            ("maxClients: 1000001", &["limits-clients-range"]),
            ("idleTimeout: 0s", &[]),
            ("idleTimeout: 1s", &[]),
            ("idleTimeout: 25h", &["limits-idle-range"]),
            ("queryBuffer: 1Mi", &[]),
            ("queryBuffer: 1M", &["limits-query-useful"]),
            ("maxMemory: \"0\"", &[]),
            ("maxMemory: 32Mi", &[]),
            ("maxMemory: 31Mi", &["limits-memory-useful"]),
            ("outputBuffers: {subscribers: {hard: 1Mi}}", &[]),
            ("outputBuffers: {subscribers: {soft: 1Gi}}", &[]),
            ("outputBuffers: {replies: {soft: 1Mi, softSeconds: 5}}", &[]),
            ("outputBuffers: {replies: {hard: 1Mi, soft: 2Mi}}", &["limits-output-order"]),
            ("outputBuffers: {replies: {hard: \"0\", soft: 2Mi}}", &[]),
            ("eviction: NoEviction", &[]),
            ("eviction: VolatileTtl", &["eviction-bounded"]),
            ("eviction: VolatileTtl, maxMemory: \"0\"", &["eviction-bounded"]),
            ("eviction: VolatileTtl, maxMemory: 1Gi", &[]),
        ] {
            assert_eq!(refused("SingleLeader", limits), rules, "{limits}");
        }
    }

    #[test]
    fn keys_are_evicted_only_where_there_is_one_leader() {
        for mode in ["MultiLeader", "Leaderless"] {
            assert_eq!(refused(mode, "maxMemory: 1Gi"), [""; 0], "{mode}");
            assert_eq!(refused(mode, "maxMemory: 1Gi, eviction: AllKeysLru"), ["eviction-one-leader"], "{mode}");
        }
    }

    #[test]
    fn the_log_leaves_memory_for_data() {
        let said = |more: &str| warnings(&store("SingleLeader", more));
        assert_eq!(said("  limits: {maxMemory: 96Mi}\n"), [""; 0]);
        assert_eq!(said("  limits: {maxMemory: 33Mi}\n  logRetention: {bytes: 1Mi}\n"), [""; 0]);
        assert_eq!(said("  limits: {maxMemory: \"0\"}\n  logRetention: {bytes: 1Gi}\n"), [""; 0]);
        for (more, begin) in [
            ("  limits: {maxMemory: 95Mi}\n", "maxMemory is 95Mi, of which the log takes up to 64Mi "),
            (
                "  limits: {maxMemory: 1Gi}\n  logRetention: {bytes: 1Gi}\n",
                "maxMemory is 1Gi, of which the log takes up to 1Gi ",
            ),
        ] {
            let told = said(more);
            assert!(told.len() == 1 && told[0].starts_with(begin), "{told:?}");
        }
    }

    #[test]
    fn a_container_has_more_memory_than_its_replica_may_take() {
        let said = |memory: &str, container: &str| {
            let resources = format!("  resources: {{limits: {{memory: {container}}}}}\n");
            warnings(&store("SingleLeader", &format!("  limits: {{maxMemory: {memory}}}\n{resources}")))
        };
        assert_eq!(said("800Mi", "1Gi"), [""; 0]);
        assert_eq!(said("1Gi", "not a size"), [""; 0]);
        let told = said("900Mi", "1Gi");
        assert!(told.len() == 1 && told[0].starts_with("maxMemory is 900Mi of 1Gi "), "{told:?}");
    }
}
