//! A machine whose host's agent has lost its memory is taken over, not made again.

use std::fs;
use std::sync::Arc;

use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, described};
use homestak_tests::stage::Stage;
use serde_json::json;

#[test]
fn a_machine_that_its_host_has_forgotten_is_planned_to_be_adopted_and_is() {
    if !fakepve::is_installed("a_machine_that_its_host_has_forgotten_is_planned_to_be_adopted_and_is") {
        return;
    }
    let stage = Stage::set("pve-adopted");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let built = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    let (before, changes) = (host.guest("edge"), host.changes().len());
    let life = |guest: &serde_json::Value| {
        let facts = described(guest["config"]["description"].as_str().unwrap());
        (facts["incarnation"].clone(), facts.get("adopted").cloned())
    };
    // What the daemon knows of the agent is to be what it hears next.
    stage.coord(&["server", "stop"]).exits(0);
    agent.kill();
    fs::remove_file(agent.state().join("journal")).unwrap();
    agent.start_again();
    homestak_tests::wait::until("its agent is back", || {
        let agents = stage.json(0, &["agents"]);
        let mut agents = agents["agents"].as_array()?.iter();
        agents.any(|one| one["path"] == "father" && one["connected"] == true).then_some(())
    });
    let plan = stage.json(0, &["plan", "n1-push", "-H", "father"]);
    all(&plan, "action", "adopted");
    let applied = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    all(&applied, "action", "adopted");
    all(&applied, "status", "completed");
    let after = host.guest("edge");
    assert_eq!((&after["vmid"], &after["config"]["vmgenid"]), (&before["vmid"], &before["config"]["vmgenid"]));
    assert_eq!(node(&applied, "edge")["ip"], node(&built, "edge")["ip"], "its address stays");
    assert_ne!(life(&after).0, life(&before).0, "it has another life");
    assert_eq!((life(&before).1, life(&after).1.as_deref()), (None, Some("yes")), "which began with its adoption");
    assert_ne!(after["started"], before["started"], "what it is told anew is read at a start");
    let since: Vec<String> = host.changes().into_iter().skip(changes).collect();
    assert!(since.iter().all(|line| !line.starts_with("POST /nodes/father/qemu ")), "it is not made again: {since:#?}");
    let again = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    all(&again, "action", "unchanged");
    assert_eq!(again["context"], applied["context"]);
    all(&stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]), "status", "destroyed");
    assert_eq!(json!(host.guests()), json!([]));
}
