//! What homestak adds to the time that Proxmox VE itself takes, on a fake host whose tasks last as long as they are told to.
//!
//! Skipped where the fake is not installed (`make fakepve`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench prints what it measures, and fails by panicking"
)]

#[path = "../tests/pve/provider.rs"]
mod provider;

use std::sync::Arc;
use std::time::{Duration, Instant};

use homestak_protocol::order::NodeKind;
use homestak_tests::fakepve::{self, FakePve};
use homestak_tests::stage::Stage;
use serde_json::json;

use crate::provider::{Driver, identity, machine};

/// How long a task of PVE takes here, in seconds.
const TASK: f64 = 1.0;
/// What is made one after the other, and what at once.
const ALONE: u32 = 10;
const AT_ONCE: u32 = 100;
const PARALLEL: u16 = 20;

fn main() {
    if !fakepve::is_installed("pve") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        alone().await;
        at_once().await;
        waiting().await;
    });
}

/// Our own time for one machine: making and starting it, without what PVE's two tasks take.
async fn alone() {
    let stage = Stage::set("bench-alone");
    let host = FakePve::start(&stage, "father", 1.0);
    host.set("task_secs", json!({ "qmcreate": TASK, "qmstart": TASK }));
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let mut own = Vec::new();
    for n in 0..ALONE {
        let begun = Instant::now();
        driver.ensure(machine(&format!("m{n}"), NodeKind::Vm, None)).await.unwrap();
        own.push(begun.elapsed().saturating_sub(Duration::from_secs_f64(2.0 * TASK)));
    }
    own.sort();
    println!(
        "pve: one machine, our own time beside two tasks of {TASK} s: median {:?}, most {:?}",
        own[own.len() / 2],
        own[own.len() - 1]
    );
}

/// A hundred machines at once: twenty creations at a time, and a start after each.
async fn at_once() {
    let stage = Stage::set("bench-at-once");
    let mut host = FakePve::start(&stage, "father", 1.0);
    host.parallel = PARALLEL;
    host.set("task_secs", json!({ "qmcreate": TASK, "qmstart": TASK }));
    let driver = Arc::new(Driver::open(&host, &stage.folder().join("state")));
    let begun = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for n in 0..AT_ONCE {
        let driver = Arc::clone(&driver);
        all.spawn(async move { driver.ensure(machine(&format!("m{n}"), NodeKind::Vm, None)).await });
    }
    while let Some(made) = all.join_next().await {
        made.unwrap().unwrap();
    }
    let took = begun.elapsed().as_secs_f64();
    let ideal = f64::from(AT_ONCE) / f64::from(PARALLEL) * TASK + TASK;
    println!(
        "pve: {AT_ONCE} machines, {PARALLEL} at once: {took:.2} s, ideal {ideal:.2} s, {:+.1} %",
        (took / ideal - 1.0) * 100.0
    );
}

/// What it costs to wait for a long task.
async fn waiting() {
    let stage = Stage::set("bench-waiting");
    let host = FakePve::start(&stage, "father", 1.0);
    host.set("task_secs", json!({ "qmcreate": 20.0 }));
    let driver = Driver::open(&host, &stage.folder().join("state"));
    let ask = machine("edge", NodeKind::Vm, None);
    let (begun, before) = (Instant::now(), processor_time());
    driver.ensure(ask.clone()).await.unwrap();
    let (took, used) = (begun.elapsed(), processor_time() - before);
    println!("pve: waiting for a task of 20 s: {:.2} % of a processor", used / took.as_secs_f64() * 100.0);
    assert!(driver.addresses(identity(&ask)).await.unwrap().is_empty(), "no guest agent answers here");
    driver.destroy(identity(&ask)).await.unwrap();
}

/// Seconds of a processor that this process has used.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after: Vec<&str> = stat.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ticks: f64 = after[11].parse::<f64>().unwrap() + after[12].parse::<f64>().unwrap();
    ticks / 100.0
}
