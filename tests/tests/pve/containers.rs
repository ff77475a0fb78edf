//! Containers, whose agents are put into them: whoever dies or is called off at that leaves none that nobody can start.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homestak_agent::provider::Provider as _;
use homestak_protocol::order::NodeKind;
use homestak_tests::crash::CrashFile;
use homestak_tests::document::all;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, pct_stand_in};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::provider::{Driver, identity, machine, task};

/// What `pct` was asked to do, one word each.
fn deeds(folder: &Path) -> Vec<String> {
    let log = fs::read_to_string(folder.join("pct/log")).unwrap_or_default();
    log.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_container_is_furnished_to_the_end_also_when_nobody_waits_for_it_any_more() {
    if !fakepve::is_installed("a_container_is_furnished_to_the_end_also_when_nobody_waits_for_it_any_more") {
        return;
    }
    let stage = Stage::set("pve-ct-given-up");
    let host = FakePve::start(&stage, "father", 0.0);
    let folder = stage.folder().join("state");
    let driver = Driver::open(&host, &folder);
    let ask = machine("box", NodeKind::Ct, None);
    let (cancel, mut given_up) = (CancellationToken::new(), task());
    given_up.cancel = cancel.clone();
    // It is called off as soon as it is mounted.
    let mounted = async {
        while deeds(&folder).is_empty() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let both = async { tokio::join!(driver.pve.ensure_machine(ask.clone(), given_up), mounted) };
    let (made, ()) = timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(made.unwrap_err().code.as_str(), "E712");
    // Whoever comes next waits until that has ended, and does it again: what it is told may be other than before.
    driver.ensure(ask.clone()).await.unwrap();
    assert_eq!(deeds(&folder), ["mount", "unmount", "unmount", "mount", "unmount"]);
    assert_eq!(host.guest("box")["status"], "running");
    driver.destroy(identity(&ask)).await.unwrap();
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_container_that_was_left_mounted_by_an_agent_that_died_is_made_by_the_next_one() {
    if !fakepve::is_installed("a_container_that_was_left_mounted_by_an_agent_that_died_is_made_by_the_next_one") {
        return;
    }
    let nodes = "nodes:\n  - {name: box, type: ct, spec: base, preset: vm-xsmall, vmid: 30000}\n";
    for forgotten in [false, true] {
        let stage = Stage::set(&format!("pve-ct-dies-{forgotten}"));
        let host = Arc::new(FakePve::start(&stage, "father", 0.0));
        let (crash, path) = (CrashFile::new(stage.folder()), pct_stand_in(&stage));
        let plan = crash.path().display().to_string();
        let agent = HostAgent::join(&stage, &host, &[("PATH", &path), ("HOMESTAK_CRASH_AT", &plan)]);
        let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
        if forgotten {
            fs::write(stage.folder().join("pct/forgotten"), "").unwrap();
        }
        crash.arm(["pve.furnish:after@father"]);
        let text = format!("schema_version: 2\nname: boxes\npattern: flat\n{nodes}");
        let file = stage.file("boxes.yaml", text).display().to_string();
        let run = stage.json(0, &["apply", &file, "-H", "father", "--detach"]);
        wait::until("it has died at it", || agent.has_ended().then_some(()));
        assert_eq!(deeds(stage.folder()), ["mount"]);
        if forgotten {
            host.set_of(30000, "lock", json!("mounted"));
        }
        agent.start_again();
        if forgotten {
            wait::until("it is unlocked", || deeds(stage.folder()).contains(&"unlock".to_owned()).then_some(()));
            fs::remove_file(stage.folder().join("pct/forgotten")).unwrap();
            host.set_of(30000, "lock", serde_json::Value::Null);
        }
        wait::until("the run is over", || {
            let runs = stage.json(0, &["runs", "--limit", "1"]);
            (runs["runs"][0]["run"] == run["run"] && runs["runs"][0]["state"] == "succeeded").then_some(())
        });
        let again = stage.json(0, &["apply", &file, "-H", "father"]);
        all(&again, "action", "unchanged");
        let creations = host.changes().into_iter().filter(|line| line.starts_with("POST /nodes/father/lxc vmid"));
        assert_eq!((creations.count(), host.guests().len()), (1, 1), "none twice");
        stage.json(0, &["destroy", "boxes", "-H", "father", "--yes"]);
    }
}
