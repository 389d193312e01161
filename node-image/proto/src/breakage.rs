//! The safety rules that the simulation switches off, one at a time, to prove that it would notice. Without the feature `breakage` every rule holds,
//! and the checks cost nothing.

/// A rule that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breakage {
    /// The seal needs one member less than n - w + 1.
    SealOneLess,
    /// The longest log is chosen, whatever its last epoch.
    ChooseBySeqAlone,
    /// Entries of older epochs count as committed without a start entry of the leader's own.
    NoStartEntry,
    /// A replica that lost its disk counts as the member it was.
    CountEmptyDisk,
    /// A change of members or w is sealed nowhere: neither configuration is kept.
    NoDoubleSeal,
    /// Only the new configuration is sealed.
    SealNewOnly,
    /// Only the old configuration is sealed.
    SealOldOnly,
    /// The new leader does not wait for the old one's lease.
    NoLeaseWait,
    /// A leader answers reads without looking at its lease.
    NoLeaseCheck,
    /// A replica acknowledges, and a leader counts its own copy, before it is durable.
    AnswerBeforeFsync,
    /// A promise is answered before it is durable.
    PromiseBeforeFsync,
    /// A repeated request is answered before its entry is committed.
    AnswerRepeatedEarly,
    /// Commands are executed before the start entry is committed.
    ExecuteBeforeStart,
    /// A repeated request is executed again.
    ForgetRequests,
    /// Replies do not wait for the commit of what they depend on.
    AnswerBeforeCommit,
    /// A deposed leader keeps its uncommitted effects in its state.
    NoUndo,
    /// A replica accepts entries of an epoch older than its promise.
    ObeyOldEpochs,
    /// A learner counts for w.
    CountLearners,
    /// A follower keeps a divergent suffix instead of cutting it.
    KeepDivergentSuffix,
    /// A follower reads its own state for a client whose write it has not applied yet.
    ReadBehindSession,
    /// A transaction is executed although what it watched has changed.
    IgnoreWatch,
    /// Replicas are restarted although others are missing, those that were restarted before included.
    RestartSeveral,
    /// A lost replica's disk is given up although too little remains without it.
    ReplaceTheLast,
    /// A coordinator writes without having brought its clock above that of n - w + 1 replicas.
    NoClockRound,
    /// Commands that depend on the state of their keys are executed without joining it from r replicas.
    BlindRemovals,
    /// A read is answered although fewer than w replicas hold what it shows.
    NoReadRepair,
    /// A replica acknowledges another one's entries before they are durable.
    AcknowledgeEarly,
    /// A learner counts for w and r where there is no leader.
    LearnersInQuorums,
    /// A delta does not say what its origin had seen.
    DropContext,
    /// The digest of a record leaves its value and its clock out.
    HalfDigest,
    /// A replica that may have lost the end of its log goes on under the same name.
    ReuseNames,
    /// Of a slot that is asked nobody says that more is held there.
    TrustSlots,
    /// What comes into slots after they were compared, and was seen and removed before that at the sender, is kept.
    TrustCompared,
    /// A group ships what it has not committed.
    ShipUncommitted,
    /// An entry of another group is joined although what its origin had seen before has not come.
    LandEarly,
    /// A group that leaves the store goes on to take writes.
    WriteWhileLeaving,
    /// A group is let go of before the others hold what it has acknowledged.
    LeaveUndrained,
    /// A group executes commands on keys that are at home elsewhere.
    WriteAway,
    /// The home of keys executes commands on them before it has received what was written at the former one.
    HomeUnseen,
    /// A group is said to execute no more commands on keys of another home while its leader may still have some under way.
    CedeUnsettled,
    /// Keys get another home before the former one has said that it executes no more of their commands.
    MoveHomeEarly,
    /// The mode of a store changes under a leader that goes on to lead.
    ModeWithoutEpoch,
    /// An edge on an empty disk writes under the name that it had first.
    EdgeAsBefore,
    /// State that has come from another group is read before everything has come that it depends on.
    ShowPartial,
    /// A read does not wait for what the token that its session goes on from names.
    ReadBehindToken,
    /// Nor does a write.
    WriteBehindToken,
    /// Where nobody leads, reads do not wait for what is here depends on.
    ShowBeforeCause,
}

impl Breakage {
    /// All of them.
    pub const ALL: [Breakage; 47] = [
        Breakage::SealOneLess,
        Breakage::ChooseBySeqAlone,
        Breakage::NoStartEntry,
        Breakage::CountEmptyDisk,
        Breakage::NoDoubleSeal,
        Breakage::SealNewOnly,
        Breakage::SealOldOnly,
        Breakage::NoLeaseWait,
        Breakage::NoLeaseCheck,
        Breakage::AnswerBeforeFsync,
        Breakage::PromiseBeforeFsync,
        Breakage::AnswerRepeatedEarly,
        Breakage::ExecuteBeforeStart,
        Breakage::ForgetRequests,
        Breakage::AnswerBeforeCommit,
        Breakage::NoUndo,
        Breakage::ObeyOldEpochs,
        Breakage::CountLearners,
        Breakage::KeepDivergentSuffix,
        Breakage::ReadBehindSession,
        Breakage::IgnoreWatch,
        Breakage::RestartSeveral,
        Breakage::ReplaceTheLast,
        Breakage::NoClockRound,
        Breakage::BlindRemovals,
        Breakage::NoReadRepair,
        Breakage::AcknowledgeEarly,
        Breakage::LearnersInQuorums,
        Breakage::DropContext,
        Breakage::HalfDigest,
        Breakage::ReuseNames,
        Breakage::TrustSlots,
        Breakage::TrustCompared,
        Breakage::ShipUncommitted,
        Breakage::LandEarly,
        Breakage::WriteWhileLeaving,
        Breakage::LeaveUndrained,
        Breakage::WriteAway,
        Breakage::HomeUnseen,
        Breakage::CedeUnsettled,
        Breakage::MoveHomeEarly,
        Breakage::ModeWithoutEpoch,
        Breakage::EdgeAsBefore,
        Breakage::ShowPartial,
        Breakage::ReadBehindToken,
        Breakage::WriteBehindToken,
        Breakage::ShowBeforeCause,
    ];
}

#[cfg(feature = "breakage")]
mod switch {
    use super::Breakage;
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<Option<Breakage>> = const { Cell::new(None) };
    }

    /// Breaks one rule, or none, for everything that runs on this thread from now on.
    pub fn set(rule: Option<Breakage>) {
        BROKEN.set(rule);
    }

    /// Whether the rule is broken.
    pub fn broken(rule: Breakage) -> bool {
        BROKEN.get() == Some(rule)
    }
}

#[cfg(not(feature = "breakage"))]
mod switch {
    use super::Breakage;

    /// Whether the rule is broken: never.
    #[inline(always)]
    pub const fn broken(_: Breakage) -> bool {
        false
    }
}

pub use switch::*;
