//! CONFLICTS: what the replicas of each region say of writes that met.

use trireme_proto::topology::{ConflictList, WriteOrder};

use crate::clients::tests::rig::Rig;

const C: u64 = 7;

fn apart(n: u32) -> Rig {
    let mut rig = Rig::regions(2, n, n / 2 + 1);
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.iter().for_each(|id| rig.open(*id, C));
    for (a, b) in (1..=n).flat_map(|a| (11..=10 + n).map(move |b| (a, b))) {
        rig.disconnect(a, b);
    }
    rig
}

fn together(rig: &mut Rig) {
    for (a, b) in std::mem::take(&mut rig.cut) {
        rig.connect(a, b);
    }
    rig.run(500);
}

#[test]
fn every_replica_of_a_region_tells_what_met_there() {
    let mut rig = apart(3);
    assert_eq!([rig.ask(1, C, "SET k one"), rig.ask(11, C, "SADD set x")], ["+OK", ":1"]);
    rig.run(10);
    assert_eq!([rig.ask(11, C, "SET k two"), rig.ask(1, C, "SADD set x")], ["+OK", ":1"]);
    // Of many writes on one side there is one entry: that they met the same on the other.
    assert_eq!([rig.ask(11, C, "SET k three"), rig.ask(11, C, "SET k four")], ["+OK", "+OK"]);
    together(&mut rig);
    for id in [1, 2, 3, 11, 12, 13] {
        assert_eq!(rig.ask(id, C, "CONFLICTS LEN"), ":1", "replica {id}");
        let told = rig.ask(id, C, "CONFLICTS");
        for part in ["$1 k", "$6 string", "$11 later clock", "$5 shown :1 $5 wrote $5 value $5 value $4 four"] {
            assert!(told.contains(part), "replica {id}: {part} in {told}");
        }
        // The region that wrote one value has seen three come beside it, the other one beside its last.
        let times = if id < 10 { 3 } else { 1 };
        assert!(told.contains(&format!("$5 times :{times} ")), "replica {id}: {told}");
        assert!(told.contains("$6 origin $3 1.1 ") && told.contains("$6 origin $3 2.1 "), "{told}");
        let info = rig.ask(id, C, "INFO conflicts");
        assert!(info.contains(&format!("conflicts_string:{times}")) && info.contains("conflicts_set:0"), "{info}");
    }
    assert!(rig.ask(2, C, "CONFLICTS KEY k").starts_with("*6 $4 type $6 string $4 kept *1 *6 $4 type $6 string "));
    assert!(rig.ask(2, C, "CONFLICTS KEY nothing").starts_with("*6 $4 type $4 none $4 kept *0"));
    assert_eq!([rig.ask(1, C, "CONFLICTS RESET"), rig.ask(1, C, "CONFLICTS GET -1")], ["+OK", "*0"]);
    assert_eq!([rig.ask(2, C, "CONFLICTS LEN"), rig.ask(1, C, "CONFLICTS LEN")], [":1", ":0"]);
}

#[test]
fn arguments_are_taken_as_slowlog_takes_them() {
    let mut rig = apart(1);
    for number in 0..15 {
        assert_eq!(rig.ask(1, C, &format!("SET k{number} 1")), "+OK");
        assert_eq!(rig.ask(11, C, &format!("SET k{number} 2")), "+OK");
    }
    together(&mut rig);
    for (command, entries) in [("", 10), (" GET", 10), (" get 3", 3), (" GET 100", 15), (" GET -1", 15), (" GET 0", 0)]
    {
        let told = rig.ask(1, C, &format!("CONFLICTS{command}"));
        assert!(told.starts_with(&format!("*{entries}")), "{command}: {told}");
        assert_eq!(told.matches(" $3 key ").count(), entries, "{command}");
    }
    let newest = rig.ask(1, C, "CONFLICTS GET 1");
    assert!(newest.contains("$2 id :14 ") && newest.contains("$3 k14"), "{newest}");
    assert!(rig.ask(1, C, "CONFLICTS GET -2").starts_with("-ERR count should be greater than or equal to -1"));
    assert!(rig.ask(1, C, "CONFLICTS GET x").starts_with("-ERR value is not an integer or out of range"));
    assert!(
        rig.ask(1, C, "CONFLICTS GET 1 2").starts_with("-ERR wrong number of arguments for 'conflicts|get' command")
    );
    assert!(rig.ask(1, C, "CONFLICTS LEN 1").starts_with("-ERR wrong number of arguments for 'conflicts|len' command"));
    assert!(rig.ask(1, C, "CONFLICTS WHAT").starts_with("-ERR unknown subcommand 'WHAT'"));
    assert!(rig.ask(1, C, "CONFLICTS HELP").starts_with("*13 +CONFLICTS "));
}

#[test]
fn what_a_deposed_leader_could_not_commit_is_noted_when_it_comes_again() {
    let mut rig = Rig::regions(2, 3, 2);
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.iter().for_each(|id| rig.open(*id, C));
    rig.disconnect(1, 11);
    assert_eq!([rig.ask(1, C, "SET k here"), rig.ask(11, C, "SET k there")], ["+OK", "+OK"]);
    // It joins what it cannot commit any more.
    rig.cut.retain(|cut| *cut != (1, 11));
    rig.connect(1, 11);
    rig.cut.extend([(1, 2), (1, 3)]);
    rig.run(200);
    assert_eq!(rig.ask(1, C, "CONFLICTS LEN"), ":0");
    rig.fail_over(2);
    together(&mut rig);
    rig.tell();
    rig.run(500);
    for id in [1, 2, 3] {
        assert_eq!(rig.ask(id, C, "CONFLICTS LEN"), ":1", "replica {id}");
    }
}

/// Every group's record says that conflicts are listed, as many in each list.
fn listed(rig: &mut Rig, length: u32) {
    for record in std::iter::once(&mut rig.record).chain(&mut rig.others) {
        record.settings.conflicts = Some(ConflictList { name: "met".into(), length });
        record.version += 1;
    }
    rig.tell();
    rig.run(100);
}

#[test]
fn one_region_writes_down_what_met_and_all_can_read_it() {
    let mut rig = apart(3);
    listed(&mut rig, 3);
    assert_eq!([rig.ask(1, C, "SET k one"), rig.ask(11, C, "SADD set x")], ["+OK", ":1"]);
    rig.run(10);
    assert_eq!([rig.ask(11, C, "SET k \"two\""), rig.ask(1, C, "SADD set x")], ["+OK", ":1"]);
    together(&mut rig);
    for id in [1, 2, 3, 11, 12, 13] {
        assert_eq!([rig.ask(id, C, "EXISTS met:r1"), rig.ask(id, C, "LLEN met:r2")], [":0", ":1"], "replica {id}");
        let element = rig.ask(id, C, "LINDEX met:r2 0");
        for part in [
            r#""key":"k","type":"string","place":null,"why":"later clock","more":0,"versions":[{"shown":true,"wrote":"value","value":"\"two\"","bytes":5,"#,
            r#""origin":"2.1","#,
            r#"{"shown":false,"wrote":"value","value":"one","#,
        ] {
            assert!(element.contains(part), "replica {id}: {part} in {element}");
        }
    }
    // More than the list may have: the oldest go. What is written to a list by users is not told of.
    for (a, b) in (1..=3).flat_map(|a| (11..=13).map(move |b| (a, b))) {
        rig.disconnect(a, b);
    }
    for number in 0..5 {
        assert_eq!([rig.ask(11, C, &format!("SET n{number} 1")), rig.ask(1, C, "RPUSH met:r2 x")][0], "+OK");
        rig.run(10);
        assert_eq!(rig.ask(1, C, &format!("SET n{number} 2")), "+OK");
    }
    assert_eq!(rig.ask(1, C, "SET met:r1 mine"), "+OK");
    together(&mut rig);
    assert_eq!(rig.ask(12, C, "GET met:r1"), "$4 mine", "what is no list stays");
    assert_eq!(rig.ask(1, C, "DEL met:r1"), ":1");
    rig.run(100);
    for (a, b) in (1..=3).flat_map(|a| (11..=13).map(move |b| (a, b))) {
        rig.disconnect(a, b);
    }
    for number in 0..5 {
        assert_eq!(rig.ask(11, C, &format!("SET n{number} 1")), "+OK");
        rig.run(10);
        assert_eq!(rig.ask(1, C, &format!("SET n{number} 2")), "+OK");
    }
    together(&mut rig);
    for id in [2, 13] {
        assert_eq!(rig.ask(id, C, "LLEN met:r1"), ":3", "replica {id}");
        assert!(rig.ask(id, C, "LINDEX met:r1 -1").contains(r#""key":"n4""#), "replica {id}");
    }
}

#[test]
fn what_a_deposed_leader_could_not_commit_is_written_down_once() {
    let mut rig = Rig::regions(2, 3, 2);
    let ids: Vec<u32> = rig.nodes.keys().copied().collect();
    ids.iter().for_each(|id| rig.open(*id, C));
    listed(&mut rig, 100);
    rig.disconnect(1, 11);
    assert_eq!(rig.ask(11, C, "SET k there"), "+OK");
    rig.run(10);
    assert_eq!(rig.ask(1, C, "SET k here"), "+OK");
    rig.cut.retain(|cut| *cut != (1, 11));
    rig.connect(1, 11);
    rig.cut.extend([(1, 2), (1, 3)]);
    rig.run(200);
    rig.fail_over(2);
    together(&mut rig);
    rig.tell();
    rig.run(500);
    for id in ids {
        assert_eq!([rig.ask(id, C, "LLEN met:r1"), rig.ask(id, C, "LLEN met:r2")], [":1", ":0"], "replica {id}");
    }
}

#[test]
fn where_nobody_leads_every_replica_notes_what_it_joins_and_state_that_it_joins() {
    let mut rig = Rig::peers_with(3, 1, 1, |record| record.settings.write_order = WriteOrder::Clock as i32);
    [1, 2, 3].into_iter().for_each(|id| rig.open(id, C));
    for (a, b) in [(1, 2), (1, 3), (2, 3)] {
        rig.disconnect(a, b);
    }
    for id in [1, 2, 3] {
        rig.say(id, C, &format!("SET k {id}"));
    }
    rig.run(5_000);
    together(&mut rig);
    for id in [1, 2, 3] {
        assert_eq!(rig.heard(id, C), "+OK");
        let told = rig.ask(id, C, "CONFLICTS");
        assert!(told.starts_with("*1 "), "replica {id}: {told}");
    }
}
