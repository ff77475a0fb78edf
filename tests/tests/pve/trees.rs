//! Whole trees, one fake host for each PVE host.

use std::fs;
use std::sync::Arc;

use homestak_protocol::ids::SiteId;
use homestak_protocol::order::NodeKind;
use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, described, injected, pct_stand_in};
use homestak_tests::manifest::Manifest;
use homestak_tests::stage::Stage;
use serde_json::json;

use crate::catalogue::is_told_its_parent;
use crate::provider::{Driver, identity, machine};

#[test]
fn a_machine_is_made_found_again_and_destroyed_without_a_trace() {
    if !fakepve::is_installed("a_machine_is_made_found_again_and_destroyed_without_a_trace") {
        return;
    }
    let stage = Stage::set("pve-one");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let before = host.state()["volumes"].clone();

    let built = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    let edge = node(&built, "edge");
    assert_eq!((&edge["status"], &edge["action"]), (&json!("completed"), &json!("created")));
    let guest = host.guest("edge");
    assert_eq!(guest["vmid"], edge["vm_id"]);
    let config = &guest["config"];
    let facts = described(config["description"].as_str().unwrap());
    assert_eq!((facts["homestak"].as_str(), facts["host"].as_str()), ("father/n1-push/edge", "father"));
    let tag = config["tags"].as_str().unwrap();
    assert!(tag.starts_with("homestak-") && tag.len() == "homestak-".len() + 12, "{tag}");
    assert_eq!(
        (&config["cpu"], &config["serial0"], &config["boot"]),
        (&json!("host"), &json!("socket"), &json!("order=virtio0"))
    );
    assert_eq!((&config["agent"], &config["onboot"]), (&json!("enabled=1"), &json!(1)), "{config}");
    let creation = host.changes().into_iter().find(|line| line.starts_with("POST /nodes/father/qemu ")).unwrap();
    assert!(creation.contains("&ide2=local-lvm%3Acloudinit&"), "{creation}");
    assert!(config["ide2"].as_str().unwrap().contains("media=cdrom"), "{config}");
    let disk = config["virtio0"].as_str().unwrap();
    assert!(["discard=on", "iothread=1"].iter().all(|part| disk.contains(part)), "{disk}");
    assert!(config["net0"].as_str().unwrap().starts_with("virtio=BC:24:11:"), "{config}");
    assert_eq!(host.snippet_files(), ["edge-meta.yaml", "edge-network.yaml", "edge-user.yaml"]);
    let told = injected(&host.snippets, "edge");
    assert!(told.contains_key("HOMESTAK_TOKEN") && !told.contains_key("HOMESTAK_PROVIDER"));
    is_told_its_parent(&host, "edge", &agent.state());
    assert_eq!(host.state()["paths"], json!([]), "a disk comes by a volume's id");

    let changes = host.changes();
    let again = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    assert_eq!(node(&again, "edge")["action"], "unchanged");
    assert_eq!(host.changes(), changes, "nothing is changed where nothing is to be done");
    assert_eq!(host.guest("edge"), guest);

    let gone = stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    all(&gone, "status", "destroyed");
    let removal = host.changes().into_iter().find(|line| line.starts_with("DELETE ")).unwrap();
    assert!(removal.contains("?purge=1&destroy-unreferenced-disks=1"), "{removal}");
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
    assert_eq!((host.state()["volumes"].clone(), host.snippet_files()), (before, Vec::<String>::new()));
    let changes = host.changes();
    stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    assert_eq!(host.changes(), changes, "what is gone is not destroyed again");
}

#[test]
fn a_task_that_takes_longer_than_its_phase_fails_the_node_and_the_next_apply_goes_on_with_what_it_made() {
    if !fakepve::is_installed("a_task_that_takes_longer_than_its_phase_fails_the_node_and_the_next_apply_goes_on") {
        return;
    }
    let mut stage = Stage::set("pve-hanging");
    stage.env("HOMESTAK_LIMITS", "provision=6s");
    let host = Arc::new(FakePve::start(&stage, "father", 1.0));
    host.set("task_secs", json!({ "qmcreate": 10.0 }));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let failed = stage.json(1, &["apply", "n1-push", "-H", "father"]);
    let error = &node(&failed, "edge")["error"];
    assert_eq!(error["code"], "E710", "{failed:#}");
    assert!(error["message"].as_str().unwrap().contains("within 6 s"), "{failed:#}");
    let built = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    assert_eq!(node(&built, "edge")["status"], "completed", "{built:#}");
    let creations = |change: &&String| {
        let mut words = change.split_whitespace();
        words.next() == Some("POST") && words.next().is_some_and(|path| path.ends_with("/qemu"))
    };
    let changes = host.changes();
    assert_eq!((changes.iter().filter(creations).count(), host.guests().len()), (1, 1), "{changes:#?}");
    stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
}

/// Nothing is left of any tree. What was inside a host went with it, as its disk does.
pub(crate) fn is_empty(hosts: &[Arc<FakePve>]) {
    for host in hosts {
        assert_eq!(host.guests(), Vec::<serde_json::Value>::new(), "{}", host.node);
        assert_eq!(host.snippet_files(), Vec::<String>::new(), "{}", host.node);
    }
}

#[test]
fn what_another_tree_or_somebody_else_has_is_not_touched() {
    if !fakepve::is_installed("what_another_tree_or_somebody_else_has_is_not_touched") {
        return;
    }
    let stage = Stage::set("pve-conflict");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    host.call("add_vm", json!([99011, "theirs"]), json!({ "node": "father", "status": "running" }));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let theirs = host.guest("theirs");
    let changes = host.changes();
    let refused = stage.json(1, &["apply", "n2-tiered", "-H", "father"]);
    let error = &node(&refused, "root-pve")["error"];
    assert_eq!(error["code"], "E703", "{refused:#}");
    assert!(error["message"].as_str().unwrap().contains("theirs"), "{error}");
    assert_eq!((host.guest("theirs"), host.changes()), (theirs, changes));

    // One site: the coordinator knows both trees.
    let first = Manifest::new("first", 99021).vm("one", None);
    let second = Manifest::new("second", 99021).vm("other", None);
    let [first, second] = [("first", first), ("second", second)]
        .map(|(name, manifest)| stage.file(&format!("{name}.yaml"), manifest.text()).display().to_string());
    stage.json(0, &["apply", &first, "-H", "father"]);
    let changes = host.changes();
    let refused = stage.json(3, &["apply", &second, "-H", "father"]);
    assert!(refused["error"]["message"].as_str().unwrap().contains("father/first/one"), "{refused:#}");
    assert_eq!(host.changes(), changes, "nothing is touched");
}

/// Two sites, each with a coordinator and an agent of its own, on one host: each sees the other's guests, and whose they are.
#[tokio::test]
async fn the_second_of_two_trees_that_own_one_id_or_name_is_refused_with_the_firsts_name() {
    if !fakepve::is_installed("the_second_of_two_trees_that_own_one_id_or_name_is_refused_with_the_firsts_name") {
        return;
    }
    let stage = Stage::set("pve-two-sites");
    let host = FakePve::start(&stage, "father", 0.0);
    let [ours, theirs] = ["ours", "theirs"].map(|name| Driver::open(&host, &stage.folder().join(name)));
    let first = machine("root-pve", NodeKind::Pve, Some(99011));
    theirs.ensure(first.clone()).await.unwrap();
    let (guests, changes) = (host.guests(), host.changes());
    let mut other = machine("other", NodeKind::Pve, Some(99011));
    let mut namesake = machine("root-pve", NodeKind::Pve, None);
    other.tree.site = SiteId::from_bits(2);
    namesake.tree.site = SiteId::from_bits(2);
    for (ask, what) in [(other, "the vmid 99011"), (namesake, "the name root-pve")] {
        let refused = ours.ensure(ask.clone()).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.retryable), ("E703", false));
        assert!(
            refused.message.contains(what) && refused.message.contains("father/m/root-pve of the tree"),
            "{refused}"
        );
        // It is not ours to destroy either.
        ours.destroy(identity(&ask)).await.unwrap();
    }
    assert_eq!((host.guests(), host.changes()), (guests, changes), "nothing is touched");
    theirs.destroy(identity(&first)).await.unwrap();
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_guest_under_protection_or_ha_is_left_alone_with_a_word_on_what_to_do() {
    if !fakepve::is_installed("a_guest_under_protection_or_ha_is_left_alone_with_a_word_on_what_to_do") {
        return;
    }
    let stage = Stage::set("pve-protected");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    stage.json(0, &["apply", "n1-push", "-H", "father"]);
    let vmid = host.guest("edge")["vmid"].as_u64().unwrap();
    host.set_of(vmid, "ha_state", json!("started"));
    let refused = stage.json(1, &["destroy", "n1-push", "-H", "father", "--yes"]);
    let error = &node(&refused, "edge")["error"];
    assert!(error["hint"].as_str().unwrap().contains("ha-manager remove vm:"), "{error}");
    assert_eq!(host.guest("edge")["status"], "running", "it is not even stopped");
    host.set_of(vmid, "ha_state", serde_json::Value::Null);
    let changes = host.changes();
    let mut config = host.guest("edge")["config"].clone();
    config["protection"] = json!(1);
    host.set_of(vmid, "config", config.clone());
    let refused = stage.json(1, &["destroy", "n1-push", "-H", "father", "--yes"]);
    let error = &node(&refused, "edge")["error"];
    assert!(error["message"].as_str().unwrap().contains("protection mode"), "{error}");
    assert!(error["hint"].as_str().unwrap().contains(&format!("`qm set {vmid} --protection 0`")), "{error}");
    assert_eq!((&host.guest("edge")["status"], host.changes()), (&json!("running"), changes), "it is not even stopped");
    config["protection"] = json!(0);
    host.set_of(vmid, "config", config);
    stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    is_empty(&[host]);
}

#[test]
fn a_container_is_made_from_the_newest_debian_and_has_its_agent_before_it_starts() {
    if !fakepve::is_installed("a_container_is_made_from_the_newest_debian_and_has_its_agent_before_it_starts") {
        return;
    }
    let stage = Stage::set("pve-container");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let path = pct_stand_in(&stage);
    let _agent = HostAgent::join(&stage, &host, &[("PATH", &path)]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let nodes = "nodes:\n  - {name: box, type: ct, spec: base, preset: vm-xsmall, vmid: 30000}\n";
    let text = format!("schema_version: 2\nname: boxes\npattern: flat\n{nodes}");
    let file = stage.file("boxes.yaml", text).display().to_string();
    let built = stage.json(0, &["apply", &file, "-H", "father"]);
    all(&built, "action", "created");
    let config = host.guest("box")["config"].clone();
    assert_eq!((&config["unprivileged"], &config["features"]), (&json!(1), &json!("nesting=1")));
    assert!(config["tags"].as_str().unwrap().starts_with("homestak-"), "{config}");
    assert!(config["net0"].as_str().unwrap().contains("hwaddr=BC:24:11:"), "{config}");
    let made = host.changes().into_iter().find(|line| line.starts_with("POST /nodes/father/lxc vmid")).unwrap();
    assert!(made.contains("debian-12-standard_12.7-1"), "the newest: {made}");
    let root = stage.folder().join("containers/30000");
    assert!(root.join("usr/local/bin/homestak-agent").exists());
    let mounts = fs::read_to_string(stage.folder().join("pct/log")).unwrap();
    assert_eq!(mounts, "mount 30000\nunmount 30000\n");
    let again = stage.json(0, &["apply", &file, "-H", "father"]);
    all(&again, "action", "unchanged");
    stage.json(0, &["destroy", "boxes", "-H", "father", "--yes"]);
    is_empty(&[host]);
}
