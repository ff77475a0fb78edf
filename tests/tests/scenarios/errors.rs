//! What goes wrong deep in a branch: what each mode makes of it, and that what exists stays known.

use std::time::Instant;

use homestak_tests::document::{all, each, is_contiguous, node, nodes};
use homestak_tests::manifest::Manifest;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

fn paths(stage: &Stage) -> Vec<String> {
    stage.machines().into_iter().map(|machine| machine.path).collect()
}

/// Fails unless ids and addresses of the machines that exist are those in the document and in its context.
#[track_caller]
fn knows_what_exists(stage: &Stage, document: &Value) {
    for machine in stage.machines() {
        let told = node(document, &machine.path);
        let ip = json!(machine.ip.to_string());
        assert_eq!((&told["vm_id"], &told["ip"]), (&json!(machine.vmid), &ip), "{document:#}");
        let name = told["name"].as_str().unwrap();
        assert_eq!(document["context"][format!("{name}_ip")], ip, "{document:#}");
        assert_eq!(document["context"][format!("{name}_vm_id")], machine.vmid, "{document:#}");
    }
}

#[test]
fn stop_keeps_what_exists_and_says_where_it_is() {
    let mut stage = Stage::set("stop");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:provision:fail-permanent");
    let failed = stage.json(1, &["apply", "n3-deep"]);
    assert_eq!(failed["success"], false);
    let statuses = each(&failed, "status");
    let due = [("edge", "failed"), ("leaf-pve", "completed"), ("root-pve", "completed")];
    assert_eq!(statuses, due.into());
    let edge = node(&failed, "edge");
    assert_eq!(edge["error"]["code"], "E701");
    assert_eq!(edge["error"]["node"], edge["path"]);
    assert!(failed["error"].is_object(), "{failed:#}");
    knows_what_exists(&stage, &failed);
    assert_eq!(paths(&stage), ["local/n3-deep/root-pve", "local/n3-deep/root-pve/leaf-pve"]);

    let mended = stage.json(0, &["apply", "n3-deep"]);
    let actions = each(&mended, "action");
    assert_eq!(actions, [("edge", "created"), ("leaf-pve", "unchanged"), ("root-pve", "unchanged")].into());
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn stop_starts_nothing_new_and_lets_what_is_in_flight_finish() {
    let mut stage = Stage::set("stop-flat");
    // Two at a time: while `slow` is being made, `bad` fails, and `late` has not begun.
    stage.env("HOMESTAK_LOCAL_FAULTS", "bad:provision:fail-permanent,slow:provision:delay=1500");
    let manifest = Manifest::new("row", 800).vm("slow", None).vm("bad", None).vm("late", None);
    let file = stage.file("row.yaml", manifest.text());
    let failed = stage.json(1, &["apply", file.to_str().unwrap(), "--parallel", "2"]);
    assert_eq!(each(&failed, "status"), [("bad", "failed"), ("late", "skipped"), ("slow", "completed")].into());
    assert_eq!(paths(&stage), ["local/row/slow"]);
    stage.strike();
}

#[test]
fn rollback_removes_what_this_run_made_and_nothing_that_it_found() {
    let mut stage = Stage::set("rollback");
    stage.env("HOMESTAK_LOCAL_FAULTS", "deep:configure:fail-permanent");
    let found = Manifest::new("grows", 810).host("found", None).vm("old", Some("found"));
    let file = stage.file("grows.yaml", found.text());
    let file = file.to_str().unwrap();
    stage.json(0, &["apply", file]);
    let before = stage.machines();
    let grown = found.host("new", None).host("inner", Some("new")).vm("deep", Some("inner")).vm("beside", Some("new"));
    stage.file("grows.yaml", grown.text());
    let failed = stage.json(1, &["apply", file, "--on-error", "rollback"]);
    let statuses = each(&failed, "status");
    for made in ["new", "inner", "deep", "beside"] {
        assert!(matches!(statuses[made], "rolled_back" | "failed" | "skipped"), "{made}: {failed:#}");
    }
    assert_eq!((statuses["found"], statuses["old"]), ("completed", "completed"), "{failed:#}");
    assert_eq!(stage.machines(), before);
    assert!(node(&failed, "deep")["error"].is_object() || failed["error"].is_object(), "{failed:#}");
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn a_tree_that_is_rolled_back_whole_is_off_the_record() {
    let mut stage = Stage::set("whole");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:configure:fail-permanent:always");
    // The second time the host, which was told nothing since, takes another order.
    for _ in 0..2 {
        let failed = stage.json(1, &["apply", "n2-tiered", "--on-error", "rollback"]);
        all(&failed, "status", "rolled_back");
        let why = (failed["error"]["node"].as_str(), failed["error"]["message"].as_str().unwrap());
        assert_eq!(why.0, Some("local/n2-tiered/root-pve/edge"), "{failed:#}");
        assert!(!why.1.contains("rolled_back"), "the error is what went wrong: {failed:#}");
        assert_eq!(stage.machines(), [], "{failed:#}");
        assert_eq!(stage.json(0, &["status"])["trees"], json!([]));
        assert_eq!(stage.json(0, &["destroy", "n2-tiered", "--yes"])["nodes"], json!([]));
    }
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn continue_skips_the_descendants_of_a_failed_node_and_goes_on() {
    let mut stage = Stage::set("continue");
    stage.env("HOMESTAK_LOCAL_FAULTS", "broken:host:fail-permanent");
    let manifest = Manifest::new("forked", 820)
        .host("broken", None)
        .vm("below", Some("broken"))
        .host("sound", None)
        .vm("inside", Some("sound"));
    let file = stage.file("forked.yaml", manifest.text());
    let failed = stage.json(1, &["apply", file.to_str().unwrap(), "--on-error", "continue"]);
    let due = [("below", "skipped"), ("broken", "failed"), ("inside", "completed"), ("sound", "completed")];
    assert_eq!(each(&failed, "status"), due.into(), "{failed:#}");
    knows_what_exists(&stage, &failed);
    stage.strike();
}

#[test]
fn a_failure_deep_down_is_told_as_words_and_costs_no_machine_of_the_branch_its_id_or_its_state() {
    let mut stage = Stage::set("deep");
    stage.env("HOMESTAK_LOCAL_FAULTS", "broken:provision:fail-permanent");
    let manifest = Manifest::new("branch", 830)
        .host("outer", None)
        .host("inner", Some("outer"))
        .vm("broken", Some("inner"))
        .vm("sound", Some("inner"))
        .vm("aside", Some("outer"));
    let file = stage.file("branch.yaml", manifest.text());
    let failed = stage.json(1, &["apply", file.to_str().unwrap(), "--on-error", "continue"]);
    // Only what failed has failed, although two agents have handed it on.
    let due = ["aside", "inner", "outer", "sound"].map(|name| (name, "completed"));
    let statuses = each(&failed, "status");
    assert_eq!(statuses["broken"], "failed", "{failed:#}");
    for (name, status) in due {
        assert_eq!(statuses[name], status, "{name}: {failed:#}");
        assert!(node(&failed, name)["vm_id"].is_number() && node(&failed, name)["ip"].is_string(), "{failed:#}");
    }
    knows_what_exists(&stage, &failed);
    for error in [&node(&failed, "broken")["error"], &failed["error"]] {
        assert_eq!(error["code"], "E701", "{failed:#}");
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains(['{', '\\', '\n']), "{message}");
    }
    stage.strike();
}

#[test]
fn what_a_retry_can_help_is_tried_again() {
    let mut stage = Stage::set("retry");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:provision:fail:2,root-pve:configure:fail:1,edge:configure:fail:1");
    let built = stage.json(0, &["apply", "n2-tiered"]);
    all(&built, "status", "completed");
    assert_eq!(stage.machines().len(), 2);
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn what_hangs_is_given_up_at_its_limit() {
    let mut stage = Stage::set("hang");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:configure:hang").env("HOMESTAK_LIMITS", "configure=5s");
    let failed = stage.json(1, &["apply", "n2-tiered"]);
    assert_eq!(each(&failed, "status"), [("edge", "failed"), ("root-pve", "completed")].into(), "{failed:#}");
    assert_eq!(node(&failed, "edge")["error"]["code"], "E710", "{failed:#}");
    knows_what_exists(&stage, &failed);
    stage.strike();
}

#[test]
fn a_run_that_takes_too_long_is_cancelled_and_can_be_taken_up_again() {
    let mut stage = Stage::set("timeout");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:provision:hang");
    let failed = stage.json(1, &["apply", "n2-tiered", "--timeout", "10s"]);
    let statuses = each(&failed, "status");
    assert_eq!(statuses, [("edge", "cancelled"), ("root-pve", "completed")].into(), "{failed:#}");
    all(&stage.json(0, &["apply", "n2-tiered"]), "status", "completed");
    stage.strike();
}

#[test]
fn one_run_a_tree_and_the_one_that_runs_can_be_cancelled() {
    let mut stage = Stage::set("busy");
    stage.env("HOMESTAK_LOCAL_FAULTS", "local/n2-tiered/root-pve/edge:provision:hang");
    let first = stage.start(&["apply", "n2-tiered", "--json"]);
    wait::until("the host is there", || (!stage.machines().is_empty()).then_some(()));
    let runs = stage.json(0, &["runs"]);
    assert_eq!(runs["runs"][0]["state"], "running", "{runs:#}");
    let run = runs["runs"][0]["run"].as_str().unwrap();
    let second = stage.coord(&["apply", "n2-tiered"]).exits(3).says(run);
    assert!(second.stderr.contains("cancel") && second.stderr.contains("logs"), "{second}");
    stage.coord(&["destroy", "n2-tiered", "--yes"]).exits(3).says(run);
    // Another tree is nobody's business here.
    stage.json(0, &["apply", "n1-push"]);
    stage.coord(&["cancel", run]).exits(0);
    let cancelled = first.finish(wait::PATIENCE).exits(1).json();
    assert_eq!(each(&cancelled, "status")["edge"], "cancelled", "{cancelled:#}");
    let runs = stage.json(0, &["runs"]);
    let states: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["succeeded", "cancelled"]);
    all(&stage.json(0, &["apply", "n2-tiered"]), "status", "completed");
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn interrupting_the_command_cancels_the_run_and_a_second_time_leaves_it_to_the_daemon() {
    let mut stage = Stage::set("interrupt");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:provision:hang");
    let first = stage.start(&["apply", "n2-tiered", "--json"]);
    let command = homestak_tests::process::Process::of(first.pid()).unwrap();
    wait::until("the host is there", || (!stage.machines().is_empty()).then_some(()));
    command.signal(Signal::INT);
    let cancelled = first.finish(wait::PATIENCE);
    assert!([1, 130].contains(&cancelled.code), "{cancelled}");
    let runs = stage.json(0, &["runs"]);
    assert_eq!(runs["runs"][0]["state"], "cancelled", "{runs:#}");
    stage.strike();
}

#[test]
fn a_destroy_is_not_cancelled_and_a_second_interrupt_leaves_it_to_the_daemon() {
    let mut stage = Stage::set("destroying");
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:destroy:delay=6000");
    stage.json(0, &["apply", "n2-tiered"]);
    let mut destroy = stage.start(&["destroy", "n2-tiered", "--yes", "--json"]);
    let command = homestak_tests::process::Process::of(destroy.pid()).unwrap();
    wait::until("it has begun", || destroy.complaints().contains("destroy").then_some(()));
    command.signal(Signal::INT);
    wait::until("it is said", || destroy.complaints().contains("could not be cancelled").then_some(()));
    assert!(!destroy.has_ended());
    command.signal(Signal::INT);
    let left = destroy.finish(wait::PATIENCE).exits(130).says("goes on in the background");
    assert_eq!(left.json()["verb"], "destroy", "{left}");
    wait::until("it ends without anybody who follows it", || stage.machines().is_empty().then_some(()));
    wait::until("it is over", || (stage.json(0, &["runs"])["runs"][0]["state"] == "succeeded").then_some(()));
    stage.strike();
}

#[test]
fn a_tree_is_destroyed_though_a_childs_agent_no_longer_answers() {
    let mut stage = Stage::set("silent");
    stage.env("HOMESTAK_LIMITS", "answer=1s");
    stage.json(0, &["apply", "n3-deep"]);
    let silent = stage.machine("local/n3-deep/root-pve/leaf-pve").process().unwrap();
    silent.signal(Signal::STOP);
    let gone = stage.json(0, &["destroy", "n3-deep", "--yes"]);
    all(&gone, "status", "destroyed");
    assert_eq!(stage.machines(), []);
    assert!(!silent.is_alive());
    is_contiguous(&stage);
    stage.strike();
}

#[test]
fn an_agent_that_is_silent_for_too_long_is_unreachable_until_it_is_back() {
    let mut stage = Stage::set("unreachable");
    stage.env("HOMESTAK_LIMITS", "grace=1s").env("HOMESTAK_LOCAL_FAULTS", "edge:configure:delay=3000");
    let run = stage.start(&["apply", "n2-tiered", "--json"]);
    let inner = wait::until("the inner machine is there", || {
        stage.machines().into_iter().find(|machine| machine.path.ends_with("/edge"))?.process()
    });
    let host = stage.machine("local/n2-tiered/root-pve").process().unwrap();
    host.signal(Signal::STOP);
    let began = Instant::now();
    let lost = run.finish(wait::PATIENCE).exits(1).json();
    assert_eq!(each(&lost, "status")["edge"], "unreachable", "{lost:#} after {:?}", began.elapsed());
    assert!(inner.is_alive() && host.is_alive(), "a lost link alone destroys nothing");
    host.signal(Signal::CONT);
    wait::until("late events correct the record", || {
        let status = stage.json(0, &["status", "n2-tiered"]);
        nodes(&status).iter().all(|node| node["status"] == "completed").then_some(())
    });
    is_contiguous(&stage);
    stage.strike();
}
