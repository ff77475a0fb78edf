//! A plan goes by what is there, not only by what is on record; and what it says, apply does.

use std::fs;

use homestak_tests::document::{all, each, node};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::Value;

/// Removes a machine as somebody would who does not ask.
fn by_hand(stage: &Stage, path: &str) {
    let machine = stage.machine(path);
    let agent = machine.process().unwrap();
    fs::remove_dir_all(&machine.folder).unwrap();
    wait::until("its agent ends", || (!agent.is_alive()).then_some(()));
}

/// The actions of a plan, which are those of the apply after it. Another apply has nothing to do.
#[track_caller]
fn done_as_planned(stage: &Stage, manifest: &str) -> Value {
    let plan = stage.json(0, &["plan", manifest]);
    let applied = stage.json(0, &["apply", manifest]);
    assert_eq!(each(&plan, "action"), each(&applied, "action"), "{plan:#}");
    let again = stage.json(0, &["apply", manifest]);
    all(&again, "action", "unchanged");
    plan
}

#[test]
fn a_machine_that_was_removed_by_hand_is_planned_to_be_made_again() {
    let stage = Stage::set("by-hand");
    stage.json(0, &["apply", "n2-tiered"]);
    assert_eq!(stage.json(0, &["plan", "n2-tiered"])["changes"], 0);

    by_hand(&stage, "local/n2-tiered/root-pve/edge");
    let plan = done_as_planned(&stage, "n2-tiered");
    assert_eq!(each(&plan, "action"), [("edge", "created"), ("root-pve", "unchanged")].into(), "{plan:#}");
    assert!(node(&plan, "edge")["reason"].as_str().unwrap().contains("not there"), "{plan:#}");

    by_hand(&stage, "local/n2-tiered/root-pve");
    let plan = done_as_planned(&stage, "n2-tiered");
    assert_eq!(each(&plan, "action"), [("edge", "created"), ("root-pve", "created")].into(), "{plan:#}");
    assert_eq!(node(&plan, "edge")["known_after"], "local/n2-tiered/root-pve", "{plan:#}");
    assert_eq!(stage.json(0, &["plan", "n2-tiered"])["changes"], 0);
    stage.strike();
}

#[test]
fn a_machine_that_its_host_has_forgotten_is_planned_to_be_adopted() {
    let stage = Stage::set("forgotten");
    stage.json(0, &["apply", "n1-push"]);
    let before = stage.machines();
    // The daemon must not bring the agent back before it has lost its memory.
    stage.coord(&["server", "stop"]).exits(0);
    let agent = stage.host_agent().unwrap();
    agent.kill();
    wait::until("the host's agent is gone", || (!agent.is_alive()).then_some(()));
    fs::remove_file(stage.host_state().join("journal")).unwrap();
    // Another tree brings it back, so that the plan finds it there.
    stage.json(0, &["apply", "flat-3"]);
    let plan = done_as_planned(&stage, "n1-push");
    assert_eq!(each(&plan, "action").into_values().collect::<Vec<_>>(), ["adopted"], "{plan:#}");
    let after = stage.machines().into_iter().find(|machine| machine.path == before[0].path).unwrap();
    assert_eq!((after.vmid, after.ip), (before[0].vmid, before[0].ip));
    assert_ne!(after.incarnation, before[0].incarnation);
    stage.strike();
}

#[test]
fn a_host_that_cannot_be_asked_is_named_in_a_note() {
    let stage = Stage::set("unasked");
    stage.json(0, &["apply", "n2-tiered"]);
    let plan = stage.json(0, &["plan", "n2-tiered", "-H", "elsewhere"]);
    let notes = plan["notes"].as_array().unwrap();
    let note = notes.iter().filter_map(Value::as_str).find(|note| note.contains("elsewhere was not asked"));
    assert!(note.is_some_and(|note| note.contains("as on record")), "{plan:#}");
    stage.strike();
}
