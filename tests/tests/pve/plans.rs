//! A plan against hosts as they are says what an apply then does; and the seed's system tests that are about what is asked of
//! whom (ST-2, ST-6, ST-7).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use homestak_tests::curl::curl;
use homestak_tests::document::{all, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, injected};
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

/// ST-2: a pushed spec comes over the link. The machine has a token, for its enrolment, and no endpoint is asked by it.
#[test]
fn a_machine_that_is_pushed_its_spec_asks_no_endpoint_for_it() {
    if !fakepve::is_installed("a_machine_that_is_pushed_its_spec_asks_no_endpoint_for_it") {
        return;
    }
    let stage = Stage::set("pve-st2");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let built = stage.json(0, &["apply", "n1-push", "-H", "father"]);
    all(&built, "status", "completed");
    let told = injected(&host.snippets, "edge");
    assert!(told.contains_key("HOMESTAK_TOKEN"), "{told:?}");
    let port = std::fs::read_to_string(agent.state().join("port")).unwrap().trim().to_owned();
    let coordinator = stage.json(0, &["server", "status"])["port"].as_u64().unwrap();
    for (whose, port) in [("the host's", port), ("the coordinator's", coordinator.to_string())] {
        let health = curl(&format!("https://127.0.0.1:{port}/health"), None, &[]);
        assert_eq!(health.status, 200, "{whose} endpoint is there to be asked");
        let counted = curl(&format!("https://127.0.0.1:{port}/metrics"), None, &[]);
        let text = String::from_utf8(counted.body).unwrap();
        let asked: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("homestak_http_requests_total") && line.contains("spec"))
            .filter(|line| !line.ends_with(" 0"))
            .collect();
        assert!(asked.is_empty(), "{whose} endpoint was asked: {asked:?}");
        assert!(counted.status != 200 || text.contains("homestak_http_requests_total"), "{text}");
    }
}

/// ST-6: three machines on one host are made side by side.
#[test]
fn machines_beside_each_other_are_made_at_the_same_time() {
    if !fakepve::is_installed("machines_beside_each_other_are_made_at_the_same_time") {
        return;
    }
    let stage = Stage::set("pve-st6");
    let host = Arc::new(FakePve::start(&stage, "father", 1.0));
    host.set("task_secs", json!({ "qmcreate": 2.0 }));
    let _agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let begun = Instant::now();
    let built = stage.json(0, &["apply", "flat-3", "-H", "father"]);
    all(&built, "status", "completed");
    assert_eq!(host.guests().len(), 3);
    assert_eq!(host.state()["at_once"]["qmcreate"], 3, "after {:?}", begun.elapsed());
}

/// ST-7: what is wrong with a manifest is said without a host being asked.
#[test]
fn validating_asks_no_host() {
    if !fakepve::is_installed("validating_asks_no_host") {
        return;
    }
    let stage = Stage::set("pve-st7");
    let host = FakePve::start(&stage, "father", 0.0);
    let _agent = HostAgent::join(&stage, &host, &[]);
    let asked = host.requests().len();
    let bad = "schema_version: 2\nname: bad\npattern: flat\nnodes:\n  - {name: edge, type: vm, preset: vm-small}\n";
    let file = stage.file("bad.yaml", bad).display().to_string();
    let told = stage.json(3, &["validate", &file]);
    assert!(told["manifests"][0]["errors"][0]["message"].as_str().unwrap().contains("edge"), "{told:#}");
    stage.json(3, &["apply", &file, "-H", "father"]);
    stage.json(0, &["validate", "n3-deep"]);
    assert_eq!(host.requests().len(), asked, "nobody was asked");
}
