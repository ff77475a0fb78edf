//! A hundred machines at once, and an agent that dies over and over while it makes them, or destroys them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use homestak_tests::crash::CrashFile;
use homestak_tests::document::{all, nodes};
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::{Guests, HostAgent, pct_stand_in};
use homestak_tests::manifest::Manifest;
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::{Value, json};

/// How many machines.
const MACHINES: usize = 100;
/// How many of the deaths have to be where it matters.
const DEATHS: usize = 20;
/// How many are tried for that at most: a task may have ended before it was looked at.
const ATTEMPTS: usize = 40;

/// Between the intent and its task being on record, and while the task runs.
const MAKING: [&str; 6] = [
    "pve.create:before",
    "pve.create:after",
    "pve.create-task:before",
    "pve.start:before",
    "pve.start:after",
    "pve.start-task:before",
];
const SHUTTING_DOWN: [&str; 3] = ["pve.shutdown:before", "pve.shutdown:after", "pve.shutdown-task:before"];
const DESTROYING: [&str; 6] = [
    "pve.stop:before",
    "pve.stop:after",
    "pve.stop-task:before",
    "pve.destroy:before",
    "pve.destroy:after",
    "pve.destroy-task:before",
];

/// A host, its agent, and where that is to die.
struct Mortal {
    crash: CrashFile,
    host: Arc<FakePve>,
    agent: HostAgent,
    stage: Stage,
    deaths: Cell<usize>,
}

impl Mortal {
    fn set(name: &str) -> Self {
        let stage = Stage::set(name);
        let crash = CrashFile::new(stage.folder());
        let mut host = FakePve::start(&stage, "father", 1.0);
        host.parallel = 3;
        let plan = crash.path().display().to_string();
        let path = pct_stand_in(&stage);
        let agent = HostAgent::join(&stage, &host, &[("HOMESTAK_CRASH_AT", &plan), ("PATH", &path)]);
        Self { crash, host: Arc::new(host), agent, stage, deaths: Cell::new(0) }
    }

    fn file(&self, manifest: &Manifest) -> String {
        self.stage.file("manifest.yaml", manifest.text()).display().to_string()
    }

    /// Lets it die at this point, and says whether that was where it matters.
    fn dies(&self, point: &str) -> bool {
        self.is_to_die(point);
        self.has_died(point)
    }

    /// From here on it dies when it comes by this point.
    fn is_to_die(&self, point: &str) {
        self.crash.arm([format!("{point}@father").as_str()]);
    }

    /// Waits until it has died at this point. True if what is on disk then says that it was between an intent and its task, or
    /// that a task that it waited for runs on without it.
    fn has_died(&self, point: &str) -> bool {
        let before = self.deaths.get();
        let died = wait::attempt(Duration::from_secs(60), || self.agent.has_ended().then_some(()));
        assert!(died.is_some(), "nobody came by {point}: {}", self.host.guests().len());
        self.deaths.set(before + 1);
        assert_eq!(self.crash.reached().len(), before + 1, "it died where it was to: {point}");
        let tasks = self.host.state()["tasks"].as_array().unwrap().clone();
        let runs = |upid: &Value| tasks.iter().any(|task| task["upid"] == *upid && task["status"] == "running");
        let deed = point.trim_start_matches("pve.").split(['-', ':']).next().unwrap_or_default();
        let steps = self.steps().into_iter().filter(|step| step["deed"] == deed);
        let mut tasks = steps.map(|step| step["task"].clone());
        if point.contains("-task:") { tasks.any(|task| runs(&task)) } else { tasks.any(|task| task.is_null()) }
    }

    /// What its records say is being done.
    fn steps(&self) -> Vec<Value> {
        let records = std::fs::read_dir(self.agent.state().join("pve")).unwrap();
        let texts = records.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
        texts.filter_map(|text| Some(serde_json::from_str::<Value>(&text).ok()?["step"].clone())).collect()
    }

    /// Lets it die at these points in turn until that was where it matters often enough.
    fn dies_over_and_over(&self, points: &[&str], often: usize) {
        let mut counted = 0;
        for point in points.iter().cycle().take(ATTEMPTS) {
            counted += usize::from(self.dies(point));
            self.agent.start_again();
            if counted >= often {
                return;
            }
        }
        panic!("only {counted} of {ATTEMPTS} deaths were where they matter");
    }

    /// Waits until the latest run has ended.
    fn ended(&self) -> Value {
        wait::within(Duration::from_secs(240), "the run is over", || {
            let runs = self.stage.json(0, &["runs", "--limit", "1"]);
            (runs["runs"][0]["state"] != "running").then(|| runs["runs"][0]["state"].clone())
        })
    }

    /// How many tasks of a kind went well.
    fn done(&self, kind: &str) -> usize {
        let state = self.host.state();
        let tasks = state["tasks"].as_array().unwrap().iter();
        tasks.filter(|task| task["type"] == kind && task["exitstatus"] == "OK").count()
    }
}

#[test]
fn a_hundred_machines_come_to_be_once_each_however_often_their_maker_dies_and_whatever_is_locked() {
    if !fakepve::is_installed("a_hundred_machines_come_to_be_once_each_however_often_their_maker_dies") {
        return;
    }
    let mortal = Mortal::set("pve-crash");
    let (stage, host) = (&mortal.stage, &mortal.host);
    host.set("task_secs", json!({ "qmcreate": 0.6, "resize": 0.05, "qmstart": 0.4 }));
    for call in ["/qemu", "/status/start"] {
        let locked = json!({ "status": 500, "message": "can't lock file '/var/lock/x' - got timeout", "times": 30 });
        host.call("fail", json!(["POST", call]), locked);
    }
    let mut manifest = Manifest::new("many", 20_000);
    for n in 0..MACHINES {
        manifest = manifest.vm(&format!("m{n}"), None);
    }
    let file = mortal.file(&manifest);
    stage.json(0, &["apply", &file, "-H", "father", "--parallel", "100", "--detach"]);
    mortal.dies_over_and_over(&MAKING, DEATHS);
    wait::within(Duration::from_secs(180), "every machine is there and runs", || {
        let running = host.guests().iter().filter(|guest| guest["status"] == "running").count();
        (running == MACHINES).then_some(())
    });
    assert_eq!(host.look("/failures"), json!([]), "every lock was met");
    let guests = host.guests();
    assert_eq!(guests.len(), MACHINES, "none twice");
    let names: BTreeSet<_> = guests.iter().map(|guest| guest["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), MACHINES, "none for another");
    assert_eq!((mortal.done("qmcreate"), mortal.done("qmstart")), (MACHINES, MACHINES), "nothing was done twice");
    let at_once = host.state()["at_once"]["qmcreate"].as_u64().unwrap();
    assert_eq!(at_once, 3, "as many at once as one storage is to bear, whatever earlier lives have begun");
    let _guests = Guests::keep(stage, &[Arc::clone(host)], &[]);
    assert_eq!(mortal.ended(), "succeeded");
    let status = stage.json(0, &["status", "many", "-H", "father"]);
    assert_eq!(nodes(&status).len(), MACHINES);
    all(&status, "status", "completed");
    assert_eq!(host.guests().len(), MACHINES);
}

#[test]
fn machines_go_once_each_however_often_their_destroyer_dies() {
    if !fakepve::is_installed("machines_go_once_each_however_often_their_destroyer_dies") {
        return;
    }
    let mortal = Mortal::set("pve-crash-destroy");
    let (stage, host) = (&mortal.stage, &mortal.host);
    host.call("add_vm", json!([500, "theirs"]), json!({ "node": "father", "status": "running" }));
    let volumes = host.state()["volumes"].clone();
    let mut manifest = Manifest::new("many", 20_000);
    for n in 0..20 {
        manifest = manifest.vm(&format!("m{n}"), None);
    }
    let file = mortal.file(&manifest);
    let run = stage.json(0, &["apply", &file, "-H", "father", "--parallel", "100", "--detach"]);
    wait::until("every machine runs", || {
        let running = host.guests().iter().filter(|guest| guest["status"] == "running").count();
        (running == 21).then_some(())
    });
    stage.json(0, &["cancel", run["run"].as_str().unwrap()]);
    mortal.ended();
    host.set("task_secs", json!({ "qmshutdown": 1.0, "qmstop": 1.0, "qmdestroy": 1.0 }));
    stage.json(0, &["destroy", "many", "-H", "father", "--yes", "--parallel", "2", "--detach"]);
    mortal.dies_over_and_over(&SHUTTING_DOWN, SHUTTING_DOWN.len());
    // The rest of them do not hear.
    let deaf = json!({ "status": 500, "message": "VM quit/powerdown failed" });
    host.call("fail", json!(["POST", "/status/shutdown"]), deaf);
    mortal.dies_over_and_over(&DESTROYING, DESTROYING.len());
    assert_eq!(mortal.ended(), "succeeded");
    let left = host.guests();
    assert_eq!((left.len(), &left[0]["name"]), (1, &json!("theirs")));
    assert_eq!(mortal.done("qmdestroy"), 20, "none twice");
    assert_eq!((host.state()["volumes"].clone(), host.snippet_files()), (volumes, Vec::<String>::new()));
    assert_eq!(std::fs::read_dir(mortal.agent.state().join("pve")).unwrap().count(), 0, "no record is left");
}

#[test]
fn a_container_whose_maker_dies_before_its_agent_is_in_it_gets_it_all_the_same() {
    if !fakepve::is_installed("a_container_whose_maker_dies_before_its_agent_is_in_it_gets_it_all_the_same") {
        return;
    }
    let mortal = Mortal::set("pve-crash-container");
    let (stage, host) = (&mortal.stage, &mortal.host);
    let _guests = Guests::keep(stage, &[Arc::clone(host)], &[]);
    let file = mortal.file(&Manifest::new("boxes", 30_000).ct("box", None));
    let file = {
        let text = std::fs::read_to_string(&file).unwrap().replace(", image: debian-12", "");
        stage.file("boxes.yaml", text).display().to_string()
    };
    mortal.is_to_die("pve.create-task:after");
    stage.json(0, &["apply", &file, "-H", "father", "--detach"]);
    // It is there, nothing has been put into it, and it does not run.
    mortal.has_died("pve.create-task:after");
    let root = stage.folder().join("containers/30000/usr/local/bin/homestak-agent");
    assert!(!root.exists());
    assert_eq!(host.guest("box")["status"], "stopped");
    mortal.agent.start_again();
    assert_eq!(mortal.ended(), "succeeded");
    assert!(root.exists());
    assert_eq!((mortal.done("vzcreate"), mortal.done("vzstart")), (1, 1), "nothing was done twice");
}
