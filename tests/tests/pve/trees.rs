//! Whole trees, one fake host for each PVE host.

use std::sync::Arc;

use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, described, injected};
use homestak_tests::stage::Stage;
use serde_json::json;

#[test]
fn a_machine_is_made_found_again_and_destroyed_without_a_trace() {
    if !fakepve::is_installed("a_machine_is_made_found_again_and_destroyed_without_a_trace") {
        return;
    }
    let stage = Stage::set("pve-one");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let _agent = HostAgent::join(&stage, &host, &[]);
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
    let disk = config["virtio0"].as_str().unwrap();
    assert!(["discard=on", "iothread=1"].iter().all(|part| disk.contains(part)), "{disk}");
    assert!(config["net0"].as_str().unwrap().starts_with("virtio=BC:24:11:"), "{config}");
    assert_eq!(host.snippet_files(), ["edge-meta.yaml", "edge-network.yaml", "edge-user.yaml"]);
    let told = injected(&host.snippets, "edge");
    assert!(told.contains_key("HOMESTAK_TOKEN") && !told.contains_key("HOMESTAK_PROVIDER"));
    assert_eq!(host.state()["paths"], json!([]), "a disk comes by a volume's id");

    let changes = host.changes();
    let again = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    assert_eq!(node(&again, "edge")["action"], "unchanged");
    assert_eq!(host.changes(), changes, "nothing is changed where nothing is to be done");
    assert_eq!(host.guest("edge"), guest);

    let gone = stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    all(&gone, "status", "destroyed");
    assert_eq!(host.guests(), Vec::<serde_json::Value>::new());
    assert_eq!((host.state()["volumes"].clone(), host.snippet_files()), (before, Vec::<String>::new()));
    let changes = host.changes();
    stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    assert_eq!(host.changes(), changes, "what is gone is not destroyed again");
}
