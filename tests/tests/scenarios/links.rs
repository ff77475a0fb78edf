//! Links in bad weather: a relay between a parent and a child loses everything for a while, or some, or holds it back.
//! Nothing changes but the time.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use homestak_tests::chance::{Chance, seed};
use homestak_tests::document::{all, is_contiguous, nodes};
use homestak_tests::relay::{Relay, Weather};
use homestak_tests::stage::Stage;
use homestak_tests::wait;
use serde_json::Value;

/// Every child of the tree, with where it is told from.
const CHILDREN: [&str; 4] =
    ["local", "local/n3-deep/root-pve", "local/n3-deep/root-pve/leaf-pve", "local/n3-deep/root-pve/leaf-pve/edge"];

/// Longer than the idle timeout of a link, which is 15 s.
const PAST_IDLE: Duration = Duration::from_secs(18);

/// The weather of one case.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// Dead for a while in mid-run.
    Dead(Duration),
    /// Bad all the time.
    Bad(Weather),
}

#[test]
fn a_link_that_is_dead_for_ten_seconds_in_mid_run_costs_only_time() {
    between_each("dead", Case::Dead(Duration::from_secs(10)));
}

#[test]
fn a_link_that_is_dead_for_longer_than_the_idle_timeout_costs_only_time() {
    between_each("idle", Case::Dead(PAST_IDLE));
}

#[test]
fn a_link_that_loses_a_fifth_of_its_packets_costs_only_time() {
    between_each("loss", Case::Bad(Weather::loss(20)));
}

#[test]
fn a_link_that_is_300_ms_late_costs_only_time() {
    between_each("late", Case::Bad(Weather::delay(Duration::from_millis(300))));
}

/// One stage for each child, all at once: most of the time is waiting.
fn between_each(name: &str, case: Case) {
    let seed = seed(name);
    thread::scope(|scope| {
        for (n, child) in CHILDREN.into_iter().enumerate() {
            scope.spawn(move || between(&format!("{name}-{n}"), child, case, seed + n as u64));
        }
    });
}

fn between(name: &str, child: &str, case: Case, seed: u64) {
    let mut chance = Chance::of(seed);
    let relay = Relay::start(chance.draw());
    let mut stage = Stage::set(name);
    stage.env("HOMESTAK_LOCAL_LINKS", format!("{child}={}", relay.address));
    stage
        .env("HOMESTAK_LOCAL_FAULTS", "root-pve:configure:delay=400,leaf-pve:host:delay=400,edge:configure:delay=1500");
    stage.coord(&["server", "start"]).exits(0);

    let over = AtomicBool::new(false);
    let built = thread::scope(|scope| {
        scope.spawn(|| show_the_way(&stage, child, &relay, &over));
        if let Case::Bad(weather) = case {
            relay.turn(weather);
        }
        let run = stage.start(&["apply", "n3-deep", "--json"]);
        if let Case::Dead(time) = case {
            // From the first machine on, so that each step of the way is met by some of the cases.
            let begin = usize::try_from(chance.draw() % 3).unwrap() + 1;
            wait::until("the run is under way", || (stage.machines().len() >= begin).then_some(()));
            thread::sleep(Duration::from_millis(chance.draw() % 500));
            relay.turn(Weather::OUTAGE);
            thread::sleep(time);
            relay.turn(Weather::FAIR);
        }
        let built = run.finish(Duration::from_secs(120));
        over.store(true, Ordering::Relaxed);
        built
    });
    let (passed, lost) = relay.counts();
    let built = built.exits(0).json();
    assert!(passed > 20, "{child} went another way: {passed} packets passed");
    assert!(lost > 0 || matches!(case, Case::Bad(Weather { loss: 0, .. })), "{child}: nothing was lost");

    assert_eq!(as_if_fair(&built), fair(), "{child} {case:?}");
    let machines = stage.machines();
    assert_eq!(machines.len(), 3, "{child} {case:?}: {machines:#?}");
    relay.turn(Weather::FAIR);
    is_contiguous(&stage);
    all(&stage.json(0, &["apply", "n3-deep"]), "action", "unchanged");
    assert_eq!(stage.machines(), machines);
    // Whoever is started for the way down must find it, too.
    let gone = stage.json(0, &["destroy", "n3-deep", "--yes"]);
    all(&gone, "status", "destroyed");
    is_contiguous(&stage);
    stage.strike();
}

/// Tells the relay where the parent is, as soon as that is known.
fn show_the_way(stage: &Stage, child: &str, relay: &Relay, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        if let Some(parent) = parent_of(stage, child) {
            relay.towards(parent);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where the parent of a child listens, once it does.
fn parent_of(stage: &Stage, child: &str) -> Option<SocketAddr> {
    let kept = |state: &Path| fs::read_to_string(state.join("port")).ok()?.trim().parse().ok();
    let (ip, port) = match child.rsplit_once('/') {
        None => {
            let status = stage.json(0, &["server", "status"]);
            (Ipv4Addr::LOCALHOST, status["port"].as_u64().and_then(|port| u16::try_from(port).ok())?)
        }
        Some(("local/n3-deep", _)) => (Ipv4Addr::LOCALHOST, kept(&stage.host_state())?),
        Some((parent, _)) => {
            let machine = stage.machines().into_iter().find(|machine| machine.path == parent)?;
            (machine.ip, kept(&machine.state())?)
        }
    };
    Some((ip, port).into())
}

/// What a run comes to, without what differs from one to the next.
fn as_if_fair(document: &Value) -> BTreeMap<String, (String, String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let phase = |phase: &Value| format!("{} {}", text(&phase["name"]), text(&phase["status"]));
    let of = |node: &Value| {
        let phases = node["phases"].as_array().unwrap().iter().map(phase).collect();
        (text(&node["path"]), (text(&node["status"]), text(&node["action"]), phases))
    };
    nodes(document).iter().map(of).collect()
}

fn fair() -> BTreeMap<String, (String, String, Vec<String>)> {
    let host = ["provision", "boot", "enrol", "host", "configure", "forward"].as_slice();
    let leaf = ["provision", "boot", "enrol", "configure"].as_slice();
    let of = |path: &str, phases: &[&str]| {
        let phases = phases.iter().map(|phase| format!("{phase} passed")).collect();
        (path.to_owned(), ("completed".to_owned(), "created".to_owned(), phases))
    };
    [of(CHILDREN[1], host), of(CHILDREN[2], host), of(CHILDREN[3], leaf)].into()
}
