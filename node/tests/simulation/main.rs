//! Whole trees in virtual time, coordinator included, on the real core and nothing else of the real world.
//!
//! Every process is a journal on a disk that survives, a [`Core`](homestak_node::core::Core) in a memory that does not,
//! and effects that a crash can cut off at any point. Links delay, reorder, double, lose and break; providers fail, hang
//! and are left in the middle; machines come and go with everything inside them. All of it follows from one seed.
//!
//! `HOMESTAK_SIM_SEED=n` plays one schedule and prints all that happened; `HOMESTAK_SIM_COUNT=n` plays so many, from
//! `HOMESTAK_SIM_FROM` on.
//!
//! - [`forest`]: manifests. [`chance`]: seeds and misfortune. [`clock`]: virtual time. [`wire`]: links. [`world`]: machines.
//! - [`process`]: disk, memory, turns. [`sim`]: all of them. [`errand`]: one run. [`schedule`]: random schedules.
//! - [`crashes`]: a crash at every step. [`backup`]: a coordinator that was restored. [`planted`]: bugs on purpose.
//! - [`promises`] and [`verdict`]: what must hold, always and in the end. [`report`] and [`tracing`]: what went wrong.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "this is a test, all of it"
)]

mod backup;
mod chance;
mod clock;
mod crashes;
mod errand;
mod forest;
mod planted;
mod process;
mod promises;
mod report;
mod schedule;
mod sim;
mod tracing;
mod verdict;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crashes::{Deed, Tally};
use planted::Planted;
use schedule::Play;

/// How many schedules are played where nobody says otherwise.
const SCHEDULES: u64 = 10_000;
/// How many broken promises are reported in full.
const REPORTED: usize = 3;
/// Within how many schedules a bug must be found that was put in on purpose.
const FOUND_WITHIN: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Calls `job` with 0, 1, 2 and so on up to `count` on every core, and collects what it finds until there is enough.
fn on_all_cores<T: Send>(count: u64, enough: usize, job: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let (next, found) = (AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || found.lock().unwrap().len() >= enough {
                        return;
                    }
                    if let Some(it) = job(number) {
                        found.lock().unwrap().push(it);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

fn plays(seeds: &(dyn Fn(u64) -> u64 + Sync), count: u64) {
    let broken = on_all_cores(count, REPORTED, |number| {
        let play = Play::of(seeds(number));
        play.breaks().map(|broken| report::of(&play, &broken))
    });
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn schedules_that_once_broke_a_promise_keep_them_all() {
    let lines = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let seeds: Vec<u64> = lines.map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect();
    plays(&|number| seeds[number as usize], seeds.len() as u64);
}

#[test]
fn random_schedules_keep_every_promise() {
    if let Some(seed) = number("HOMESTAK_SIM_SEED") {
        let sim = Play { traced: true, ..Play::of(seed) }.run();
        for (at, place, text) in sim.lines.iter().flatten() {
            eprintln!("{at:>8} {place}: {text}");
        }
        return plays(&|_| seed, 1);
    }
    let began = Instant::now();
    let (from, count) = (number("HOMESTAK_SIM_FROM").unwrap_or(0), number("HOMESTAK_SIM_COUNT").unwrap_or(SCHEDULES));
    plays(&|number| from + number, count);
    eprintln!("{count} schedules from seed {from} on in {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn a_crash_at_any_step_changes_nothing_but_the_time() {
    let began = Instant::now();
    let deeds = [Deed::Apply, Deed::Destroy, Deed::Rollback];
    let tried = on_all_cores((forest::SHAPES.len() * deeds.len()) as u64, usize::MAX, |number| {
        let (shape, deed) = (number as usize / deeds.len(), number as usize % deeds.len());
        // The largest first, so that all cores end together.
        let shape = forest::SHAPES[forest::SHAPES.len() - 1 - shape];
        Some(crashes::every_crash(shape, deeds[deed]))
    });
    let mut all = Tally::default();
    for result in tried {
        let tally = result.unwrap_or_else(|why| panic!("{why}"));
        all.turns += tally.turns;
        all.deaths += tally.deaths;
    }
    eprintln!("{} deaths in {} turns in {:.1} s", all.deaths, all.turns, began.elapsed().as_secs_f64());
    assert!(all.deaths > 5_000, "there is more to die of than {all:?}");
}

/// The promises that a planted bug breaks, in schedules from the first on.
fn found(planted: Planted) -> Vec<&'static str> {
    let broken = on_all_cores(FOUND_WITHIN, 1, |seed| Play { planted: Some(planted), ..Play::of(seed) }.breaks());
    broken.into_iter().map(|broken| broken.promise).collect()
}

#[test]
fn a_life_that_is_not_written_down_first_is_found() {
    assert!(!found(Planted::LifeForgotten).is_empty());
}

#[test]
fn an_acknowledgement_before_the_disk_is_found() {
    let found = found(Planted::EarlyAcknowledgement);
    assert!(!found.is_empty());
}

#[test]
fn a_rollback_of_what_was_found_is_found() {
    assert!(!found(Planted::EverythingIsOurs).is_empty());
}
