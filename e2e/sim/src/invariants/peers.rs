//! Without a leader: once nothing goes wrong any more, n, w and r are those wanted, every member has received the same, and all hold the same.

use trireme_proto::{ReplicaId, SLOTS, Topology};

use super::liveness::State;

/// Whether everything is as it should be: some member, or what is missing.
///
/// # Errors
/// What is missing.
pub fn settled(record: &Topology, wanted: (u32, u32), r: u32, states: &[State<'_>]) -> Result<ReplicaId, String> {
    let (n, w) = wanted;
    if record.restarting != 0 {
        return Err(format!("replica {} is being restarted", record.restarting));
    }
    let is_wanted = record.config.members.len() == n as usize && record.config.w == w && record.settings.r == r;
    if record.old.is_some() || !is_wanted {
        return Err(format!(
            "n = {n}, w = {w} and r = {r} are wanted, the record has r = {}, {:?}, old {:?}",
            record.settings.r, record.config, record.old
        ));
    }
    let mut first: Option<&State<'_>> = None;
    for member in &record.config.members {
        let state = states
            .iter()
            .find(|state| state.id == member.id && state.incarnation == member.incarnation)
            .ok_or_else(|| format!("member {} does not run", member.id))?;
        if !state.report.serving || state.report.digest == 0 && state.report.keys > 0 {
            return Err(format!("member {} does not serve, or is not durable", state.id));
        }
        let reaches =
            |id: ReplicaId| id == state.id || state.report.followers.iter().any(|f| f.id == id && f.reachable);
        if let Some(other) = record.config.members.iter().find(|other| !reaches(other.id)) {
            return Err(format!("member {} does not reach member {}", state.id, other.id));
        }
        let first = *first.get_or_insert(state);
        if state.replica.received() != first.replica.received() {
            return Err(format!(
                "member {} has received {:?}, member {} {:?}",
                state.id,
                state.replica.received(),
                first.id,
                first.replica.received()
            ));
        }
        if state.replica.digests(0, SLOTS).digests != first.replica.digests(0, SLOTS).digests {
            return Err(format!(
                "members {} and {} have received the same and hold something else",
                state.id, first.id
            ));
        }
    }
    first.map(|state| state.id).ok_or_else(|| "there is no member".to_owned())
}
