//! What may go wrong.

/// A kind of fault: a run has some of them, so that none hides another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed and started again.
    Kill,
    /// A machine loses its power.
    PowerLoss,
    /// A machine comes back with an empty disk.
    DiskLoss,
    /// A process is stopped and goes on.
    Pause,
    /// A process is asked to end.
    Terminate,
    /// Some ways are blocked for a while, in one direction or both.
    Partition,
    /// One replica, mostly the leader, is cut off from all peers; its clients and perhaps the operator still reach it.
    Isolate,
    /// One connection breaks; one end may learn of it late.
    Cut,
    /// One disk is slow for a while.
    SlowDisk,
    /// One disk is full for a while.
    DiskFull,
    /// The operator's worker is gone, and another starts with nothing in memory; sometimes two are at work.
    Worker,
    /// The authority answers nothing, or does what was asked and says nothing.
    Authority,
    /// A person asks for another leader.
    Switchover,
    /// A person changes w.
    ChangeW,
    /// A person changes the number of replicas.
    ChangeN,
    /// Another revision of program and settings is wanted; it may not start.
    Upgrade,
    /// A machine is gone for a while, or for good where its replica is replaced.
    MachineLost,
    /// Most replicas end and stay down for a while, and a person forces a promotion.
    Force,
    /// A person pauses the operator for a while.
    PauseOperator,
    /// A person changes r, where there is no leader.
    ChangeR,
    /// A wall clock is set, by seconds or by minutes.
    ClockJump,
    /// One replica reaches one other, and is reached by it, and by no third one.
    Narrow,
}

impl Fault {
    /// What befalls replicas, and what people change.
    pub const ALL: [Fault; 15] = [
        Fault::Kill,
        Fault::PowerLoss,
        Fault::DiskLoss,
        Fault::Pause,
        Fault::Terminate,
        Fault::Partition,
        Fault::Isolate,
        Fault::Cut,
        Fault::SlowDisk,
        Fault::DiskFull,
        Fault::Worker,
        Fault::Authority,
        Fault::Switchover,
        Fault::ChangeW,
        Fault::ChangeN,
    ];

    /// What the operator does to replicas of its own accord follows from these.
    pub const UPKEEP: [Fault; 4] = [Fault::Upgrade, Fault::MachineLost, Fault::Force, Fault::PauseOperator];

    /// What may happen where there is no leader, beside [`Fault::ALL`].
    pub const LEADERLESS: [Fault; 5] =
        [Fault::ChangeR, Fault::ClockJump, Fault::Upgrade, Fault::MachineLost, Fault::PauseOperator];
}
