//! What clients may take of a replica.

use serde::{Deserialize, Serialize};

use crate::quantity::{Bytes, Millis};

/// Connections if nothing is said.
const CLIENTS: u32 = 10_000;
/// Longest command if nothing is said, in bytes.
const QUERY_BYTES: u64 = 1 << 30;
/// What subscribers may leave unread if nothing is said, in bytes, and for how many seconds.
const SUBSCRIBERS: (u64, u64, u32) = (32 << 20, 8 << 20, 60);

/// Which keys go where memory has reached its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum Eviction {
    /// None: commands that need memory are answered OOM.
    #[default]
    NoEviction,
    /// Those that were not used for longest, by sample, whether they expire or not.
    AllKeysLru,
    /// Of those that expire the next ones. Where none is left that does, as NoEviction.
    VolatileTtl,
}

/// What a client may leave unread before its connection is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputLimit {
    /// At no time more than this; 0 for no bound but the process's own of 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<Bytes>,
    /// Not more than this for longer than softSeconds; 0 for no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<Bytes>,
    /// See soft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft_seconds: Option<u32>,
}

/// What clients may leave unread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputBuffers {
    /// Of clients that ask and are answered. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replies: Option<OutputLimit>,
    /// Of clients that subscribe. Default: hard 32Mi, soft 8Mi for 60 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<OutputLimit>,
}

/// What clients may take of a replica. A change takes effect at once; CONFIG SET changes it at one replica, until that ends or this changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Connections of clients at the same time. Default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_clients: Option<u32>,
    /// A connection that has said nothing for so long is closed, unless it waits for something or subscribes. Default 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Millis>,
    /// The longest command; who sends more without an end is closed. Default 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_buffer: Option<Bytes>,
    /// What clients may leave unread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_buffers: Option<OutputBuffers>,
    /// Memory that a replica may take: keys, values, log and all else. So it has to be more than the log may take (logRetention.bytes) and an empty replica
    /// takes (up to 32Mi). Default 0: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Bytes>,
    /// Which keys go when maxMemory is reached. Default NoEviction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction: Option<Eviction>,
}

impl OutputLimit {
    /// With every default filled in: of what is not said, and not against what is.
    fn settle(limit: Option<&OutputLimit>, default: (u64, u64, u32)) -> OutputLimit {
        let limit = limit.cloned().unwrap_or_default();
        let (hard, soft, soft_seconds) = default;
        let above = |soft: Bytes| if hard == 0 { Bytes(0) } else { Bytes(hard.max(soft.0)) };
        let hard = limit.hard.unwrap_or_else(|| above(limit.soft.unwrap_or_default()));
        let below = if hard.0 == 0 { soft } else { soft.min(hard.0) };
        OutputLimit {
            hard: Some(hard),
            soft: Some(limit.soft.unwrap_or(Bytes(below))),
            soft_seconds: Some(limit.soft_seconds.unwrap_or(soft_seconds)),
        }
    }

    /// Whether both bounds can be met: a soft one above the hard one never is.
    pub(crate) fn in_order(&self) -> bool {
        let (hard, soft) = (self.hard.unwrap_or_default(), self.soft.unwrap_or_default());
        hard.0 == 0 || soft.0 <= hard.0
    }
}

impl Limits {
    /// With every default filled in.
    pub fn settle(&self) -> Limits {
        let buffers = self.output_buffers.as_ref();
        Limits {
            max_clients: Some(self.max_clients.unwrap_or(CLIENTS)),
            idle_timeout: Some(self.idle_timeout.unwrap_or_default()),
            query_buffer: Some(self.query_buffer.unwrap_or(Bytes(QUERY_BYTES))),
            output_buffers: Some(OutputBuffers {
                replies: Some(OutputLimit::settle(buffers.and_then(|b| b.replies.as_ref()), (0, 0, 0))),
                subscribers: Some(OutputLimit::settle(buffers.and_then(|b| b.subscribers.as_ref()), SUBSCRIBERS)),
            }),
            max_memory: Some(self.max_memory.unwrap_or_default()),
            eviction: Some(self.eviction.unwrap_or_default()),
        }
    }

    /// Memory that a replica may take, in bytes; 0 for no bound.
    pub fn memory_bytes(&self) -> u64 {
        self.max_memory.unwrap_or_default().0
    }

    /// Which keys go.
    pub fn eviction(&self) -> Eviction {
        self.eviction.unwrap_or_default()
    }

    /// Whether nothing of it is said otherwise than it is anyway.
    pub fn is_standard(&self) -> bool {
        self.settle() == Limits::default().settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_does_not_contradict_what_is() {
        assert!(Limits::default().is_standard() && Limits::default().settle().is_standard());
        let limit = |hard: Option<u64>, soft: Option<u64>| {
            let limit = OutputLimit { hard: hard.map(Bytes), soft: soft.map(Bytes), soft_seconds: None };
            let settled = OutputLimit::settle(Some(&limit), SUBSCRIBERS);
            assert!(settled.in_order(), "{settled:?}");
            (settled.hard.unwrap().0, settled.soft.unwrap().0)
        };
        assert_eq!(limit(None, None), (32 << 20, 8 << 20));
        assert_eq!(limit(Some(1 << 20), None), (1 << 20, 1 << 20));
        assert_eq!(limit(None, Some(64 << 20)), (64 << 20, 64 << 20));
        assert_eq!(limit(Some(0), None), (0, 8 << 20));
        assert_eq!(limit(Some(5), Some(0)), (5, 0));
        let replies = OutputLimit { soft: Some(Bytes(7)), ..OutputLimit::default() };
        assert_eq!(OutputLimit::settle(Some(&replies), (0, 0, 0)).hard, Some(Bytes(0)));
    }
}
