//! Runs: what is told while they go on and when they are over, in both kinds of output, and what Ctrl-C does.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use homestak_coord::api::{Document, Exit, ManifestSource, Request, RunVerb};
use homestak_protocol::event::{Action, Status};
use homestak_protocol::fault::Code;
use homestak_protocol::order::OnError;
use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::{Daemon, Peer};
use crate::program::Place;
use crate::tree::{self, RUN};

/// A daemon whose runs all go well.
fn willing(place: &Place) -> Daemon {
    Daemon::new(place, |request, peer| match request {
        Request::Run(verb, wanted) if wanted.detach => {
            peer.done(Exit::Done, Document::Detached(tree::summary(verb, "running")));
        }
        Request::Run(verb, _) => whole_run(verb, peer),
        Request::Plan(verb, _) => peer.done(Exit::Done, Document::Plan(tree::plan(verb, Action::Created, true))),
        other => panic!("{other:?}"),
    })
}

fn whole_run(verb: RunVerb, peer: &mut Peer) {
    peer.say(&tree::started(verb));
    tree::steps().iter().for_each(|step| peer.say(step));
    peer.done(Exit::Done, Document::Run(tree::finished(verb)));
}

#[test]
fn a_run_is_told_line_by_line_and_ends_with_what_runs_and_what_ends_it() {
    let place = Place::new();
    let daemon = willing(&place);
    let told = place.run(&["apply", "n2-tiered"]);
    insta::with_settings!({filters => vec![(r"(?m)^ +\d+\.\d\d s  ", "[TIME]  ")]}, {
        assert_snapshot!("apply", told);
    });
    let Request::Run(RunVerb::Apply, request) = daemon.asked() else { panic!("no run was asked for") };
    assert_eq!(request.manifest, ManifestSource::Name("n2-tiered".into()));
    assert!(!request.prune && request.on_error.is_none() && request.timeout_ms.is_none());
}

#[test]
fn quiet_leaves_the_result_alone() {
    let place = Place::new();
    let _daemon = willing(&place);
    let told = place.run(&["apply", "n2-tiered", "-q"]);
    assert!(told.stderr.is_empty() && told.stdout.starts_with("apply n2-tiered on local: done"), "{told}");
}

#[test]
fn every_flag_reaches_the_daemon_in_either_spelling() {
    let place = Place::new();
    let daemon = willing(&place);
    place.file("mine.yaml", "name: mine\n");
    let flags = "--on-error rollback --parallel 3 --depth 2 --timeout 1h30m --prune --detach";
    for verb in ["apply", "manifest apply"] {
        let line = format!("{verb} --manifest-file mine.yaml -H father {flags}");
        assert_eq!(place.run(&line.split(' ').collect::<Vec<_>>()).code, 0);
        let Request::Run(RunVerb::Apply, request) = daemon.asked() else { panic!("no run was asked for") };
        assert_eq!((request.on_error, request.parallel, request.depth), (Some(OnError::Rollback), Some(3), Some(2)));
        assert_eq!((request.timeout_ms, request.prune, request.detach), (Some(5_400_000), true, true));
        assert_eq!(request.host.as_str(), "father");
        let ManifestSource::Text { file, text } = request.manifest else { panic!("the file was not read") };
        assert_eq!((file, text.as_str()), (place.path("mine.yaml").display().to_string(), "name: mine\n"));
    }
    assert_eq!(place.run(&["test", "n2-tiered", "--keep", "--detach"]).code, 0);
    assert!(matches!(daemon.asked(), Request::Run(RunVerb::Test, request) if request.keep));
}

#[test]
fn the_document_of_a_run_has_the_promised_shape_and_stands_alone() {
    let place = Place::new();
    let _daemon = willing(&place);
    let told = place.run(&["manifest", "apply", "-M", "n2-tiered", "-H", "local", "--json-output"]);
    assert_eq!(told.code, 0);
    let document = told.json();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let promised =
        ["verb", "manifest", "host", "run", "success", "duration_seconds", "nodes", "context", "report", "error"];
    for key in promised {
        assert!(keys(&document).contains(&key.to_owned()), "{key}");
    }
    let of_a_node = [
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
    for key in of_a_node {
        assert!(keys(&document["nodes"][0]).contains(&key.to_owned()), "{key}");
    }
    assert_eq!(document["context"]["edge_vm_id"], 99021);
    assert_eq!(document["nodes"][0]["type"], "pve");
}

#[test]
fn a_failed_node_is_told_with_its_remedy_and_exit_1() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, peer| {
        peer.say(&tree::started(RunVerb::Apply));
        peer.done(Exit::Failed, Document::Run(tree::unfinished(RunVerb::Apply, "E704", Status::Failed)));
    });
    let told = place.run(&["apply", "n2-tiered"]);
    assert_snapshot!("apply_failed", told);
    let json = place.run(&["apply", "n2-tiered", "--json"]);
    assert_eq!((json.code, &json.json()["nodes"][1]["error"]["code"]), (1, &"E704".into()));
}

#[test]
fn a_refusal_is_told_in_the_document_of_its_verb() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, peer| {
        let hint = format!("follow it with `homestak-coord logs {RUN} --follow`");
        peer.refuse(Exit::Configuration, Code::Busy, &format!("run {RUN} has this tree"), &hint);
    });
    assert_snapshot!("apply_refused", place.run(&["apply", "n2-tiered", "-H", "father"]));
    for verb in ["apply", "test", "plan"] {
        let told = place.run(&[verb, "n2-tiered", "-H", "father", "--json"]);
        let document = told.json();
        assert_eq!((told.code, &document["error"]["code"]), (3, &"E716".into()), "{verb}");
        assert_eq!((&document["verb"], &document["host"]), (&verb.into(), &"father".into()));
        assert!(document["nodes"].as_array().unwrap().is_empty());
    }
}

#[test]
fn a_detached_run_is_its_id_on_stdout_and_the_ways_back_on_stderr() {
    let place = Place::new();
    let _daemon = willing(&place);
    assert_snapshot!("apply_detached", place.run(&["apply", "n2-tiered", "--detach"]));
}

#[test]
fn a_plan_and_every_dry_run_ask_what_would_be_done_and_do_nothing() {
    let place = Place::new();
    let daemon = willing(&place);
    assert_snapshot!("plan", place.run(&["plan", "n2-tiered"]));
    assert_eq!(place.run(&["plan", "n2-tiered", "--detailed-exitcode"]).code, 5);
    let dry = place.run(&["destroy", "n2-tiered", "--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.json()["changes"]), (0, &2.into()));
    assert_eq!(place.run(&["apply", "n2-tiered", "--dry-run"]).code, 0);
    assert_eq!(place.run(&["test", "n2-tiered", "--dry-run"]).code, 0);
    let asked = daemon.rest();
    assert!(asked.len() == 5 && asked.iter().all(|request| matches!(request, Request::Plan(..))), "{asked:?}");
}

#[test]
fn nothing_is_destroyed_without_a_yes() {
    let place = Place::new();
    let daemon = willing(&place);
    let told = place.run(&["destroy", "n2-tiered"]);
    assert_snapshot!("destroy_unanswered", told);
    let json = place.run(&["destroy", "n2-tiered", "--json"]);
    assert_eq!((json.code, &json.json()["success"], &json.json()["verb"]), (1, &false.into(), &"destroy".into()));
    assert!(daemon.rest().iter().all(|request| matches!(request, Request::Plan(RunVerb::Destroy, _))));
    assert_eq!(place.run(&["destroy", "n2-tiered", "--yes"]).code, 0);
    assert!(matches!(daemon.asked(), Request::Run(RunVerb::Destroy, _)));
}

#[test]
fn destroying_what_is_not_recorded_is_no_failure_and_asks_nothing() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |request, peer| match request {
        Request::Plan(verb, _) => peer.done(Exit::Done, Document::Plan(tree::plan(verb, Action::Destroyed, false))),
        _ => {
            let nothing = tree::finished(RunVerb::Destroy);
            let nothing = homestak_coord::documents::RunDocument { run: None, nodes: Vec::new(), ..nothing };
            peer.done(Exit::Done, Document::Run(nothing));
        }
    });
    let told = place.run(&["destroy", "n2-tiered"]);
    assert_eq!((told.code, told.stdout.as_str()), (0, "destroy n2-tiered on local: nothing to do\n"), "{told}");
}

/// Starts `apply` and waits until it has told that the run has begun.
fn begun(place: &Place, flags: &[&str]) -> (Child, BufReader<std::process::ChildStderr>) {
    let words = [&["apply", "n2-tiered"], flags].concat();
    let mut child = place.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.contains(RUN), "{line}");
    (child, stderr)
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), signal).unwrap();
}

fn rest(mut child: Child, mut stderr: BufReader<std::process::ChildStderr>) -> (i32, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    stderr.read_to_string(&mut err).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (child.wait().unwrap().code().unwrap(), out, err)
}

#[test]
fn ctrl_c_once_cancels_the_run_and_shows_its_end() {
    let place = Place::new();
    let (cancel, cancelled) = std::sync::mpsc::channel::<()>();
    let cancelled = std::sync::Mutex::new(cancelled);
    let daemon = Daemon::new(&place, move |request, peer| match request {
        Request::Run(verb, _) => {
            peer.say(&tree::started(verb));
            cancelled.lock().unwrap().recv().unwrap();
            peer.done(Exit::Failed, Document::Run(tree::unfinished(verb, "E712", Status::Cancelled)));
        }
        Request::Cancel { .. } => {
            peer.done(Exit::Done, Document::Cancelled(tree::summary(RunVerb::Apply, "running")));
            cancel.send(()).unwrap();
        }
        other => panic!("{other:?}"),
    });
    let (child, stderr) = begun(&place, &[]);
    daemon.asked();
    signal(&child, Signal::INT);
    assert!(matches!(daemon.asked(), Request::Cancel { run } if run.to_string() == RUN));
    let (code, out, err) = rest(child, stderr);
    assert!(code == 130 && out.contains("cancelled in") && err.contains("cancelling run"), "{code}\n{out}\n{err}");
}

#[test]
fn ctrl_c_twice_leaves_the_run_to_the_daemon_and_says_how_to_get_back() {
    let place = Place::new();
    let daemon = Daemon::new(&place, |request, peer| {
        if let Request::Run(verb, _) = request {
            peer.say(&tree::started(verb));
        }
        std::thread::park();
    });
    for flags in [&[][..], &["--json"]] {
        let (child, stderr) = begun(&place, flags);
        daemon.asked();
        signal(&child, Signal::INT);
        assert!(matches!(daemon.asked(), Request::Cancel { .. }));
        signal(&child, Signal::INT);
        let (code, out, err) = rest(child, stderr);
        assert_eq!(code, 130);
        for way in [&format!("logs {RUN} --follow"), &format!("cancel {RUN}"), "status n2-tiered"] {
            assert!(err.contains(way), "{way} in {err}");
        }
        if flags.is_empty() {
            assert_eq!(out, "");
        } else {
            let document: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&document["run"], &document["success"]), (&RUN.into(), &false.into()));
        }
    }
}

#[test]
fn a_command_that_is_told_to_end_leaves_the_run_alone() {
    let place = Place::new();
    let daemon = Daemon::new(&place, |request, peer| {
        if let Request::Run(verb, _) = request {
            peer.say(&tree::started(verb));
        }
        std::thread::park();
    });
    let (child, stderr) = begun(&place, &[]);
    daemon.asked();
    signal(&child, Signal::TERM);
    let (code, _, err) = rest(child, stderr);
    assert!(code == 130 && err.contains("goes on in the background"), "{code} {err}");
    assert!(daemon.rest().is_empty(), "nothing was cancelled");
}
