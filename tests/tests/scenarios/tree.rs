//! A tree on one machine: what it takes, what it prints, and that nothing remains.

use homestak_tests::document::{all, each, is_contiguous, keys, node, nodes};
use homestak_tests::machine::Machine;
use homestak_tests::manifest::Manifest;
use homestak_tests::process::Process;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

/// What must not change when nothing is to be done.
fn lives(machines: &[Machine]) -> Vec<(String, String, u64, String, Option<i32>)> {
    let life = |m: &Machine| (m.path.clone(), m.incarnation.clone(), m.vmid, m.ip.to_string(), m.pid);
    machines.iter().map(life).collect()
}

#[test]
fn a_tree_is_built_from_nothing_shown_kept_and_destroyed_without_a_trace() {
    let stage = Stage::set("tiered");
    let built = stage.json(0, &["apply", "n2-tiered"]);

    let document =
        ["verb", "manifest", "host", "run", "success", "duration_seconds", "nodes", "context", "report", "error"];
    assert_eq!(keys(&built), document.into());
    assert_eq!(built["verb"], "apply");
    assert_eq!((&built["manifest"], &built["host"]), (&json!("n2-tiered"), &json!("local")));
    assert_eq!((&built["success"], &built["report"], &built["error"]), (&json!(true), &Value::Null, &Value::Null));
    assert!(built["duration_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let names: Vec<_> = nodes(&built).iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["root-pve", "edge"], "parents come before children");
    let (host, edge) = (node(&built, "root-pve"), node(&built, "edge"));
    let of_node = [
        "name",
        "path",
        "type",
        "parent",
        "depth",
        "status",
        "action",
        "vm_id",
        "ip",
        "duration",
        "error",
        "simulated",
        "phases",
    ];
    for node in [host, edge] {
        assert_eq!(keys(node), of_node.into());
        assert_eq!((&node["status"], &node["action"]), (&json!("completed"), &json!("created")));
        assert_eq!((&node["error"], &node["simulated"]), (&Value::Null, &json!(true)));
        assert!(node["ip"].as_str().is_some_and(|ip| ip.starts_with("127.")));
        assert!(node["duration"].as_f64().is_some_and(|seconds| seconds > 0.0));
        for phase in node["phases"].as_array().unwrap() {
            assert!(keys(phase).is_superset(&["name", "status", "duration"].into()), "{phase}");
            assert_ne!(phase["status"], "running", "{node:#}");
        }
    }
    let phases = |node: &Value| -> Vec<String> {
        node["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(phases(host), ["provision", "boot", "enrol", "host", "configure", "forward"]);
    assert_eq!(phases(edge), ["provision", "boot", "enrol", "configure"]);
    assert_eq!((&host["path"], &host["parent"]), (&json!("local/n2-tiered/root-pve"), &Value::Null));
    assert_eq!((&edge["path"], &edge["parent"]), (&json!("local/n2-tiered/root-pve/edge"), &json!("root-pve")));
    assert_eq!((&host["type"], &host["depth"], &host["vm_id"]), (&json!("pve"), &json!(0), &json!(99011)));
    assert_eq!((&edge["type"], &edge["depth"], &edge["vm_id"]), (&json!("vm"), &json!(1), &json!(99021)));
    let context = json!({
        "root-pve_vm_id": 99011, "root-pve_ip": host["ip"], "edge_vm_id": 99021, "edge_ip": edge["ip"],
    });
    assert_eq!(built["context"], context);

    let machines = stage.machines();
    let places: Vec<_> = machines.iter().map(|machine| machine.path.as_str()).collect();
    assert_eq!(places, ["local/n2-tiered/root-pve", "local/n2-tiered/root-pve/edge"]);
    for machine in &machines {
        assert!(machine.process().is_some(), "{machine:#?}");
        let reported = node(&built, &machine.path);
        assert_eq!((&reported["vm_id"], &reported["ip"]), (&json!(machine.vmid), &json!(machine.ip.to_string())));
    }

    let status = stage.json(0, &["status", "n2-tiered"]);
    all(&status, "status", "completed");
    for node in nodes(&status) {
        assert_eq!(node["connected"], true, "{node}");
        assert!(node["last_seen"].is_string(), "{node}");
    }
    let agents = stage.json(0, &["agents"]);
    let agents = agents["agents"].as_array().unwrap();
    let paths: Vec<_> = agents.iter().map(|agent| agent["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["local", "local/n2-tiered/root-pve", "local/n2-tiered/root-pve/edge"]);
    for agent in agents {
        let promised = ["path", "version", "protocol", "address", "connected", "since", "facts"];
        assert!(keys(agent).is_superset(&promised.into()), "{agent:#}");
        assert_eq!(agent["connected"], true);
        let facts = ["cpu", "memory", "disk", "load", "kernel", "os"];
        assert!(keys(&agent["facts"]).is_superset(&facts.into()), "{agent:#}");
    }

    let run = built["run"].as_str().unwrap();
    let runs = stage.json(0, &["runs"]);
    assert_eq!((&runs["runs"][0]["run"], &runs["runs"][0]["state"]), (&json!(run), &json!("succeeded")));
    let logs = stage.json(0, &["logs", run]);
    assert!(logs["lines"].as_array().is_some_and(|lines| lines.len() > 10), "{logs:#}");
    let of_edge = stage.json(0, &["logs", run, "--node", "edge"]);
    let only_edge = of_edge["lines"].as_array().unwrap();
    assert!(!only_edge.is_empty() && only_edge.iter().all(|line| line["path"] == edge["path"]), "{of_edge:#}");

    let again = stage.json(0, &["apply", "n2-tiered"]);
    all(&again, "status", "completed");
    all(&again, "action", "unchanged");
    assert_eq!(again["context"], built["context"]);
    assert_eq!(lives(&stage.machines()), lives(&machines), "a second apply touches nothing");

    let gone = stage.json(0, &["destroy", "n2-tiered", "--yes"]);
    all(&gone, "status", "destroyed");
    all(&gone, "action", "destroyed");
    assert_eq!((&gone["verb"], &gone["success"]), (&json!("destroy"), &json!(true)));
    assert_eq!(stage.machines(), []);
    assert!(machines.iter().all(|machine| machine.process().is_none()));
    let twice = stage.json(0, &["destroy", "n2-tiered", "--yes"]);
    assert_eq!((&twice["success"], nodes(&twice).len()), (&json!(true), 0));
    is_contiguous(&stage);
    stage.is_empty_soon();
    let left = homestak_tests::machine::files_below(&stage.state());
    let is_ours = |file: &&std::path::PathBuf| {
        file.extension().is_some_and(|kind| kind == "sock") || file.parent().is_some_and(|f| f.ends_with("machines"))
    };
    assert_eq!(left.iter().filter(is_ours).count(), 0, "{left:#?}");
}

#[test]
fn every_tree_of_the_catalogue_is_built_and_destroyed() {
    let stage = Stage::set("catalogue");
    let trees: [(&str, &[&str]); 6] = [
        ("n3-deep", &["root-pve", "root-pve/leaf-pve", "root-pve/leaf-pve/edge"]),
        ("flat-3", &["worker-1", "worker-2", "worker-3"]),
        ("n2-mixed", &["root-pve", "root-pve/app", "root-pve/edge"]),
        ("n2-push", &["root-pve", "root-pve/edge"]),
        ("n1-push", &["edge"]),
        ("n1-pull", &["edge"]),
    ];
    for (manifest, places) in trees {
        let built = stage.json(0, &["apply", manifest]);
        all(&built, "status", "completed");
        all(&built, "action", "created");
        let found: Vec<_> = stage.machines().into_iter().map(|machine| machine.path).collect();
        let due: Vec<_> = places.iter().map(|place| format!("local/{manifest}/{place}")).collect();
        assert_eq!(found, due);
        all(&stage.json(0, &["apply", manifest]), "action", "unchanged");
        all(&stage.json(0, &["destroy", manifest, "--yes"]), "status", "destroyed");
        assert_eq!(stage.machines(), []);
    }
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn a_manifest_of_ones_own_with_three_levels_and_twenty_nodes_is_built_and_destroyed() {
    let stage = Stage::set("twenty");
    let file = stage.file("twenty.yaml", Manifest::twenty("twenty").text());
    let file = file.to_str().unwrap();
    let built = stage.json(0, &["apply", file]);
    assert_eq!(nodes(&built).len(), 20);
    all(&built, "status", "completed");
    let depths: Vec<_> = nodes(&built).iter().map(|node| node["depth"].as_u64().unwrap()).collect();
    assert!(depths.is_sorted() && depths.last() == Some(&2), "breadth first: {depths:?}");
    assert_eq!(stage.machines().len(), 20);
    let ips: std::collections::BTreeSet<_> = stage.machines().into_iter().map(|machine| machine.ip).collect();
    assert_eq!(ips.len(), 20, "each machine has an address of its own");
    all(&stage.json(0, &["apply", file]), "action", "unchanged");
    all(&stage.json(0, &["destroy", "twenty", "--yes"]), "status", "destroyed");
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn two_trees_with_a_node_of_one_name_never_touch_each_other() {
    let stage = Stage::set("namesakes");
    stage.json(0, &["apply", "n1-push"]);
    stage.json(0, &["apply", "n1-pull"]);
    let pull = stage.machine("local/n1-pull/edge");
    let push = stage.machine("local/n1-push/edge");
    assert_ne!((push.ip, push.vmid), (pull.ip, pull.vmid));
    stage.json(0, &["destroy", "n1-push", "--yes"]);
    assert_eq!(lives(&stage.machines()), lives(std::slice::from_ref(&pull)));
    all(&stage.json(0, &["apply", "n1-pull"]), "action", "unchanged");
    assert_eq!(lives(&stage.machines()), lives(&[pull]));
    stage.strike();
}

#[test]
fn a_vmid_of_another_tree_is_a_conflict_that_names_it_and_touches_nothing() {
    let stage = Stage::set("conflict");
    stage.json(0, &["apply", "n2-tiered"]);
    let before = lives(&stage.machines());
    let refused = stage.coord(&["apply", "n2-push", "--json"]).exits(3);
    let document = refused.json();
    let error = document["error"].to_string();
    assert!(error.contains("n2-tiered") && error.contains("99011"), "{document:#}");
    assert_eq!(document["success"], false);
    assert_eq!(lives(&stage.machines()), before);
    all(&stage.json(0, &["status", "n2-tiered"]), "status", "completed");
    stage.strike();
}

#[test]
fn nodes_gone_from_the_file_are_told_kept_and_pruned_on_request() {
    let stage = Stage::set("prune");
    let whole = Manifest::new("shrinking", 700).host("host", None).vm("stays", Some("host")).vm("goes", Some("host"));
    let whole = whole.vm("beside", None);
    let file = stage.file("shrinking.yaml", whole.text());
    let file = file.to_str().unwrap();
    stage.json(0, &["apply", file]);
    let before = stage.machines();
    let rest = Manifest::new("shrinking", 700).host("host", None).vm("stays", Some("host"));
    stage.file("shrinking.yaml", rest.text());

    let plan = stage.json(0, &["plan", file]);
    assert_eq!(each(&plan, "action")["goes"], "orphaned", "{plan:#}");
    assert_eq!(each(&plan, "action")["beside"], "orphaned", "{plan:#}");
    let kept = stage.json(0, &["apply", file]);
    assert_eq!(each(&kept, "action")["goes"], "orphaned", "{kept:#}");
    assert_eq!(lives(&stage.machines()), lives(&before));

    stage.json(0, &["apply", file, "--prune"]);
    let paths: Vec<_> = stage.machines().into_iter().map(|machine| machine.path).collect();
    assert_eq!(paths, ["local/shrinking/host", "local/shrinking/host/stays"]);
    assert_eq!(nodes(&stage.json(0, &["status", "shrinking"])).len(), 2);
    std::fs::remove_file(file).unwrap();
    all(&stage.json(0, &["destroy", "shrinking", "--yes"]), "status", "destroyed");
    stage.strike();
}

#[test]
fn depth_counts_levels() {
    let stage = Stage::set("depth");
    let first = stage.json(0, &["apply", "n3-deep", "--depth", "1"]);
    assert_eq!(nodes(&first).len(), 1);
    assert_eq!(stage.machines().len(), 1);
    let second = stage.json(0, &["apply", "n3-deep", "--depth", "2"]);
    assert_eq!((each(&second, "action")["root-pve"], each(&second, "action")["leaf-pve"]), ("unchanged", "created"));
    assert_eq!(stage.machines().len(), 2);
    let whole = stage.json(0, &["apply", "n3-deep"]);
    assert_eq!(each(&whole, "action")["edge"], "created");
    stage.strike();
}

#[test]
fn a_plan_says_what_an_apply_would_do_and_does_nothing() {
    let stage = Stage::set("plan");
    let plan = stage.json(0, &["plan", "n2-tiered"]);
    assert_eq!((&plan["verb"], &plan["changes"]), (&json!("plan"), &json!(2)));
    all(&plan, "action", "created");
    assert_eq!(node(&plan, "edge")["known_after"], "local/n2-tiered/root-pve");
    stage.json(5, &["plan", "n2-tiered", "--detailed-exitcode"]);
    stage.json(0, &["apply", "n2-tiered", "--dry-run"]);
    assert_eq!(stage.machines(), []);
    stage.json(0, &["apply", "n2-tiered"]);
    let nothing = stage.json(0, &["plan", "n2-tiered", "--detailed-exitcode"]);
    assert_eq!(nothing["changes"], 0);
    all(&nothing, "action", "unchanged");
    stage.strike();
}

#[test]
fn destroy_asks_and_the_end_of_input_means_no() {
    let stage = Stage::set("asks");
    stage.json(0, &["apply", "n1-push"]);
    let asked = stage.coord(&["destroy", "n1-push"]);
    assert_ne!(asked.code, 0, "{asked}");
    assert_eq!(stage.machines().len(), 1, "{asked}");
    stage.strike();
}

#[test]
fn test_builds_verifies_destroys_and_touches_nothing_that_was_there() {
    let stage = Stage::set("test");
    let tested = stage.json(0, &["test", "n2-tiered"]);
    assert_eq!((&tested["verb"], &tested["success"]), (&json!("test"), &json!(true)));
    for node in nodes(&tested) {
        assert_eq!((&node["status"], &node["destroyed"]), (&json!("completed"), &json!(true)), "{node:#}");
        let verified =
            node["phases"].as_array().unwrap().iter().any(|p| p["name"] == "verify" && p["status"] == "passed");
        assert!(verified, "{node:#}");
    }
    assert_eq!(stage.machines(), []);

    stage.json(0, &["test", "n2-tiered", "--keep"]);
    let kept = lives(&stage.machines());
    assert_eq!(kept.len(), 2);
    let refused = stage.json(3, &["test", "n2-tiered"]);
    assert_eq!(refused["success"], false);
    assert_eq!(lives(&stage.machines()), kept);
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn a_run_can_be_left_alone_and_followed_later() {
    let stage = Stage::set("detach");
    let detached = stage.json(0, &["apply", "n2-tiered", "--detach"]);
    let run = detached["run"].as_str().unwrap();
    let followed = stage.coord(&["logs", run, "--follow"]).exits(0);
    assert!(followed.stdout.contains("local/n2-tiered/root-pve/edge"), "{followed}");
    let runs = stage.json(0, &["runs"]);
    assert_eq!(runs["runs"][0]["state"], "succeeded", "{runs:#}");
    all(&stage.json(0, &["status", "n2-tiered"]), "status", "completed");
    stage.strike();
}

#[test]
fn a_daemon_that_a_command_started_ends_by_itself_and_one_that_was_asked_for_stays() {
    let stage = Stage::set("daemon");
    stage.coord(&["server", "status"]).exits(1);
    stage.coord(&["server", "start"]).exits(0);
    stage.json(0, &["server", "status"]);
    stage.json(0, &["apply", "n1-push"]);
    stage.json(0, &["destroy", "n1-push", "--yes"]);
    let daemon = stage.daemon().expect("a daemon that was asked for stays");
    let status = stage.json(0, &["server", "status"]);
    assert_eq!((&status["running"], &status["healthy"]), (&json!(true), &json!(true)));
    assert_eq!(status["pid"], daemon.pid);
    stage.coord(&["server", "stop"]).exits(0);
    stage.is_empty_soon();
    stage.json(1, &["server", "status"]);
}

#[test]
fn a_state_folder_has_one_daemon_and_one_agent() {
    let stage = Stage::set("locked");
    stage.json(0, &["apply", "n1-push"]);
    let daemon = stage.daemon().unwrap();
    stage.coord(&["server", "run"]).exits(4);
    assert!(daemon.is_alive());
    let state = stage.machine("local/n1-push/edge").state();
    stage.agent(&["run", "--state-dir", state.to_str().unwrap()]).exits(4);
    all(&stage.json(0, &["apply", "n1-push"]), "action", "unchanged");
    stage.strike();
}

#[test]
fn a_watch_shows_what_changes() {
    let stage = Stage::set("watch");
    stage.json(0, &["apply", "n1-push"]);
    let mut watch = stage.start(&["status", "n1-push", "--watch"]);
    wait::until("the watch shows the tree", || watch.so_far().contains("completed").then_some(()));
    stage.json(0, &["destroy", "n1-push", "--yes"]);
    wait::until("the watch shows its end", || {
        let shown = watch.so_far();
        ["destroyed", "not recorded"].iter().any(|word| shown.contains(word)).then_some(())
    });
    Process::of(watch.pid()).unwrap().signal(Signal::INT);
    watch.finish(wait::PATIENCE).exits(130);
    stage.strike();
}
