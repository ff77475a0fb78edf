//! What is told of a machine whose agent does not join: which layer it waits for, for how long, and what to do about it.

use std::time::Duration;

use homestak_tests::document::node;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::HostAgent;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::{Value, json};

/// What the tree's only node waits for, once that is this layer and says this.
fn waits(stage: &Stage, layer: &str, says: &str) -> Value {
    wait::within(Duration::from_secs(90), &format!("it waits for {layer}: {says}"), || {
        let status = stage.json(0, &["status", "n1-push", "-H", "father"]);
        let edge = node(&status, "edge");
        let waiting = &edge["waiting"];
        let said = waiting["text"].as_str().is_some_and(|text| text.contains(says));
        (waiting["layer"] == layer && said).then(|| edge.clone())
    })
}

#[test]
fn a_machine_that_never_joins_says_which_layer_it_waits_for_and_what_to_do() {
    if !fakepve::is_installed("a_machine_that_never_joins_says_which_layer_it_waits_for_and_what_to_do") {
        return;
    }
    let mut stage = Stage::set("pve-waiting");
    stage.env("HOMESTAK_LIMITS", "boot=60s");
    let host = FakePve::start(&stage, "father", 1.0);
    host.set("task_secs", json!({ "qmcreate": 8.0 }));
    let _agent = HostAgent::join(&stage, &host, &[]);
    stage.json(0, &["apply", "n1-push", "-H", "father", "--detach"]);

    let task = waits(&stage, "provision", "PVE task qmcreate");
    assert!(task["waiting"]["seconds"].as_f64().unwrap() >= 1.0, "{task:#}");

    let boot = waits(&stage, "boot", "guest agent does not answer");
    assert!(boot["waiting"]["since"].as_str().unwrap().ends_with('Z'), "{boot:#}");
    let table = stage.coord(&["status", "n1-push", "-H", "father"]).exits(0).stdout;
    assert!(table.contains("edge waits for boot"), "{table}");

    let vmid = host.guest("edge")["vmid"].as_u64().unwrap();
    host.set_of(vmid, "agent", json!({ "interfaces": [] }));
    let no_address = waits(&stage, "cloud-init", "no address");
    assert_eq!(no_address["ip"], Value::Null);
    let card = json!([{ "name": "eth0", "ip-addresses": [{ "ip-address": "192.0.2.77", "ip-address-type": "ipv4" }] }]);
    host.set_of(vmid, "agent", json!({ "interfaces": card }));
    let addressed = waits(&stage, "cloud-init", "192.0.2.77");
    assert_eq!(addressed["ip"], "192.0.2.77", "its address is known before its agent joins");
    waits(&stage, "joining", "no packet from there has reached UDP port");

    let edge = wait::within(Duration::from_secs(90), "it fails", || {
        let status = stage.json(0, &["status", "n1-push", "-H", "father"]);
        let edge = node(&status, "edge");
        (edge["status"] == "failed").then(|| edge.clone())
    });
    assert_eq!(edge["waiting"], Value::Null, "{edge:#}");
    let (message, hint) = (edge["error"]["message"].as_str().unwrap(), edge["error"]["hint"].as_str().unwrap());
    assert!(message.contains("joining: ") && message.contains("no packet from there"), "{message}");
    assert!(["VLAN", "firewall", "UDP port"].iter().all(|word| hint.contains(word)), "{hint}");
}

#[test]
fn a_guest_that_does_not_run_any_more_is_told_as_such() {
    if !fakepve::is_installed("a_guest_that_does_not_run_any_more_is_told_as_such") {
        return;
    }
    let stage = Stage::set("pve-waiting-off");
    let host = FakePve::start(&stage, "father", 0.0);
    let _agent = HostAgent::join(&stage, &host, &[]);
    let run = stage.json(0, &["apply", "n1-push", "-H", "father", "--detach"]);
    waits(&stage, "boot", "guest agent does not answer");
    let vmid = host.guest("edge")["vmid"].as_u64().unwrap();
    host.set_of(vmid, "status", json!("stopped"));
    waits(&stage, "boot", "is stopped");
    stage.json(0, &["cancel", run["run"].as_str().unwrap()]);
    wait::until("nothing is waited for any more", || {
        let status = stage.json(0, &["status", "n1-push", "-H", "father"]);
        (node(&status, "edge")["waiting"] == Value::Null).then_some(())
    });
}
