//! What is told of a machine whose agent does not join: which layer it waits for, for how long, and what to do about it.

use std::time::Duration;

use homestak_agent::provider::Provider as _;
use homestak_protocol::order::NodeKind;
use homestak_tests::document::node;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::HostAgent;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::time::timeout;

use crate::provider::{Driver, identity, machine, task};

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
    host.set(
        "task_lines",
        json!({ "qmcreate": ["create full clone of drive", "transferred 1.0 GiB of 2.0 GiB (50.00%)"] }),
    );
    let _agent = HostAgent::join(&stage, &host, &[]);
    stage.json(0, &["apply", "n1-push", "-H", "father", "--detach"]);

    let task = waits(&stage, "provision", "PVE task qmcreate");
    assert!(task["waiting"]["seconds"].as_f64().unwrap() >= 1.0, "{task:#}");

    let line = waits(&stage, "provision", "transferred 1.0 GiB of 2.0 GiB (50.00%)");
    assert!(line["waiting"]["text"].as_str().unwrap().contains("PVE task qmcreate"), "{line:#}");

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

#[tokio::test]
async fn what_a_machine_complains_of_on_its_console_is_told_while_it_is_waited_for() {
    if !fakepve::is_installed("what_a_machine_complains_of_on_its_console_is_told_while_it_is_waited_for") {
        return;
    }
    let stage = Stage::set("pve-console");
    let host = FakePve::start(&stage, "father", 0.0);
    let folder = stage.folder().join("state");
    let driver = Driver::open(&host, &folder);
    let ask = machine("edge", NodeKind::Vm, Some(600));
    driver.ensure(ask.clone()).await.unwrap();
    let look = async || driver.pve.sight(identity(&ask), task()).await.unwrap().unwrap();
    assert_eq!(look().await.complaint, None, "a machine without a console complains of nothing");
    std::fs::create_dir_all(folder.join("consoles")).unwrap();
    let console = UnixListener::bind(folder.join("consoles/600.serial0")).unwrap();
    let listening = async {
        let (mut socket, _) = console.accept().await.unwrap();
        socket.write_all(b"[    1.2] Kernel panic - not syncing: no init found\r\n").await.unwrap();
        socket
    };
    let told = async {
        loop {
            if let Some(complaint) = look().await.complaint {
                break complaint;
            }
            tokio::task::yield_now().await;
        }
    };
    let (_socket, told) = timeout(Duration::from_secs(30), async { tokio::join!(listening, told) }).await.unwrap();
    assert_eq!(told, "its console says `Kernel panic - not syncing: no init found`");
    host.set_of(600, "status", json!("stopped"));
    assert_eq!(look().await.complaint, None, "what does not run says nothing");
}
