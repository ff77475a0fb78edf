//! What each kind of process holds in memory, once everything is quiet. Not a time, so divan does not measure it.

use std::fs;
use std::thread;
use std::time::Duration;

use homestak_tests::document::all;
use homestak_tests::process::Process;
use homestak_tests::stage::Stage;

/// How long after it has joined an agent is looked at.
const QUIET: Duration = Duration::from_secs(60);

/// Shows it, unless only other benches were asked for by name (`cargo bench -- NAME`).
#[expect(clippy::print_stdout, reason = "a bench prints what it measures")]
pub(crate) fn show() {
    let mut asked = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    let lists = std::env::args().any(|argument| argument == "--list" || argument == "--test");
    if lists || (asked.peek().is_some() && !asked.any(|name| "memory".contains(&name))) {
        return;
    }
    let stage = Stage::set("memory");
    all(&stage.json(0, &["apply", "n2-tiered"]), "status", "completed");
    thread::sleep(QUIET);
    println!(
        "memory, {} s after the last has joined (VmRSS; of it RssAnon, which it shares with nobody)",
        QUIET.as_secs()
    );
    let place = |place: &str| stage.process(place).expect("it runs");
    let all = [
        ("leaf", place("local/n2-tiered/root-pve/edge")),
        ("inner host", place("local/n2-tiered/root-pve")),
        ("host", place("local")),
        ("daemon", place("@")),
    ];
    for (kind, process) in all {
        println!("├─ {kind:<12} {:>8.2} MiB   {:>8.2} MiB", mib(&process, "VmRSS:"), mib(&process, "RssAnon:"));
    }
    stage.strike();
}

fn mib(process: &Process, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux says it");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024.0
}
