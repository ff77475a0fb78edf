//! A hundred machines at once, and an agent that dies over and over while it makes them.

use std::sync::Arc;
use std::time::Duration;

use homestak_tests::crash::CrashFile;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::HostAgent;
use homestak_tests::manifest::Manifest;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::json;

/// How many machines.
const MACHINES: usize = 100;

/// Between the intent and PVE's answer, after the answer and before it is on record, while the task runs, and after it.
const POINTS: [&str; 8] = [
    "pve.create:before",
    "pve.create:after",
    "pve.create-task:before",
    "pve.create-task:after",
    "pve.start:before",
    "pve.start:after",
    "pve.start-task:before",
    "pve.start-task:after",
];

/// How often each of them is.
const ROUNDS: usize = 3;

#[test]
fn a_hundred_machines_come_to_be_once_each_however_often_their_maker_dies() {
    if !fakepve::is_installed("a_hundred_machines_come_to_be_once_each_however_often_their_maker_dies") {
        return;
    }
    let stage = Stage::set("pve-crash");
    let crash = CrashFile::new(stage.folder());
    let mut host = FakePve::start(&stage, "father", 1.0);
    host.parallel = 3;
    let host = Arc::new(host);
    host.set("task_secs", json!({ "qmcreate": 0.6, "resize": 0.05, "qmstart": 0.2 }));
    let plan = crash.path().display().to_string();
    let agent = HostAgent::join(&stage, &host, &[("HOMESTAK_CRASH_AT", &plan)]);
    let mut manifest = Manifest::new("many", 20_000);
    for n in 0..MACHINES {
        manifest = manifest.vm(&format!("m{n}"), None);
    }
    let file = stage.file("many.yaml", manifest.text()).display().to_string();
    stage.json(0, &["apply", &file, "-H", "father", "--parallel", "100", "--detach"]);
    let mut deaths = 0;
    for point in std::iter::repeat_n(POINTS, ROUNDS).flatten() {
        crash.arm([format!("{point}@father").as_str()]);
        let died = wait::attempt(Duration::from_secs(60), || agent.has_ended().then_some(()));
        assert!(died.is_some(), "nobody came by {point}: {}", host.guests().len());
        deaths += 1;
        assert_eq!(crash.reached().len(), deaths, "it died where it was to: {point}");
        agent.start_again();
    }
    assert!(deaths >= 20);
    wait::within(Duration::from_secs(180), "every machine is there and runs", || {
        let running = host.guests().iter().filter(|guest| guest["status"] == "running").count();
        (running == MACHINES).then_some(())
    });
    let guests = host.guests();
    assert_eq!(guests.len(), MACHINES, "none twice");
    let names: std::collections::BTreeSet<_> = guests.iter().map(|guest| guest["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), MACHINES, "none for another");
    let state = host.state();
    let done = |kind: &str| {
        let tasks = state["tasks"].as_array().unwrap();
        tasks.iter().filter(|task| task["type"] == kind && task["exitstatus"] == "OK").count()
    };
    assert_eq!((done("qmcreate"), done("qmstart")), (MACHINES, MACHINES), "nothing was done twice");
    let at_once = state["at_once"]["qmcreate"].as_u64().unwrap();
    assert_eq!(at_once, 3, "as many at once as one storage is to bear, whatever earlier lives have begun");
}
