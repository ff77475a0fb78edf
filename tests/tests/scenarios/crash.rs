//! kill -9 at every point that the programs name: before and after each journal write and each effect, in each kind of
//! process, during apply and during destroy. Whoever dies is started again, and the end is that of an undisturbed run.
//!
//! Every point in a tree of two levels; some of them, a level deeper, in one of three; and some while a failed run is rolled
//! back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use homestak_tests::crash::CrashFile;
use homestak_tests::document::{all, is_contiguous, nodes};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::Value;

/// A tree, and where in it each kind of process is.
#[derive(Debug, PartialEq, Eq)]
struct Tree {
    manifest: &'static str,
    machines: usize,
    places: [(&'static str, &'static str); 4],
}

const TIERED: Tree = Tree {
    manifest: "n2-tiered",
    machines: 2,
    places: [
        ("daemon", "@"),
        ("host-agent", "local"),
        ("inner-agent", "local/n2-tiered/root-pve"),
        ("leaf-agent", "local/n2-tiered/root-pve/edge"),
    ],
};

const DEEP: Tree = Tree {
    manifest: "n3-deep",
    machines: 3,
    places: [
        ("daemon", "@"),
        ("host-agent", "local"),
        ("inner-agent", "local/n3-deep/root-pve/leaf-pve"),
        ("leaf-agent", "local/n3-deep/root-pve/leaf-pve/edge"),
    ],
};

/// One in how many points is tried besides: in the deeper tree, and while a run is rolled back.
const SAMPLE: usize = 5;

/// How many points each kind of process must have for each verb.
const AT_LEAST: usize = 8;

/// How many stages there are at once: most of a case is waiting for what was killed to be missed.
const AT_ONCE: usize = 6;

/// How long it may take until a run that was disturbed is over.
const LIMIT: Duration = Duration::from_secs(120);

/// One stage: a process that dies once on the way up and once on the way down.
#[derive(Debug, Clone)]
struct Case {
    tree: &'static Tree,
    kind: &'static str,
    apply: Option<String>,
    destroy: Option<String>,
}

#[test]
fn a_process_that_is_killed_at_any_of_its_points_changes_nothing_but_the_time() {
    let points = points();
    let all = cases(&TIERED, &points, 1).into_iter().chain(cases(&DEEP, &points, SAMPLE));
    let undisturbed = [undisturbed(&TIERED), undisturbed(&DEEP)];
    let of = |case: &Case| if *case.tree == TIERED { &undisturbed[0] } else { &undisturbed[1] };
    at_once(all, |case| play(case, of(case)));
}

#[test]
fn a_rollback_whose_agents_are_killed_removes_what_was_made_all_the_same() {
    let points = points();
    let inner = |case: &Case| matches!(case.kind, "host-agent" | "inner-agent");
    at_once(cases(&TIERED, &points, SAMPLE).into_iter().filter(inner), roll_back);
}

/// Plays cases on several stages at once, all of them, whatever becomes of some.
fn at_once(cases: impl Iterator<Item = Case>, play: impl Fn(&Case) + Sync) {
    let cases: Mutex<VecDeque<Case>> = Mutex::new(cases.collect());
    assert!(!cases.lock().unwrap().is_empty());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = { cases.lock().unwrap().pop_front() } {
                    let shown = format!("{case:?}");
                    let (play, failures) = (&play, &failures);
                    let ended = thread::scope(|scope| scope.spawn(move || play(&case)).join());
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
    for (kind, _) in TIERED.places {
        for verb in ["apply", "destroy"] {
            let named = points.get(&(kind.to_owned(), verb.to_owned())).map_or(0, Vec::len);
            assert!(named >= AT_LEAST, "{kind} names only {named} points for {verb}");
        }
    }
    points
}

/// One in so many of the points of each kind of process, beginning elsewhere for each kind.
fn cases(tree: &'static Tree, points: &BTreeMap<(String, String), Vec<String>>, one_in: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (first, (kind, _)) in tree.places.into_iter().enumerate() {
        let of = |verb: &str| points[&(kind.to_owned(), verb.to_owned())].clone();
        let (up, down) = (of("apply"), of("destroy"));
        for n in (first % one_in..up.len().max(down.len())).step_by(one_in) {
            cases.push(Case { tree, kind, apply: up.get(n).cloned(), destroy: down.get(n).cloned() });
        }
    }
    cases
}

/// What there is after an apply that nobody disturbed.
fn undisturbed(tree: &Tree) -> Value {
    let stage = Stage::set("undisturbed");
    stage.json(0, &["apply", tree.manifest]);
    let status = as_it_stands(&stage, tree);
    stage.strike();
    status
}

fn play(case: &Case, undisturbed: &Value) {
    let mut stage = Stage::set(case.kind);
    let file = CrashFile::new(stage.folder());
    stage.env("HOMESTAK_CRASH_AT", file.path());
    let line = |point: &String| format!("{point}@{}", case.place());
    let tree = case.tree.manifest;
    let mut due = Vec::new();

    if let Some(line) = case.apply.as_ref().map(line) {
        file.arm([line.as_str()]);
        due.push(line);
    }
    let document = persist(&stage, &["apply", tree], "completed");
    assert!(document["success"] == true, "{document:#}");
    wait::until("everybody is there again", || {
        let status = stage.json(0, &["status", tree]);
        nodes(&status).iter().all(|node| node["connected"] == true).then_some(())
    });
    assert_eq!(as_it_stands(&stage, case.tree), *undisturbed, "{case:?}");
    assert_eq!(file.reached(), due, "{case:?}: a point was never reached");
    is_whole(&stage, case);
    is_contiguous(&stage);

    if let Some(line) = case.destroy.as_ref().map(line) {
        file.arm([line.as_str()]);
        due.push(line);
    }
    persist(&stage, &["destroy", tree, "--yes"], "destroyed");
    assert_eq!(stage.machines(), [], "{case:?}");
    assert_eq!(file.reached(), due, "{case:?}: a point was never reached");
    is_contiguous(&stage);
    stage.strike();
}

/// A run fails at the leaf, and is rolled back; an agent dies at one of the points that it comes by when it destroys.
fn roll_back(case: &Case) {
    let mut stage = Stage::set("rollback");
    let file = CrashFile::new(stage.folder());
    stage.env("HOMESTAK_CRASH_AT", file.path());
    stage.env("HOMESTAK_LOCAL_FAULTS", "edge:configure:fail-permanent:always");
    let Some(point) = case.destroy.as_ref() else { return };
    file.arm([format!("{point}@{}", case.place()).as_str()]);
    let failed = stage.json(1, &["apply", case.tree.manifest, "--on-error", "rollback"]);
    all(&failed, "status", "rolled_back");
    assert_eq!(stage.machines(), [], "{case:?}: {failed:#}");
    assert_eq!(file.reached(), [format!("{point}@{}", case.place())], "{case:?}: the point was never reached");
    is_contiguous(&stage);
    stage.strike();
}

impl Case {
    /// Where the process is that dies.
    fn place(&self) -> &'static str {
        self.tree.places.iter().find(|(kind, _)| *kind == self.kind).unwrap().1
    }
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
fn as_it_stands(stage: &Stage, tree: &Tree) -> Value {
    let mut status = stage.json(0, &["status", tree.manifest]);
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
    let due = case.tree.machines;
    assert_eq!((machines.len(), running.len()), (due, due), "{case:?}: {machines:#?}");
    let agents = || {
        let processes = stage.processes();
        processes.into_iter().filter(|process| process.arguments.first().is_some_and(|name| name.ends_with("agent")))
    };
    wait::until("no agent runs twice", || (agents().count() == due + 1).then_some(()));
}
