//! What a host has that no recorded tree names: found, shown, and destroyed on request; everything else stays.

use homestak_protocol::ids::SiteId;
use homestak_protocol::order::NodeKind;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::provider::{Driver, machine};

fn paths(document: &Value) -> Vec<&str> {
    document["orphans"].as_array().unwrap().iter().map(|orphan| orphan["path"].as_str().unwrap()).collect()
}

#[test]
fn an_orphan_is_found_and_destroyed_and_nothing_else_is_touched() {
    if !fakepve::is_installed("an_orphan_is_found_and_destroyed_and_nothing_else_is_touched") {
        return;
    }
    let stage = Stage::set("pve-orphans");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    // Somebody's own machine, one of another site, and a tree that stays.
    host.call("add_vm", json!([500, "theirs"]), json!({ "node": "father", "status": "running" }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let other = Driver::open(&host, &stage.folder().join("other-site"));
        let mut ask = machine("elsewhere", NodeKind::Vm, Some(501));
        ask.tree.site = SiteId::from_bits(9);
        other.ensure(ask).await.unwrap();
    });
    stage.json(0, &["apply", "n1-pull", "-H", "father"]);
    drop(guests);
    assert_eq!(paths(&stage.json(0, &["orphans"])), Vec::<&str>::new(), "what trees name is no orphan");

    // A tree that was destroyed, and whose guest comes back from a backup.
    let manifest = "schema_version: 2\nname: lost\npattern: flat\nnodes:\n  - {name: left, type: vm, spec: base, preset: vm-xsmall, image: debian-12, vmid: 700}\n";
    let file = stage.file("lost.yaml", manifest).display().to_string();
    let run = stage.json(0, &["apply", &file, "-H", "father", "--detach"]);
    wait::until("it is made", || host.guests().iter().any(|guest| guest["name"] == "left").then_some(()));
    assert_eq!(paths(&stage.json(0, &["orphans"])), Vec::<&str>::new(), "what is being made is no orphan");
    let config = host.guest("left")["config"].clone();
    stage.json(0, &["cancel", run["run"].as_str().unwrap()]);
    wait::until("the run is over", || {
        (stage.json(0, &["runs", "--limit", "1"])["runs"][0]["state"] != "running").then_some(())
    });
    stage.json(0, &["destroy", "lost", "-H", "father", "--yes"]);
    let restore = |more: Value| {
        let mut config = config.clone();
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        host.call("add_vm", json!([700, "left"]), json!({ "node": "father", "status": "stopped", "config": config }));
    };
    restore(json!({ "protection": 1 }));

    let found = stage.json(0, &["orphans", "-H", "father"]);
    let orphan = &found["orphans"][0];
    assert_eq!(paths(&found), ["father/lost/left"], "{found:#}");
    assert_eq!(
        (&orphan["host"], &orphan["tree"], &orphan["vm_id"], &orphan["running"]),
        (&json!("father"), &json!("father/lost"), &json!(700), &json!(false))
    );
    let notes = found["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("another site")), "{found:#}");

    let changes = host.changes();
    let unasked = stage.json(1, &["orphans", "--destroy"]);
    assert_eq!(unasked["error"]["message"], "nothing was destroyed: nobody said yes", "{unasked:#}");
    assert_eq!(host.changes(), changes, "the end of the input means no");

    let kept = stage.json(1, &["orphans", "--destroy", "--yes"]);
    let error = &kept["orphans"][0]["error"];
    assert_eq!(kept["orphans"][0]["destroyed"], false);
    assert!(error["message"].as_str().unwrap().contains("protection mode"), "{kept:#}");
    let mut config = host.guest("left")["config"].clone();
    config["protection"] = json!(0);
    host.set_of(700, "config", config);
    host.set_of(700, "ha_state", json!("started"));
    let kept = stage.json(1, &["orphans", "--destroy", "--yes"]);
    assert!(kept["orphans"][0]["error"]["hint"].as_str().unwrap().contains("ha-manager remove vm:700"), "{kept:#}");
    host.set_of(700, "ha_state", Value::Null);

    let gone = stage.json(0, &["orphans", "--destroy", "--yes"]);
    assert_eq!(gone["orphans"][0]["destroyed"], true, "{gone:#}");
    let left: Vec<_> = host.guests().iter().map(|guest| guest["name"].clone()).collect();
    assert_eq!(left, ["theirs", "elsewhere", "edge"].map(Value::from), "and nothing else");
    assert_eq!(paths(&stage.json(0, &["orphans"])), Vec::<&str>::new());
}
