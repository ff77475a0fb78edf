//! Requests that are never answered, and hosts that take their time: all at the same time, each on a host of its own.

use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use homestak_agent::provider::pve::Waits;
use homestak_node::world::Found;
use homestak_protocol::order::NodeKind;
use homestak_tests::document::node;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::guests::HostAgent;
use homestak_tests::stage::Stage;
use serde_json::json;
use tokio::task::JoinSet;

use crate::provider::{Driver, identity, machine};

/// An answer that takes longer does not come.
const WAITS: Waits = Waits { answer: Duration::from_secs(4), patience: Duration::from_secs(40) };

/// The part of a machine's life in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Make,
    Change,
    Destroy,
}

use Part::{Change, Destroy, Make};

/// Requests whose answer never comes, and whether they are done.
const HANGING: [(Part, NodeKind, &str, &str, bool); 13] = [
    (Make, NodeKind::Vm, "GET", "/cluster/resources", false),
    (Make, NodeKind::Vm, "POST", "/qemu", false),
    (Make, NodeKind::Vm, "POST", "/qemu", true),
    (Make, NodeKind::Vm, "PUT", "/resize", true),
    (Make, NodeKind::Vm, "POST", "/status/start", true),
    (Make, NodeKind::Vm, "POST", "/status/start", false),
    (Change, NodeKind::Vm, "PUT", "/config", true),
    (Change, NodeKind::Vm, "PUT", "/resize", true),
    (Destroy, NodeKind::Vm, "POST", "/status/shutdown", true),
    (Destroy, NodeKind::Vm, "DELETE", "/qemu/600", true),
    (Make, NodeKind::Ct, "POST", "/lxc", true),
    (Make, NodeKind::Ct, "POST", "/lxc", false),
    (Destroy, NodeKind::Ct, "DELETE", "/lxc/600", true),
];

#[tokio::test]
async fn what_is_never_answered_is_looked_at_and_is_done_once() {
    if !fakepve::is_installed("what_is_never_answered_is_looked_at_and_is_done_once") {
        return;
    }
    let stage = Stage::set("pve-unanswered");
    at_once(hosts(&stage, 0.0, WAITS), HANGING, |(host, driver), (part, kind, method, suffix, done)| async move {
        let what = format!("{method} {suffix}, done: {done}");
        let hang = |now| {
            if part == now {
                host.call("hang", json!([method, suffix, done]), json!({}));
            }
        };
        let mut ask = machine("edge", kind, Some(600));
        hang(Make);
        driver.ensure(ask.clone()).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!((host.guests().len(), &host.guest("edge")["status"]), (2, &json!("running")), "{what}: none twice");
        hang(Change);
        (ask.machine.cores, ask.machine.disk_gib) = (2, 6);
        let changed = driver.ensure(ask.clone()).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!(changed.found, Found::Updated, "{what}");
        hang(Destroy);
        driver.destroy(identity(&ask)).await.unwrap_or_else(|fault| panic!("{what}: {fault}"));
        assert_eq!(host.call("hangs", json!([]), json!({})), json!([]), "{what}: it has happened");
        let guests = host.guests();
        assert_eq!((guests.len(), &guests[0]["name"]), (1, &json!("theirs")), "{what}");
        let (create, start, destroy) = match kind {
            NodeKind::Ct => ("vzcreate", "vzstart", "vzdestroy"),
            _ => ("qmcreate", "qmstart", "qmdestroy"),
        };
        let state = host.state();
        let done = state["tasks"].as_array().unwrap().iter().filter(|task| task["exitstatus"] == "OK");
        let tasks = |kind: &str| done.clone().filter(|task| task["type"] == kind).count();
        assert_eq!([create, start, destroy].map(tasks), [1, 1, 1], "{what}: {:#}", state["tasks"]);
    })
    .await;
}

/// What takes long, and passes.
struct Slow {
    name: &'static str,
    /// Before the machine is made, or once it is there and is changed.
    part: Part,
    begin: fn(&FakePve),
}

const SLOW: [Slow; 4] = [
    Slow {
        name: "every answer takes half a second",
        part: Make,
        begin: |host| drop(host.call("slow_network", json!([0.5]), json!({ "jitter": 0.3 }))),
    },
    Slow {
        name: "one request in ten hangs",
        part: Make,
        begin: |host| drop(host.call("flaky_network", json!([]), json!({ "hang_rate": 0.1, "hang_secs": 6 }))),
    },
    Slow {
        name: "a backup has the machine",
        part: Change,
        begin: |host| drop(host.call("backup", json!([600]), json!({ "secs": 3 }))),
    },
    Slow {
        name: "another task has the lock of the machine's configuration for longer than PVE waits for it",
        part: Change,
        begin: |host| {
            host.set("lock_wait", json!(0.5));
            host.call("hold_config_lock", json!([600, 3]), json!({}));
        },
    },
];

#[tokio::test]
async fn a_host_that_takes_its_time_is_given_it() {
    if !fakepve::is_installed("a_host_that_takes_its_time_is_given_it") {
        return;
    }
    let stage = Stage::set("pve-slow");
    at_once(hosts(&stage, 1.0, WAITS), SLOW, |(host, driver), slow| async move {
        let begin = |now| {
            if slow.part == now {
                (slow.begin)(&host);
            }
        };
        let mut ask = machine("edge", NodeKind::Vm, Some(600));
        begin(Make);
        driver.ensure(ask.clone()).await.unwrap_or_else(|fault| panic!("{}: {fault}", slow.name));
        begin(Change);
        (ask.machine.cores, ask.machine.disk_gib) = (2, 6);
        let changed = driver.ensure(ask.clone()).await.unwrap_or_else(|fault| panic!("{}: {fault}", slow.name));
        assert_eq!((changed.found, host.guests().len()), (Found::Updated, 2), "{}", slow.name);
        driver.destroy(identity(&ask)).await.unwrap_or_else(|fault| panic!("{}: {fault}", slow.name));
        assert_eq!(host.guests().len(), 1, "{}", slow.name);
    })
    .await;
}

/// What does not pass, and what is said of it once patience is over.
type Lasting = (&'static str, fn(&FakePve), &'static str);

const LASTING: [Lasting; 3] = [
    ("no quorum", |host| drop(host.call("lose_quorum", json!([]), json!({}))), "lost its quorum"),
    (
        "a lock",
        |host| drop(host.call("hold_config_lock", json!([600, null]), json!({}))),
        "another task has it just now",
    ),
    (
        "no answers",
        |host| drop(host.call("flaky_network", json!([]), json!({ "hang_rate": 1.0, "hang_secs": 600 }))),
        "busy or out of reach",
    ),
];

#[tokio::test]
async fn what_does_not_pass_is_one_clear_error_when_patience_is_over() {
    if !fakepve::is_installed("what_does_not_pass_is_one_clear_error_when_patience_is_over") {
        return;
    }
    let stage = Stage::set("pve-lasting");
    let waits = Waits { answer: Duration::from_secs(2), patience: Duration::from_secs(3) };
    at_once(hosts(&stage, 1.0, waits), LASTING, |(host, driver), (name, begin, hint)| async move {
        host.set("lock_wait", json!(0.5));
        let mut ask = machine("edge", NodeKind::Vm, Some(600));
        driver.ensure(ask.clone()).await.unwrap();
        begin(&host);
        ask.machine.cores = 2;
        let fault = driver.ensure(ask).await.map(|_| ()).unwrap_err();
        assert_eq!((fault.code.as_str(), fault.retryable), ("E702", true), "{name}: {fault:?}");
        assert!(fault.hint.as_deref().is_some_and(|text| text.contains(hint)), "{name}: {fault:?}");
    })
    .await;
}

#[test]
fn a_host_that_answers_nothing_is_told_as_such_when_the_phase_is_over() {
    if !fakepve::is_installed("a_host_that_answers_nothing_is_told_as_such_when_the_phase_is_over") {
        return;
    }
    let mut stage = Stage::set("pve-silent");
    stage.env("HOMESTAK_LIMITS", "provision=6s");
    let host = FakePve::start(&stage, "father", 1.0);
    let _agent = HostAgent::join(&stage, &host, &[]);
    host.call("flaky_network", json!([]), json!({ "hang_rate": 1.0, "hang_secs": 600 }));
    let failed = stage.json(1, &["apply", "n1-push", "-H", "father", "--skip-preflight"]);
    let error = &node(&failed, "edge")["error"];
    assert_eq!(error["code"], "E710", "{failed:#}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("within 6 s: 127.0.0.1:") && message.contains("has not answered for"), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("pveproxy"), "{error}");
}

/// Hosts, each with a guest of somebody else on it and with what drives it.
fn hosts<const N: usize>(stage: &Stage, scale: f64, waits: Waits) -> [(FakePve, Driver); N] {
    let open = |n: usize| {
        let host = FakePve::start(stage, &format!("host-{n}"), scale);
        host.call("add_vm", json!([500, "theirs"]), json!({ "node": host.node, "status": "running" }));
        let driver = Driver::with(&host.settings(), &stage.folder().join(format!("state-{n}")), waits);
        (host, driver)
    };
    thread::scope(|scope| {
        let opening: [_; N] = std::array::from_fn(|n| scope.spawn(move || open(n)));
        opening.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Lives each case on a host of its own, all at once.
async fn at_once<T, F, const N: usize>(
    hosts: [(FakePve, Driver); N],
    cases: [T; N],
    live: impl Fn((FakePve, Driver), T) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut all: JoinSet<()> = hosts.into_iter().zip(cases).map(|(host, case)| live(host, case)).collect();
    while let Some(lived) = all.join_next().await {
        lived.unwrap_or_else(|error| resume_unwind(error.into_panic()));
    }
}
