//! kill -9 at every point that the programs name: before and after each journal write and each effect, in each kind of
//! process, during apply and during destroy. Whoever dies is started again, and the end is that of an undisturbed run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use homestak_tests::crash::CrashFile;
use homestak_tests::document::{all, is_contiguous, nodes};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::Value;

/// Which tree is built, and where in it each kind of process is.
const TREE: &str = "n2-tiered";
const PLACES: [(&str, &str); 4] = [
    ("daemon", "@"),
    ("host-agent", "local"),
    ("inner-agent", "local/n2-tiered/root-pve"),
    ("leaf-agent", "local/n2-tiered/root-pve/edge"),
];

/// How many points each kind of process must have for each verb.
const AT_LEAST: usize = 8;

/// How many stages there are at once: most of a case is waiting for what was killed to be missed.
const AT_ONCE: usize = 6;

/// How long it may take until a run that was disturbed is over.
const LIMIT: Duration = Duration::from_secs(120);

/// One stage: a process that dies once on the way up and once on the way down.
#[derive(Debug, Clone)]
struct Case {
    kind: &'static str,
    apply: Option<String>,
    destroy: Option<String>,
}

#[test]
fn a_process_that_is_killed_at_any_of_its_points_changes_nothing_but_the_time() {
    let points = points();
    let cases: Mutex<VecDeque<Case>> = Mutex::new(cases(&points).into());
    let undisturbed = undisturbed();
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().unwrap().pop_front() } {
                    let shown = format!("{case:?}");
                    let (undisturbed, failures) = (&undisturbed, &failures);
                    let ended = thread::scope(|scope| scope.spawn(move || play(&case, undisturbed)).join());
                    if ended.is_err() {
                        failures.lock().unwrap().push(shown);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cases failed: {failures:#?}", failures.len());
}

/// What the programs say: for each kind of process and each verb its points, as `POINT:SIDE`.
fn points() -> BTreeMap<(String, String), Vec<String>> {
    let stage = Stage::set("points");
    let mut points: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for outcome in [stage.coord(&["crash-points", "--json"]), stage.agent(&["crash-points", "--json"])] {
        let list = outcome.exits(0).json();
        for entry in list["points"].as_array().expect("a list of points") {
            let text = |key: &str| entry[key].as_str().unwrap_or_else(|| panic!("no {key}: {entry}")).to_owned();
            let point = format!("{}:{}", text("point"), text("side"));
            points.entry((text("kind"), text("verb"))).or_default().push(point);
        }
    }
    for (kind, _) in PLACES {
        for verb in ["apply", "destroy"] {
            let named = points.get(&(kind.to_owned(), verb.to_owned())).map_or(0, Vec::len);
            assert!(named >= AT_LEAST, "{kind} names only {named} points for {verb}");
        }
    }
    points
}

fn cases(points: &BTreeMap<(String, String), Vec<String>>) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, _) in PLACES {
        let of = |verb: &str| points[&(kind.to_owned(), verb.to_owned())].clone();
        let (up, down) = (of("apply"), of("destroy"));
        for n in 0..up.len().max(down.len()) {
            cases.push(Case { kind, apply: up.get(n).cloned(), destroy: down.get(n).cloned() });
        }
    }
    cases
}

/// What there is after an apply that nobody disturbed.
fn undisturbed() -> Value {
    let stage = Stage::set("undisturbed");
    stage.json(0, &["apply", TREE]);
    let status = as_it_stands(&stage);
    stage.strike();
    status
}

fn play(case: &Case, undisturbed: &Value) {
    let mut stage = Stage::set(case.kind);
    let file = CrashFile::new(stage.folder());
    stage.env("HOMESTAK_CRASH_AT", file.path());
    let place = PLACES.iter().find(|(kind, _)| *kind == case.kind).unwrap().1;
    let line = |point: &String| format!("{point}@{place}");
    let mut due = Vec::new();

    if let Some(line) = case.apply.as_ref().map(line) {
        file.arm([line.as_str()]);
        due.push(line);
    }
    let document = persist(&stage, &["apply", TREE], "completed");
    assert!(document["success"] == true, "{document:#}");
    wait::until("everybody is there again", || {
        let status = stage.json(0, &["status", TREE]);
        nodes(&status).iter().all(|node| node["connected"] == true).then_some(())
    });
    assert_eq!(as_it_stands(&stage), *undisturbed, "{case:?}");
    assert_eq!(file.reached(), due, "{case:?}: a point was never reached");
    is_whole(&stage, case);
    is_contiguous(&stage);

    if let Some(line) = case.destroy.as_ref().map(line) {
        file.arm([line.as_str()]);
        due.push(line);
    }
    persist(&stage, &["destroy", TREE, "--yes"], "destroyed");
    assert_eq!(stage.machines(), [], "{case:?}");
    assert_eq!(file.reached(), due, "{case:?}: a point was never reached");
    is_contiguous(&stage);
    stage.strike();
}

/// Does what a person would: says it again until it is done. If the daemon dies, the run goes on without it.
fn persist(stage: &Stage, command: &[&str], status: &str) -> Value {
    let done = wait::within(LIMIT, "the run is over", || {
        let outcome = stage.coord(&[command, &["--json"]].concat());
        match outcome.code {
            0 => Some(outcome.json()),
            // The daemon died, or the run of the one that did goes on.
            3 | 4 => None,
            _ => panic!("{outcome}"),
        }
    });
    all(&done, "status", status);
    done
}

/// How the tree stands, without what differs from one run to the next.
fn as_it_stands(stage: &Stage) -> Value {
    let mut status = stage.json(0, &["status", TREE]);
    let same = ["name", "path", "type", "parent", "depth", "status", "vm_id", "error", "simulated", "connected"];
    for node in status["nodes"].as_array_mut().unwrap() {
        node.as_object_mut().unwrap().retain(|key, _| same.contains(&key.as_str()));
    }
    status["nodes"].take()
}

/// No machine twice, none lost: one process each, and no other agent but the host's.
fn is_whole(stage: &Stage, case: &Case) {
    let machines = stage.machines();
    let running: BTreeSet<_> = machines.iter().filter_map(|machine| Some(machine.process()?.pid)).collect();
    assert_eq!((machines.len(), running.len()), (2, 2), "{case:?}: {machines:#?}");
    let agents = || {
        let processes = stage.processes();
        processes.into_iter().filter(|process| process.arguments.first().is_some_and(|name| name.ends_with("agent")))
    };
    wait::until("no agent runs twice", || (agents().count() == 3).then_some(()));
}
