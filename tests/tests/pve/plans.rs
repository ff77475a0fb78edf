//! A plan against hosts as they are says what an apply then does.

use std::collections::BTreeMap;
use std::sync::Arc;

use homestak_tests::document::node;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

fn actions(document: &Value) -> BTreeMap<String, String> {
    let nodes = document["nodes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    nodes.map(|node| (text(&node["name"]), text(&node["action"]))).collect()
}

#[test]
fn a_plan_against_hosts_with_half_of_a_tree_says_exactly_what_the_apply_does() {
    if !fakepve::is_installed("a_plan_against_hosts_with_half_of_a_tree_says_exactly_what_the_apply_does") {
        return;
    }
    let stage = Stage::set("pve-half");
    let hosts: Vec<_> = ["father", "root-pve"].map(|node| Arc::new(FakePve::start(&stage, node, 0.0))).into();
    let _agent = HostAgent::join(&stage, &hosts[0], &[]);
    let _guests = Guests::keep(&stage, &hosts, &[]);
    let everything = actions(&stage.json(0, &["plan", "n2-mixed", "-H", "father"]));
    assert!(everything.values().all(|action| action == "created"), "{everything:?}");
    let built = stage.json(0, &["apply", "n2-mixed", "-H", "father"]);
    assert_eq!(actions(&built), everything);
    // Somebody removes one machine by hand, and stops another.
    let vmid = |name: &str| hosts[1].guest(name)["vmid"].as_u64().unwrap();
    hosts[1].call("drop_guest", json!([vmid("app")]), json!({}));
    hosts[1].set_of(vmid("edge"), "status", json!("stopped"));
    let changes: Vec<_> = hosts.iter().map(|host| host.changes()).collect();
    let plan = stage.json(0, &["plan", "n2-mixed", "-H", "father"]);
    let planned = actions(&plan);
    let wanted = [("app", "created"), ("edge", "unchanged"), ("root-pve", "unchanged")];
    assert_eq!(planned, wanted.map(|(name, action)| (name.to_owned(), action.to_owned())).into(), "{plan:#}");
    assert_eq!(plan["changes"], 1);
    assert!(node(&plan, "edge")["reason"].as_str().unwrap().contains("does not run"), "{plan:#}");
    assert_eq!(hosts.iter().map(|host| host.changes()).collect::<Vec<_>>(), changes, "a plan changes nothing");
    let applied = stage.json(0, &["apply", "n2-mixed", "-H", "father"]);
    assert_eq!(actions(&applied), planned, "{applied:#}");
    let made: Vec<String> = hosts[1].changes().into_iter().skip(changes[1].len()).collect();
    let creations = made.iter().filter(|line| line.starts_with("POST /nodes/root-pve/qemu ")).count();
    assert_eq!(creations, 1, "{made:#?}");
    let starts = made.iter().filter(|line| line.ends_with("/status/start")).count();
    assert_eq!(starts, 2, "the one that was made and the one that did not run: {made:#?}");
    assert!(hosts[0].changes() == changes[0], "nothing is done to the host of the host");
}
