//! What was decided, and why: each becomes an Event of the resource, or a line of JSON.

use std::fmt;

use serde::Serialize;

/// A decision with its numbers. [`fmt::Display`] says it to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "decision")]
pub enum Decision {
    /// A new group: its first record was written.
    Created {
        /// Names of the members.
        members: Vec<String>,
        /// Copies before OK.
        w: u32,
    },
    /// The record was lost, and is rebuilt from what the replicas hold.
    Rebuilt {
        /// Names of the replicas that hold data.
        members: Vec<String>,
        /// The epoch above all that were seen.
        epoch: String,
    },
    /// Every member had lost its disk, and a person had one of the new lives lead.
    BegunAnew {
        /// Who leads.
        leader: String,
        /// The epoch.
        epoch: String,
        /// The members whose disks are gone.
        lost: Vec<String>,
        /// Mode MultiLeader: other regions, which have what was sent to them.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        elsewhere: Vec<String>,
        /// Mode MultiLeader: so many of its entries at least, as it last said, are in no other region.
        alone: u64,
    },
    /// A change of leaders began: members are asked to promise the new epoch.
    Sealing {
        /// Why.
        cause: Cause,
        /// Mode MultiLeader: the region whose leader changes; else empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        region: String,
        /// Name of the former leader; empty if there was none.
        from: String,
        /// The new epoch.
        epoch: String,
        /// Members.
        n: usize,
        /// Copies before OK.
        w: u32,
        /// Answers needed: n - w + 1.
        needed: usize,
        /// Milliseconds since the former leader was last heard, where known.
        silent_ms: Option<u64>,
        /// What other members say of the former leader, where that was asked.
        witnesses: Option<Witnesses>,
    },
    /// A leader was chosen.
    Chosen {
        /// Its name.
        leader: String,
        /// The epoch it leads.
        epoch: String,
        /// Its last entry, as epoch/seq.
        position: String,
        /// Members.
        n: usize,
        /// Copies before OK.
        w: u32,
        /// Answers needed for certainty.
        needed: usize,
        /// Names of those that answered.
        sealed: Vec<String>,
        /// Names of those that did not.
        missing: Vec<String>,
        /// Too few answered: acknowledged entries may be lost. The group's generation rises.
        may_have_lost: bool,
        /// Entries known to be beyond the chosen position on a member that is missing; 0 where none is known of.
        at_risk: u64,
        /// A person forced it.
        forced: bool,
    },
    /// The new leader serves.
    Serving {
        /// Its name.
        leader: String,
        /// Its epoch.
        epoch: String,
        /// Milliseconds since the change began, if this operator saw it begin.
        took_ms: Option<u64>,
        /// Write gap that the leader measured, in milliseconds.
        write_gap_ms: u64,
    },
    /// The leader is asked to stop writes and bring a member up to its end.
    HandingOver {
        /// Name of the leader.
        from: String,
        /// Name of the member.
        to: String,
        /// Why.
        why: String,
    },
    /// The member did not catch up in time: the leader goes on.
    HandoverFailed {
        /// Name of the leader.
        from: String,
        /// Name of the member.
        to: String,
        /// Milliseconds that it was given.
        after_ms: u64,
        /// What was missing.
        why: String,
    },
    /// A change of members or w began.
    Changing {
        /// Members and w until now.
        from: String,
        /// Members and w from now on.
        to: String,
        /// Why.
        why: String,
    },
    /// The change of members or w is complete: the old configuration was dropped.
    Changed {
        /// Members and w in force.
        to: String,
    },
    /// A replica's process is ended and started again, because it runs with something else than what is wanted.
    Restarting {
        /// Its name.
        replica: String,
        /// Why now.
        why: String,
    },
    /// A replica that was restarted or replaced is a member that has caught up again.
    Restarted {
        /// Its name.
        replica: String,
        /// Milliseconds since this operator saw it begin.
        after_ms: u64,
    },
    /// A replica that is lost with its machine is given up, disk and all, and starts elsewhere.
    Replacing {
        /// Its name.
        replica: String,
        /// Milliseconds that it has been lost for.
        after_ms: u64,
        /// Members that remain and hold every acknowledged write.
        remain: usize,
    },
    /// No leader: a life of a replica's disk has got a name that nobody has written under.
    Named {
        /// Name of the replica.
        replica: String,
        /// Its number as an origin from now on.
        generation: u32,
        /// Why it needed one.
        why: String,
    },
    /// No leader: a replica counts for no quorum from now on, because a person asked for that.
    Quarantined {
        /// Name of the replica.
        replica: String,
    },
    /// No leader: a replica counts again that was quarantined.
    Released {
        /// Name of the replica.
        replica: String,
    },
    /// The mode changes: between one leader and a leader in each region.
    ModeChanges {
        /// The mode until now.
        from: String,
        /// The mode from now on.
        to: String,
    },
    /// Mode MultiLeader: a region is to leave the store, and takes no more writes.
    Draining {
        /// The region.
        region: String,
        /// Those that are to hold what it has acknowledged.
        stay: Vec<String>,
    },
    /// Mode MultiLeader: a region that was to leave is wanted again, and takes writes.
    Kept {
        /// The region.
        region: String,
    },
    /// Mode MultiLeader: a region is none of the store's any more.
    Left {
        /// The region.
        region: String,
        /// Those that hold everything that it has acknowledged; empty where it was given up.
        held_by: Vec<String>,
        /// It was given up by a person: at least so many of its entries are held by none of those that stay.
        #[serde(skip_serializing_if = "Option::is_none")]
        given_up: Option<u64>,
    },
    /// Mode MultiLeader: nothing is left of a region that has left.
    Ended {
        /// The region.
        region: String,
    },
    /// Mode MultiLeader: keys that are at home elsewhere are no longer written in a region.
    HomesCeded {
        /// The region.
        region: String,
        /// Their prefixes and tags.
        keys: Vec<String>,
    },
    /// Mode MultiLeader: keys are written in this region from now on, once it has received what others had written of them.
    HomeMoved {
        /// The region.
        region: String,
        /// Their prefix or tag.
        keys: String,
        /// The home's epoch.
        epoch: u64,
    },
    /// Settings, addresses, other groups or homes of the record were brought up to date.
    Refreshed {
        /// What.
        what: String,
    },
    /// What a person asked for was not done.
    Refused {
        /// What was asked for.
        what: String,
        /// Why not, and what can be done.
        why: String,
    },
    /// Something is being waited for; said once, until what is waited for changes.
    Waiting {
        /// For what, with names and numbers.
        what: String,
    },
}

/// Members, beside the leader, that the operator hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Witnesses {
    /// How many are heard.
    pub heard: usize,
    /// How many of them say of the leader what the operator sees.
    pub agree: usize,
}

/// Why leadership changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The first leader.
    Creation,
    /// The record was lost.
    RecordLost,
    /// Replicas have promised a newer epoch than the record's: the record was restored from a backup.
    RecordBehind,
    /// The leader's process ended.
    ProcessEnded,
    /// The leader's process was started again.
    Restarted,
    /// The leader was told and does not lead.
    NotLeading,
    /// The leader lost its disk.
    DiskLost,
    /// The connections of the operator and of a majority of its members to the leader have ended.
    Disconnected,
    /// The leader is silent to the operator and to a majority of its members.
    Silent,
    /// The leader is cut off from its members and cannot commit; they hear each other.
    Isolated,
    /// The leader can neither commit, nor bring those members up to its end that it needs for that, before the other is done.
    Stuck,
    /// It was handed over: somebody asked, or it was told to end.
    Handover,
    /// Members or w change.
    Change,
    /// The mode changes.
    Mode,
    /// Members that are gone leave the configuration, so that the rest can go on.
    Degrade,
    /// A person forced it.
    Forced,
}

impl Cause {
    /// The former leader is gone without a word, so that the time since its last one counts.
    pub(crate) fn is_found_by_time(self) -> bool {
        matches!(self, Cause::ProcessEnded | Cause::Disconnected | Cause::Silent)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cause::Creation => "the group is new",
            Cause::RecordLost => "the record was lost",
            Cause::RecordBehind => "the record is older than what replicas have promised",
            Cause::ProcessEnded => "the leader's process ended",
            Cause::Restarted => "the leader's process was started again",
            Cause::NotLeading => "the leader was told to lead and does not",
            Cause::DiskLost => "the leader lost its disk",
            Cause::Disconnected => {
                "the connections of the operator and of a majority of its members to the leader ended"
            }
            Cause::Silent => "the leader is silent to the operator and to a majority of its members",
            Cause::Isolated => "the leader is cut off from its members",
            Cause::Stuck => "the leader cannot commit before members are whole, nor make them whole before it commits",
            Cause::Handover => "leadership is handed over",
            Cause::Change => "members or w change",
            Cause::Mode => "the mode changes",
            Cause::Degrade => "members are gone and the policy is PreferAvailable",
            Cause::Forced => "a person forced it",
        })
    }
}

/// "a, b and c"; "none" for an empty list.
pub(crate) fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

impl Decision {
    /// How it changes which groups a store has, in words.
    fn groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::ModeChanges { from, to } if to == "MultiLeader" => write!(
                f,
                "the mode changes from {from} to {to}: regions that are added write for themselves, so what two of them write at the same time is merged, and no key is a linearizable register between them any more"
            ),
            Decision::ModeChanges { from, to } => {
                write!(f, "the mode changes from {from} to {to}: one leader orders every write from now on")
            }
            Decision::Draining { region, stay } => write!(
                f,
                "the region {region} leaves the store: it takes no more writes, and goes once all that it has acknowledged is held by {}",
                list(stay)
            ),
            Decision::Kept { region } => write!(f, "the region {region} stays, and takes writes again"),
            Decision::Left { region, held_by, given_up: None } => write!(
                f,
                "the region {region} has left the store: all that it has acknowledged is held by {}; its replicas end",
                list(held_by)
            ),
            Decision::Left { region, given_up: Some(entries), .. } => write!(
                f,
                "the region {region} was given up by a person and has left the store: at least {entries} entries that it had are in no other region; its replicas end"
            ),
            Decision::Ended { region } => {
                write!(f, "nothing is left of the region {region}; if it is added again, it is a new one")
            }
            _ => Ok(()),
        }
    }

    /// The three steps of a change of leaders, in words.
    fn change_of_leaders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Sealing { cause, region, from, epoch, n, w, needed, silent_ms, witnesses } => {
                let of = if region.is_empty() { "" } else { " of " };
                write!(f, "sealing epoch {epoch}{of}{region}: {cause}")?;
                if let Some(Witnesses { heard, agree }) = witnesses {
                    write!(f, " ({agree} of {heard} members that are heard say so)")?;
                }
                if !from.is_empty() {
                    write!(f, "; the leader was {from}")?;
                }
                if let Some(ms) = silent_ms {
                    write!(f, ", last heard {ms} ms ago")?;
                }
                write!(f, "; {needed} of {n} members must answer (n - w + 1, w = {w})")
            }
            Decision::Chosen {
                leader,
                epoch,
                position,
                n,
                w,
                needed,
                sealed,
                missing,
                may_have_lost,
                at_risk,
                forced,
            } => {
                write!(
                    f,
                    "{leader} leads epoch {epoch} from {position}: {} of {n} members answered, {needed} needed (w = {w})",
                    sealed.len()
                )?;
                if !missing.is_empty() {
                    write!(f, "; {} did not", list(missing))?;
                }
                if *forced {
                    f.write_str("; forced by a person")?;
                }
                if *may_have_lost {
                    write!(f, "; acknowledged writes may be lost, {at_risk} entries are known to be at risk")?;
                }
                Ok(())
            }
            Decision::Serving { leader, epoch, took_ms, write_gap_ms } => {
                write!(f, "{leader} serves epoch {epoch}")?;
                if let Some(ms) = took_ms {
                    write!(f, ", {ms} ms after the change began")?;
                }
                write!(f, "; write gap {write_gap_ms} ms")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Created { members, w } => {
                write!(f, "created with {} as members, n = {}, w = {w}", list(members), members.len())
            }
            Decision::Rebuilt { members, epoch } => {
                write!(f, "the record was lost: rebuilt at epoch {epoch} from {}", list(members))
            }
            Decision::BegunAnew { leader, epoch, lost, elsewhere, alone } => {
                write!(
                    f,
                    "{leader} leads epoch {epoch} with nothing: {} lost their disks; forced by a person",
                    list(lost)
                )?;
                if elsewhere.is_empty() {
                    return Ok(());
                }
                write!(f, "; what {} had been sent comes back from there", list(elsewhere))?;
                match alone {
                    0 => Ok(()),
                    entries => write!(f, "; at least {entries} entries that it had are in no other region"),
                }
            }
            Decision::Sealing { .. } | Decision::Chosen { .. } | Decision::Serving { .. } => self.change_of_leaders(f),
            Decision::HandingOver { from, to, why } => write!(f, "{from} hands over to {to}: {why}"),
            Decision::HandoverFailed { from, to, after_ms, why } => {
                write!(f, "{from} did not hand over to {to} within {after_ms} ms and goes on leading: {why}")
            }
            Decision::Changing { from, to, why } => write!(f, "changing {from} to {to}: {why}"),
            Decision::Changed { to } => write!(f, "changed to {to}: the old configuration was dropped"),
            Decision::Restarting { replica, why } => write!(f, "restarting {replica}: {why}"),
            Decision::Restarted { replica, after_ms } => {
                write!(f, "{replica} is a member that has caught up again, {after_ms} ms after its restart began")
            }
            Decision::Replacing { replica, after_ms, remain } => write!(
                f,
                "replacing {replica}, which has been lost with its machine for {after_ms} ms: it starts elsewhere on a new disk; {remain} members hold every acknowledged write without it"
            ),
            Decision::Named { replica, generation, why } => {
                write!(f, "{replica} writes as its generation {generation}: {why}")
            }
            Decision::Quarantined { replica } => {
                write!(
                    f,
                    "{replica} is quarantined as asked: it counts for no quorum and takes no commands, and goes on to receive every write"
                )
            }
            Decision::Released { replica } => write!(f, "{replica} counts again: its quarantine was ended"),
            Decision::ModeChanges { .. }
            | Decision::Draining { .. }
            | Decision::Kept { .. }
            | Decision::Left { .. }
            | Decision::Ended { .. } => self.groups(f),
            Decision::HomesCeded { region, keys } => {
                write!(f, "{region} no longer writes {}, and all that it wrote is committed", list(keys))
            }
            Decision::HomeMoved { region, keys, epoch } => {
                write!(
                    f,
                    "{keys} is written in {region} alone, by epoch {epoch} of its home, once all written before has come"
                )
            }
            Decision::Refreshed { what } => write!(f, "the record was brought up to date: {what}"),
            Decision::Refused { what, why } => write!(f, "refused to {what}: {why}"),
            Decision::Waiting { what } => write!(f, "waiting: {what}"),
        }
    }
}
