//! A crash at every step, exhaustively: the world is forked at each turn of each process, once for every point at which it
//! can die there, and each fork is lived to its end.

use std::collections::BTreeMap;

use homestak_protocol::event::{Action, Status};
use homestak_protocol::order::OnError;
use homestak_protocol::path::NodePath;

use crate::chance::Climate;
use crate::clock::Happening;
use crate::errand::{Errand, Want, policy};
use crate::forest::Manifest;
use crate::promises::Broken;
use crate::report;
use crate::schedule::{SETTLES_WITHIN, fair_run};
use crate::sim::{COORDINATOR, Sim};

/// What is done to a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Apply,
    Destroy,
    /// Half of the tree is found, and a node of the other half fails.
    Rollback,
}

/// How it all ended: what the root says of each node, and whether its machine is there.
type End = BTreeMap<NodePath, (Option<(Status, Action)>, bool)>;

/// What was tried.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) turns: u64,
    pub(crate) deaths: u64,
}

/// Tries every crash while this deed is done to a tree of this shape. The first one that breaks something comes back.
pub(crate) fn every_crash(shape: &str, deed: Deed) -> Result<Tally, String> {
    let (mut base, mut errand) = begin(shape, deed);
    let mut undisturbed = base.clone();
    let expected =
        finish(&mut undisturbed, errand.clone(), deed).map_err(|broken| format!("undisturbed: {broken:?}"))?;
    let mut tally = Tally::default();
    while !errand.pursue(&mut base) {
        if let Some(pid) = base.next_turn() {
            tally.turns += 1;
            let point = (0..).find(|&point| {
                let (died, verdict) = die(&base, point, &errand, deed, &expected);
                tally.deaths += u64::from(died);
                !died || verdict.is_err()
            });
            let mut traced = base.clone();
            traced.lines = Some(Vec::new());
            let point = point.unwrap_or_default();
            if let (_, Err(why)) = die(&traced, point, &errand, deed, &expected) {
                let (place, at) = (&base.processes[pid].place, base.clock.now);
                return Err(format!("{place} dies at {at} ms of {deed:?} of {shape}, point {point}: {why}"));
            }
        }
        if !base.tick() {
            return Err("it comes to a stop".to_owned());
        }
    }
    Ok(tally)
}

/// Lets the process whose turn it is die at this point, if there is such a point, and lives on to the end.
fn die(base: &Sim, point: usize, errand: &Errand, deed: Deed, expected: &End) -> (bool, Result<(), String>) {
    let mut fork = base.clone();
    fork.dies_at = Some(point);
    fork.tick();
    if !std::mem::take(&mut fork.died) {
        return (false, Ok(()));
    }
    let verdict = finish(&mut fork, errand.clone(), deed).and_then(|end| compare(&end, expected));
    (true, verdict.map_err(|broken| format!("{broken:?}\n{}", report::lines(&fork, &broken.place).join("\n"))))
}

/// The world just before the deed.
fn begin(shape: &str, deed: Deed) -> (Sim, Errand) {
    let manifest = Manifest::drawn("father", "m", shape);
    let mut sim = Sim::new(7, &["father"], Climate::default());
    sim.calm_down(SETTLES_WITHIN);
    let paths = manifest.paths();
    let half = manifest.first(paths.len() / 2);
    let (before, on_error) = match deed {
        Deed::Apply => (None, OnError::Stop),
        Deed::Destroy => (Some(manifest.clone()), OnError::Stop),
        Deed::Rollback => (Some(half).filter(|half| !half.paths().is_empty()), OnError::Rollback),
    };
    if let Some(before) = before {
        fair_run(&mut sim, &before, Want::Apply(before.clone()), true);
        sim.calm_down(SETTLES_WITHIN);
    }
    if deed == Deed::Rollback {
        sim.doomed = paths.last().cloned();
    }
    let want = if deed == Deed::Destroy { Want::Destroy } else { Want::Apply(manifest.clone()) };
    let errand = Errand::new(&mut sim, manifest.tree.clone(), want, policy(on_error, false), true);
    (sim, errand)
}

/// Lives on to the end.
fn finish(sim: &mut Sim, mut errand: Errand, deed: Deed) -> Result<End, Broken> {
    let over = sim.run(SETTLES_WITHIN, |sim| !errand.pursue(sim));
    if over {
        sim.judge_end(&errand);
    }
    let quiet = over && sim.calm_down(SETTLES_WITHIN);
    if quiet {
        sim.judge_quiet(std::slice::from_ref(&errand.tree));
    }
    if !quiet {
        sim.broken("every run ends", COORDINATOR, sim.unsettled().join("; "));
    }
    if let Some(broken) = &sim.watch.broken {
        return Err(broken.clone());
    }
    let mut end: End = sim.world.of_tree(&errand.tree).map(|(place, _)| (place.clone(), (None, true))).collect();
    // How far a node had come when another one failed is a matter of time, and so is what is said of it then.
    if deed != Deed::Rollback {
        for view in sim.views(&errand.tree) {
            end.entry(view.path.clone()).or_default().0 = Some((view.status, view.action));
        }
    }
    Ok(end)
}

/// A crash costs time and nothing else.
fn compare(end: &End, expected: &End) -> Result<(), Broken> {
    let Some(place) = expected.keys().chain(end.keys()).find(|place| end.get(*place) != expected.get(*place)) else {
        return Ok(());
    };
    let what = format!("{:?}, and {:?} where nobody dies", end.get(place), expected.get(place));
    Err(Broken { promise: "a crash changes nothing but the time", place: place.clone(), what })
}

impl Sim {
    /// Whose turn it is next, if the next thing is a turn that will be taken.
    fn next_turn(&self) -> Option<usize> {
        match self.clock.peek()? {
            Happening::Turn(pid, life) if self.processes[*pid].life == *life => Some(*pid),
            _ => None,
        }
    }
}
