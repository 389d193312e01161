//! Scenarios as text, one per file of `scenarios/`, named after what it shows: what is done, and after each line what came of it.
//!
//! ```text
//! start n=3 w=2 [durability=Memory] [r=2] [timeout=500] [log=4096] [lease=250] [discard]   processes on empty disks, connected
//! serving n=3 w=2 ...                 the same, and replica 1 leads and serves; nothing is printed
//! show messages disk                  print messages and disk operations too, from now on; `hide` ends it
//! seal [members=1,2 w=1] [epoch=7] [to 1,2]       the operator's next epoch begins, for these replicas (for all, if it names none)
//! lead 2 [gen=2] [to 1,2]             ... and this replica leads it
//! record [handover=2] [done] [store=x] [epoch=1] [version=1] [to 1,2]   the same epoch's next record; `done`: the configuration that was left is forgotten
//! client c1 on 2, close c1
//! c1 > SET a 1 | GET a || c2 > GET a  a pipeline, and another client's in the same turn; v*9 stands for 9 bytes, "" for none
//! repeat 20 c1 > SET k# #             ... with # from 1 to 20
//! tick 100ms, tick 2s                 time passes
//! hold 1->2, hold 1-2, hold disk 1    from now on it is slow: nothing arrives, nothing becomes durable; `free ...` ends it
//! deliver 1->2 [3], disk 1 [3]        the next 3 of what is held; 1, if it says nothing; `disk 1 all`; steps 1: of a checkpoint
//! cut 1-2, join 1-2                   the connection breaks (what is under way is lost), and is made again
//! crash 2, restart 2, wipe 2, add 4          what is not durable is lost; wipe: the disk too, what starts on it is another incarnation; add: one more
//! pause 1, resume 1, terminate 1      SIGSTOP, SIGCONT, SIGTERM
//! full 1, room 1, drift 2 10s, flip 1->2 digest|entries|slot
//! say 2->1 ack epoch=1 durable=9, say 2->1 append epoch=1 commit=9    messages that nobody sent
//! state, digests, report 1, disks     what the replicas say of themselves, and what is on their disks
//! ```
//!
//! Everything that may happen happens at once, but what is held. What came of a line begins with `>`. `UPDATE_GOLDEN=1` writes it anew; read the
//! difference before you keep it.

mod support;

use std::{fmt::Write, fs, path::Path};

#[test]
fn scenarios() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut wrong = String::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let text = fs::read_to_string(file).unwrap();
        let found = support::play(&text, file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(file, &found).unwrap();
        } else if found != text {
            writeln!(wrong, "{}:\n{found}", file.display()).unwrap();
        }
    }
    assert!(files.len() >= 40, "{} scenarios are there", files.len());
    assert!(wrong.is_empty(), "{wrong}");
}
