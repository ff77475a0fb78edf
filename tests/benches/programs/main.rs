//! What a user waits for, on the real programs as they are released, each on a stage of its own.
//!
//! - `apply_n3_deep_cold`: `apply n3-deep` on `local` where nothing runs yet: daemon, host's agent and three machines.
//! - `apply_n3_deep_warm`: the same where daemon and host's agent run.
//! - `start_to_joined`: an agent with an identity, from the start of its process until its parent has welcomed it.
//! - `ssh_cold`, `ssh_multiplexed`: one command over OpenSSH on loopback; the old delegation needed several of them a level.
//!
//! At the end, what each kind of process holds in memory (`VmRSS`), 60 s after the last one has joined.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench has nobody to hand an error to")]

mod agent;
mod memory;
#[path = "../../../node/benches/links/ssh.rs"]
mod ssh;

use std::path::PathBuf;

use divan::Bencher;
use homestak_tests::document::all;
use homestak_tests::stage::Stage;

use self::agent::Father;

fn main() {
    divan::main();
    memory::show();
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn apply_n3_deep_cold(bencher: Bencher<'_, '_>) {
    bencher.with_inputs(|| Stage::set("cold")).bench_local_values(|stage| {
        all(&stage.json(0, &["apply", "n3-deep"]), "status", "completed");
        stage
    });
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn apply_n3_deep_warm(bencher: Bencher<'_, '_>) {
    let stage = Stage::set("warm");
    stage.coord(&["server", "start"]).exits(0);
    stage.json(0, &["apply", "n3-deep"]);
    bencher
        .with_inputs(|| all(&stage.json(0, &["destroy", "n3-deep", "--yes"]), "status", "destroyed"))
        .bench_local_values(|()| all(&stage.json(0, &["apply", "n3-deep"]), "status", "completed"));
    stage.strike();
}

#[divan::bench(sample_count = 50, sample_size = 1)]
fn start_to_joined(bencher: Bencher<'_, '_>) {
    let father = Father::enrolled();
    bencher.bench_local(|| father.start());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn ssh_cold(bencher: Bencher<'_, '_>) {
    match ssh::Server::start(&scratch()) {
        Ok(server) => bencher.bench_local(|| server.run(ssh::Connection::New)),
        Err(why) => skip(&why),
    }
}

#[divan::bench(sample_count = 100, sample_size = 1)]
fn ssh_multiplexed(bencher: Bencher<'_, '_>) {
    match ssh::Server::start(&scratch()) {
        Ok(server) => {
            server.run(ssh::Connection::Kept);
            bencher.bench_local(|| server.run(ssh::Connection::Kept));
        }
        Err(why) => skip(&why),
    }
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("homestak-bench-{}", std::process::id()))
}

#[expect(clippy::print_stderr, reason = "whoever runs a bench is to know what it lacks")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
