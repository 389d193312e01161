//! SESSION's own words: what it does is on the front page of `clients::session`.

/// What SESSION HELP answers.
pub const HELP: [&str; 15] = [
    "SESSION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "TOKEN",
    "    Return what this connection has seen and written as one word, for another connection to go on from.",
    "RESUME <token>",
    "    Go on from there, too: at any replica of the store.",
    "GUARANTEES [<name> [<name> ...] | DEFAULT | NONE]",
    "    Return what this connection is promised, or choose: ReadYourWrites, MonotonicReads, WritesFollowReads,",
    "    MonotonicWrites, ConsistentPrefix.",
    "STATUS",
    "    Return the guarantees, how long a command waits for what the session has seen, how many entries have still to",
    "    come, and how many were lost with a failover or recovered since.",
    "RESET",
    "    Forget what this connection has seen, and its choice.",
    "HELP",
    "    Prints this help.",
];
