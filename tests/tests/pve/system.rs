//! The seed's system tests ST-1, ST-2, ST-6 and ST-7: one level, both modes, side by side, and what is refused.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use homestak_agent::files::from_yaml;
use homestak_tests::curl::curl;
use homestak_tests::document::{all, each, node};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, injected};
use homestak_tests::stage::Stage;
use serde_json::{Value, json};

/// What a machine is once it is configured: its spec, its marker without the time, and what a simulated configuration records.
fn end_state(state: &Path) -> [Value; 3] {
    let read = |file: &str| fs::read_to_string(state.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let json = |file: &str| serde_json::from_str::<Value>(&read(file)).unwrap();
    let mut marker = json("config-complete.json");
    marker.as_object_mut().unwrap().remove("timestamp");
    [from_yaml(&read("spec.yaml")).unwrap_or_else(|error| panic!("{}", error.message)), marker, json("simulated.json")]
}

/// How often specs were asked for at an endpoint.
fn specs_asked(url: &str) -> u64 {
    let counted = curl(&format!("{url}/metrics"), None, &[]);
    let text = String::from_utf8(counted.body).unwrap();
    assert_eq!(counted.status, 200, "it is there to be asked: {text}");
    assert!(text.contains("homestak_http_requests_total"), "{text}");
    let counters = text.lines().filter(|line| line.starts_with("homestak_http_requests_total{route=\"spec\""));
    counters.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// ST-1 and ST-2: the same machine by pull, which asks its parent's endpoint, and by push, which asks nobody.
#[test]
fn a_machine_fetches_its_spec_or_is_given_it_and_comes_to_the_same() {
    if !fakepve::is_installed("a_machine_fetches_its_spec_or_is_given_it_and_comes_to_the_same") {
        return;
    }
    let stage = Stage::set("pve-st1");
    let host = Arc::new(FakePve::start(&stage, "father", 0.0));
    let agent = HostAgent::join(&stage, &host, &[]);
    let _guests = Guests::keep(&stage, &[Arc::clone(&host)], &[]);
    let port = fs::read_to_string(agent.state().join("port")).unwrap();
    let father = format!("https://127.0.0.1:{}", port.trim());
    let coordinator = stage.json(0, &["server", "status"])["url"].as_str().unwrap().to_owned();
    let asked = || [&father, &coordinator].map(|url| specs_asked(url));
    assert_eq!(asked(), [0, 0]);

    let pulled = stage.json(0, &["apply", "n1-pull", "-H", "father"]);
    let edge = node(&pulled, "edge");
    assert_eq!((&edge["status"], &edge["vm_id"]), (&json!("completed"), &json!(99950)), "{pulled:#}");
    assert!(edge["ip"].as_str().is_some_and(|ip| ip.starts_with("127.90.0.")), "{pulled:#}");
    assert_eq!(asked()[0], 1, "its parent was asked for it, once");
    let told = injected(&host.snippets, "edge");
    let token = told["HOMESTAK_TOKEN"].as_str();
    let claims = stage.json(0, &["token", "inspect", token, "--verify"]);
    assert_eq!(
        (&claims["signature"], &claims["node"], &claims["spec"]),
        (&json!("valid"), &json!("edge"), &json!("base")),
        "{claims:#}"
    );
    let by_pull = end_state(&Guests::state(&stage, &host, "edge"));
    let served = curl(&format!("{father}/spec/edge"), Some(token), &[]);
    assert_eq!((served.status, &served.json()), (200, &by_pull[0]), "it keeps what is served");
    let marker = &by_pull[1];
    assert_eq!((&marker["phase"], &marker["status"]), (&json!("config"), &json!("complete")), "{marker:#}");
    let wanted: Vec<&Value> = by_pull[0]["platform"]["packages"].as_array().unwrap().iter().collect();
    let installed = by_pull[2]["packages"].as_array().unwrap();
    assert!(!wanted.is_empty() && wanted.iter().all(|package| installed.contains(package)), "{by_pull:#?}");
    let others = stage.json(0, &["token", "mint", "other", "base"])["token"].as_str().unwrap().to_owned();
    assert_eq!(curl(&format!("{father}/spec/edge"), Some(&others), &[]).error(), (401, "E301".to_owned()));
    let keys = authorized(&Guests::state(&stage, &host, "edge").with_file_name("root"));
    assert!(!keys.is_empty(), "the keys of its spec are there");
    stage.json(0, &["destroy", "n1-pull", "-H", "father", "--yes"]);
    assert_eq!((host.guests(), host.snippet_files()), (Vec::new(), Vec::<String>::new()));

    let before = asked();
    all(&stage.json(0, &["apply", "n1-push", "-H", "father"]), "status", "completed");
    assert!(injected(&host.snippets, "edge").contains_key("HOMESTAK_TOKEN"), "for its enrolment");
    assert_eq!(asked(), before, "nobody is asked for what is pushed");
    let state = Guests::state(&stage, &host, "edge");
    assert_eq!(end_state(&state), by_pull, "both come to the same");
    assert_eq!(authorized(&state.with_file_name("root")), keys);
    stage.json(0, &["destroy", "n1-push", "-H", "father", "--yes"]);
    assert_eq!((host.guests(), host.snippet_files()), (Vec::new(), Vec::<String>::new()));
}

/// Every key that lets somebody in.
fn authorized(root: &Path) -> Vec<String> {
    let files = homestak_tests::machine::files_below(root);
    let keys = files.into_iter().filter(|file| file.file_name().is_some_and(|name| name == "authorized_keys"));
    let mut keys: Vec<String> = keys.map(|file| fs::read_to_string(file).unwrap()).collect();
    keys.sort();
    keys
}

/// ST-6: three machines on one host are made side by side; and one of them that fails, by each word of what is to come of it.
#[test]
fn machines_beside_each_other_are_made_at_the_same_time_and_one_that_fails_stops_undoes_or_leaves_the_others() {
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
    stage.json(0, &["destroy", "flat-3", "-H", "father", "--yes"]);

    host.set("task_secs", json!({}));
    let breaks = json!({ "status": 500, "message": "start failed: QEMU exited with code 1" });
    host.call("fail", json!(["POST", "/99102/status/start"]), breaks);
    let cases = [
        ("stop", ["completed", "failed", "skipped"]),
        ("rollback", ["rolled_back", "rolled_back", "skipped"]),
        ("continue", ["completed", "failed", "completed"]),
    ];
    for (word, due) in cases {
        // One after the other, so that something is still to be begun when it fails.
        let words = ["apply", "flat-3", "-H", "father", "--on-error", word, "--parallel", "1"];
        let failed = stage.json(1, &words);
        let due = ["worker-1", "worker-2", "worker-3"].into_iter().zip(due).collect();
        assert_eq!(each(&failed, "status"), due, "{word}: {failed:#}");
        let error = if word == "rollback" { &failed["error"] } else { &node(&failed, "worker-2")["error"] };
        assert!(error["message"].as_str().unwrap().contains("QEMU exited with code 1"), "{word}: {failed:#}");
        let runs = host.guests().into_iter().filter(|guest| guest["status"] == "running");
        let runs: Vec<_> = runs.map(|guest| guest["name"].as_str().unwrap().to_owned()).collect();
        match word {
            "stop" => assert_eq!(runs, ["worker-1"]),
            "rollback" => assert_eq!((host.guests(), host.snippet_files()), (Vec::new(), Vec::<String>::new())),
            _ => assert_eq!(runs, ["worker-1", "worker-3"]),
        }
        stage.json(0, &["destroy", "flat-3", "-H", "father", "--yes"]);
        assert_eq!(host.guests(), Vec::<Value>::new(), "{word}");
    }
}

/// What is wrong with a manifest: its nodes, and the class, the node and the field that are told.
const BAD: [(&str, &str, &str, &str); 8] = [
    ("{name: edge, type: vm, preset: vm-small, image: 7}", "E619", "edge", "image"),
    ("{name: edge, type: vm, preset: nothing, image: debian-12}", "E630", "edge", "preset"),
    ("{name: edge, type: vm, spec: nowhere, preset: vm-small, image: debian-12}", "E631", "edge", "spec"),
    ("{name: edge, type: vm, preset: vm-small, image: debian-12, parent: zzz}", "E624", "edge", "parent"),
    ("{name: edge, type: vm, preset: vm-small, image: debian-12, vmid: 99}", "E621", "edge", "vmid"),
    ("{name: edge, type: docker, preset: vm-small}", "E618", "edge", "type"),
    ("{name: edge, type: vm, preset: vm-small, image: debian-12, presett: x}", "E617", "edge", "presett"),
    ("{name: edge, type: vm, preset: vm-small}", "E627", "edge", "image"),
];

/// ST-7: what is wrong with a manifest is said by its class, with node and field, and without a host being asked.
#[test]
fn what_is_wrong_with_a_manifest_is_told_with_node_and_field_and_no_host_is_asked() {
    if !fakepve::is_installed("what_is_wrong_with_a_manifest_is_told_with_node_and_field_and_no_host_is_asked") {
        return;
    }
    let stage = Stage::set("pve-st7");
    let host = FakePve::start(&stage, "father", 0.0);
    let _agent = HostAgent::join(&stage, &host, &[]);
    let asked = host.requests().len();
    for (nodes, class, name, field) in BAD {
        let text = format!("schema_version: 2\nname: bad\npattern: flat\nnodes:\n  - {nodes}\n");
        let file = stage.file("bad.yaml", text).display().to_string();
        let told = stage.json(3, &["validate", &file]);
        let error = &told["manifests"][0]["errors"][0];
        assert_eq!(error["code"], class, "{nodes}: {told:#}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(name) && message.contains(field), "{nodes}: {message}");
        assert!(error["line"] == 5 && error["hint"].is_string(), "{nodes}: {error:#}");
        stage.json(3, &["apply", &file, "-H", "father"]);
    }
    for good in ["n1-push", "n1-pull", "n2-push", "n2-tiered", "n2-mixed", "n3-deep", "flat-3"] {
        stage.json(0, &["validate", good]);
    }
    assert_eq!(host.requests().len(), asked, "nobody was asked");
}
