//! What a hop costs: orders over real QUIC and mutual TLS, with real journals, from one process to tasks of the same.
//!
//! - `delegation`: an order handed to the hub until its durable acknowledgement, journal on tmpfs and on disk.
//! - `order_to_1000_agents`: an order in which nothing is to be done, to 1,000 agents, until all of it is settled.
//! - `joining`: an agent with an identity, from its first packet until it has joined.
//! - `ssh_*`: a command over OpenSSH on loopback, what the delegation replaces, cold and over a connection that is kept.
#![expect(clippy::expect_used, reason = "a bench has nobody to hand an error to")]

mod ssh;
mod stage;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use divan::Bencher;

use self::stage::{Stage, runtime};

fn main() {
    divan::main();
}

/// Where a journal lies: memory shows what we cost, the disk what users see.
fn folders() -> Vec<&'static str> {
    ["/dev/shm", env!("CARGO_TARGET_TMPDIR")].into_iter().filter(|folder| Path::new(folder).is_dir()).collect()
}

fn scratch(folder: &str) -> PathBuf {
    PathBuf::from(folder).join(format!("homestak-bench-{}", std::process::id()))
}

#[expect(clippy::print_stderr, reason = "whoever runs a bench is to know what it lacks")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

#[divan::bench(args = folders(), sample_count = 200, sample_size = 1)]
fn delegation(bencher: Bencher<'_, '_>, folder: &str) {
    let runtime = runtime();
    let stage = RefCell::new(runtime.block_on(Stage::build(&scratch(folder), 1)));
    bencher
        .with_inputs(|| runtime.block_on(stage.borrow().rest()))
        .bench_local_values(|()| runtime.block_on(stage.borrow_mut().delegate()));
    runtime.block_on(stage.into_inner().leave());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn order_to_1000_agents(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let mut stage = runtime.block_on(Stage::build(&scratch("/dev/shm"), 1000));
    bencher.bench_local(|| runtime.block_on(stage.order()));
    runtime.block_on(stage.leave());
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn joining(bencher: Bencher<'_, '_>) {
    let runtime = runtime();
    let stage = RefCell::new(runtime.block_on(Stage::build(&scratch("/dev/shm"), 1)));
    bencher
        .with_inputs(|| runtime.block_on(stage.borrow_mut().end_agents()))
        .bench_local_values(|()| runtime.block_on(stage.borrow_mut().rejoin()));
    runtime.block_on(stage.into_inner().leave());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn ssh_cold(bencher: Bencher<'_, '_>) {
    match ssh::Server::start(&scratch("/dev/shm")) {
        Ok(server) => bencher.bench_local(|| server.run(ssh::Connection::New)),
        Err(why) => skip(&why),
    }
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn ssh_multiplexed(bencher: Bencher<'_, '_>) {
    match ssh::Server::start(&scratch("/dev/shm")) {
        Ok(server) => {
            server.run(ssh::Connection::Kept);
            bencher.bench_local(|| server.run(ssh::Connection::Kept));
        }
        Err(why) => skip(&why),
    }
}
