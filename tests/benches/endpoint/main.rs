//! The spec endpoint under load, on the released daemon, with a server of the old kind beside it in the same run.
//!
//! - `keep-alive`: `wrk -t1 -c64` for as many requests as are answered; with the server's processor time for each.
//! - `connections`: the same, with two threads, where each request comes over a new TLS connection.
//! - `paced`: 5,000 requests a second, each due at a time of its own and measured from that time, whether or not the ones
//!   before it were answered; the shown delay has up to a millisecond of the timer in it.
//! - `silent`: how long others wait while one client has connected and says nothing.
//!
//! Load and server share the machine. Skipped where `wrk` or `python3` is missing.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints what it measures, and fails by panicking"
)]

mod old;
mod paced;
mod server;
mod wrk;

use std::time::Duration;

use homestak_tests::needs;

use self::server::Server;

/// How long each kind of load lasts.
const LOAD: Duration = Duration::from_secs(5);
/// How often each is measured; the median counts.
const ROUNDS: usize = 3;
/// Requests a second of the paced load.
const PACE: u32 = 5000;

fn main() {
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    if !["wrk", "python3", "openssl"].iter().all(|program| needs::program("endpoint", program)) {
        return;
    }
    let new = Server::homestak();
    let old = old::serve(&new);
    println!("endpoint: GET /spec/edge with a token, wrk -c64, {} s, median of {ROUNDS}", LOAD.as_secs());
    for (name, server) in [("homestak", &new), ("old kind", &old)] {
        let kept = median(|| wrk::load(server, wrk::Connections::Kept));
        let fresh = median(|| wrk::load(server, wrk::Connections::New));
        println!("├─ {name}");
        println!("│  ├─ keep-alive   {kept}");
        println!("│  ├─ connections  {fresh}");
        println!("│  ╰─ silent       {:.3} s until another is answered", server.behind_a_silent_client().as_secs_f64());
    }
    let mut paced: Vec<_> = (0..ROUNDS).map(|_| paced::load(&new, PACE, LOAD)).collect();
    paced.sort_unstable_by_key(|delays| delays.p99);
    println!("╰─ paced, homestak, {PACE}/s: {}", paced[ROUNDS / 2]);
}

fn median(mut measure: impl FnMut() -> wrk::Measured) -> wrk::Measured {
    let mut all: Vec<_> = (0..ROUNDS).map(|_| measure()).collect();
    all.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    all.swap_remove(ROUNDS / 2)
}
