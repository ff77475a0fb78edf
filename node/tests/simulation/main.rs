//! Whole trees in virtual time, coordinator included, on the real core and nothing else of the real world.
//!
//! Every process is a journal on a disk that survives, a [`Core`](homestak_node::core::Core) in a memory that does not,
//! and effects that a crash can cut off at any point. Links delay, reorder, double, lose and break; providers fail, hang
//! and are left in the middle; machines come and go with everything inside them. All of it follows from one seed.
//!
//! `HOMESTAK_SIM_SEED=n` plays one schedule and prints what happened; `HOMESTAK_SIM_COUNT=n` plays the first `n`.
//!
//! - [`forest`]: manifests. [`chance`]: seeds and misfortune. [`clock`]: virtual time. [`wire`]: links. [`world`]: machines.
//! - [`process`]: disk, memory, turns. [`sim`]: all of them. [`errand`]: one run. [`schedule`]: random schedules.
//! - [`promises`] and [`verdict`]: what must hold, always and in the end. [`planted`]: bugs on purpose.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "this is a test, all of it"
)]

mod chance;
mod clock;
mod errand;
mod forest;
mod planted;
mod process;
mod promises;
mod schedule;
mod sim;
mod tracing;
mod verdict;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use schedule::Play;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn random_schedules_keep_every_promise() {
    if let Some(seed) = number("HOMESTAK_SIM_SEED") {
        let play = Play { traced: true, ..Play::of(seed) };
        let sim = play.run();
        for (at, place, text) in sim.lines.iter().flatten() {
            eprintln!("{at:>8} {place}: {text}");
        }
        eprintln!("{:?}", sim.watch.broken);
        return;
    }
    let count = number("HOMESTAK_SIM_COUNT").unwrap_or(10_000);
    let next = AtomicU64::new(0);
    let began = std::time::Instant::now();
    let found: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= count {
                            return found;
                        }
                        let broken = std::panic::catch_unwind(|| Play::of(seed).breaks());
                        match broken {
                            Ok(None) => {}
                            Ok(Some(broken)) => found.push((
                                seed,
                                broken.promise.to_owned(),
                                format!("{}: {}", broken.place, broken.what),
                            )),
                            Err(_) => found.push((seed, "panic".into(), String::new())),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    eprintln!("{count} in {:?}", began.elapsed());
    let mut by: std::collections::BTreeMap<&str, Vec<&(u64, String, String)>> = Default::default();
    for f in &found {
        by.entry(f.1.as_str()).or_default().push(f);
    }
    for (p, f) in &by {
        eprintln!("== {p}: {}", f.len());
        for x in f.iter().take(6) {
            eprintln!("   {} {}", x.0, x.2.chars().take(300).collect::<String>());
        }
    }
    assert!(found.is_empty());
}
