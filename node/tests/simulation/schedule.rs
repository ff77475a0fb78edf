//! Random schedules: a forest, a climate, a few runs in bad weather, and then fair weather, in which everything must come
//! right.

use std::collections::BTreeSet;

use homestak_protocol::order::{OnError, Verb};
use homestak_protocol::path::TreeId;

use crate::backup::Backup;
use crate::chance::{Chance, Climate};
use crate::errand::{Errand, Want, any_policy, policy};
use crate::forest::Manifest;
use crate::planted::Planted;
use crate::promises::Broken;
use crate::sim::{COORDINATOR, Sim};

/// How long a run may take once nothing goes wrong any more, in milliseconds of virtual time. Two hundred nodes, one at a
/// time, each at its limits, take less.
pub(crate) const SETTLES_WITHIN: u64 = 6 * 3600 * 1000;

/// How a schedule is played.
#[derive(Debug, Clone, Default)]
pub(crate) struct Play {
    pub(crate) seed: u64,
    /// Strokes of fate that are left out.
    pub(crate) spared: BTreeSet<u32>,
    /// Strokes from here on are left out; none where all strike.
    pub(crate) only_first: Option<u32>,
    /// Whether to note what happens.
    pub(crate) traced: bool,
    /// A bug put in on purpose.
    pub(crate) planted: Option<Planted>,
}

impl Play {
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Plays it to its end. What is left of the world comes back, with the promise that was broken in it, if one was.
    pub(crate) fn run(&self) -> Sim {
        let mut plot = Chance::seeded(self.seed ^ 0x9107_0000_0000_0000);
        let climate = Climate::draw(&mut plot);
        let hosts: &[&str] = if plot.mille(100) { &["father", "uncle"] } else { &["father"] };
        let mut forest = forest(&mut plot, hosts);
        let mut sim = Sim::new(self.seed, hosts, climate);
        sim.planted = self.planted;
        sim.fate.spared = self.spared.clone();
        sim.fate.only_first = self.only_first.unwrap_or(u32::MAX);
        sim.lines = self.traced.then(Vec::new);
        if sim.calm_down(SETTLES_WITHIN) {
            play(&mut sim, &mut plot, hosts, &mut forest);
        }
        sim
    }

    /// The promise that it breaks, if it does.
    pub(crate) fn breaks(&self) -> Option<Broken> {
        self.run().watch.broken
    }
}

/// Mostly one tree of five to thirty nodes; sometimes two; one in a hundred has two hundred nodes.
fn forest(plot: &mut Chance, hosts: &[&str]) -> Vec<Manifest> {
    let size = |plot: &mut Chance| match plot.below(100) {
        0 => 200,
        1..8 => plot.between(1, 4),
        8..75 => plot.between(5, 12),
        _ => plot.between(13, 30),
    };
    let first = size(plot);
    let mut forest = vec![Manifest::random("father", "m", usize::try_from(first).unwrap(), plot)];
    if first < 13 && (hosts.len() > 1 || plot.mille(120)) {
        let host = hosts[hosts.len() - 1];
        let second = plot.between(2, 8);
        forest.push(Manifest::random(host, "w", usize::try_from(second).unwrap(), plot));
    }
    forest
}

fn play(sim: &mut Sim, plot: &mut Chance, hosts: &[&str], forest: &mut [Manifest]) {
    let trees: Vec<_> = forest.iter().map(|manifest| manifest.tree.clone()).collect();
    let mut clean = true;
    let restores = plot.mille(60);
    let backup = Backup::take(sim);
    for act in 0..plot.between(1, 2) {
        let errands = forest.iter_mut().map(|manifest| bad_run(sim, plot, manifest, act == 0, clean)).collect();
        sim.wake_fate();
        let lasts = plot.between(5_000, 120_000);
        clean = plot.mille(600);
        if !storm_through(sim, plot, errands, lasts) || (clean && !quiet(sim, &trees)) {
            return;
        }
    }
    sim.fate.awake = false;
    if !sim.calm_down(SETTLES_WITHIN) {
        return;
    }
    sim.judge_quiet(&trees);
    if restores && sim.watch.broken.is_none() && sim.watch.forgotten.is_empty() {
        backup.restore(sim, hosts, forest);
        trees.iter().for_each(|tree| sim.judge_agreement(tree));
    }
    for manifest in forest.iter() {
        if sim.watch.broken.is_none() {
            ending(sim, plot, manifest);
        }
    }
}

/// A run in bad weather.
fn bad_run(sim: &mut Sim, plot: &mut Chance, manifest: &mut Manifest, first: bool, clean: bool) -> Errand {
    let want = match plot.below(10) {
        0 | 1 if !first => Want::Destroy,
        2..7 if !first => {
            *manifest = manifest.changed(plot);
            Want::Apply(manifest.clone())
        }
        _ => Want::Apply(manifest.clone()),
    };
    let mut errand = Errand::new(sim, manifest.tree.clone(), want, any_policy(plot), clean);
    errand.word = match plot.below(100) {
        0..10 => Some(Verb::Cancel),
        10..14 => Some(Verb::Halt),
        14..20 => Some(Verb::Rollback),
        _ => None,
    }
    .filter(|_| matches!(errand.want, Want::Apply(_)))
    .map(|verb| (plot.between(0, 20_000), verb));
    errand
}

/// Runs through bad weather, which ends some time, until the runs are over. Some are not waited for: another takes over.
fn storm_through(sim: &mut Sim, plot: &mut Chance, mut errands: Vec<Errand>, lasts: u64) -> bool {
    let fair = sim.clock.now + lasts;
    let takes_over = plot.mille(120).then(|| sim.clock.now + plot.between(500, 30_000));
    let mut heard = u64::MAX;
    let done = sim.run(SETTLES_WITHIN, |sim| {
        if sim.clock.now > fair {
            sim.fate.awake = false;
        }
        if takes_over.is_some_and(|at| sim.clock.now > at) && errands.iter().all(Errand::is_taken) {
            return false;
        }
        // Only what the coordinator does, or the time, changes anything for whoever drives it.
        if std::mem::replace(&mut heard, sim.news) == sim.news {
            return true;
        }
        errands.retain_mut(|errand| {
            let over = errand.pursue(sim);
            if over {
                sim.judge_end(errand);
            }
            !over
        });
        !errands.is_empty()
    });
    if !done && sim.watch.broken.is_none() {
        let open = sim.unsettled();
        sim.broken("every run ends", COORDINATOR, open.join("; "));
    }
    done
}

/// Everything calms down, and is as it should be.
fn quiet(sim: &mut Sim, trees: &[TreeId]) -> bool {
    let calm = sim.calm_down(SETTLES_WITHIN);
    if calm {
        sim.judge_quiet(trees);
    }
    calm && sim.watch.broken.is_none()
}

/// A run in fair weather.
pub(crate) fn fair_run(sim: &mut Sim, manifest: &Manifest, want: Want, clean: bool) -> Option<Errand> {
    let errand = Errand::new(sim, manifest.tree.clone(), want, policy(OnError::Stop, true), clean);
    let done = storm_through(sim, &mut Chance::seeded(0), vec![errand.clone()], 0);
    (done && sim.watch.broken.is_none()).then_some(errand)
}

/// Fair weather: what is applied comes to be, a second time changes nothing, and what is destroyed is gone.
fn ending(sim: &mut Sim, plot: &mut Chance, manifest: &Manifest) {
    let trees = [manifest.tree.clone()];
    let was_forgotten = !sim.watch.forgotten.is_empty();
    sim.watch.stolen.retain(|place| !manifest.tree.holds(place));
    let way = plot.below(10);
    if way < 7 {
        let Some(errand) = fair_run(sim, manifest, Want::Apply(manifest.clone()), !was_forgotten) else { return };
        sim.judge_built(&errand, was_forgotten);
        if sim.watch.broken.is_some() || !quiet(sim, &trees) {
            return;
        }
    }
    if way < 5 {
        let before = (sim.world.made, sim.world.unmade, sim.world.reconfigured);
        let Some(errand) = fair_run(sim, manifest, Want::Apply(manifest.clone()), true) else { return };
        sim.judge_unchanged(&errand, before);
    }
    if way >= 4 && sim.watch.broken.is_none() {
        let Some(errand) = fair_run(sim, manifest, Want::Destroy, true) else { return };
        sim.judge_destroyed(&errand);
        quiet(sim, &trees);
    }
}
