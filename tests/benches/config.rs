//! `config apply` with nothing to do, on a real Debian that has all that its spec asks for (thirty packages, two users, keys,
//! sudo, sshd, services), and ansible-playbook finding the same, each as a process from its start to its end.
//!
//! The budget of the first is 150 ms (the median, on two cores). Skipped where root, the Debian's tools or ansible-core
//! (`make ansible`) are missing.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench prints what it measures, and fails by panicking"
)]

#[path = "../tests/debian/ansible.rs"]
mod ansible;
#[path = "../tests/debian/network.rs"]
mod network;
#[path = "../tests/debian/yard.rs"]
#[expect(dead_code, reason = "tests look at more than a bench does")]
mod yard;

use std::time::Duration;

use serde_json::json;

use crate::yard::{Inside, Yard};

const BENCH: &str = "the bench of config apply";
/// What is measured in turns, so that both meet the same machine: this agent, and ansible, which takes a hundred times as long.
const ROUNDS: usize = 5;
const OF_AGENT: usize = 10;
/// What one application may take when there is nothing to do.
const BUDGET: Duration = Duration::from_millis(150);

const PACKAGES: [&str; 30] = [
    "htop",
    "tree",
    "jq",
    "rpcbind",
    "net-tools",
    "strace",
    "less",
    "file",
    "lsof",
    "psmisc",
    "rsync",
    "bc",
    "bzip2",
    "xz-utils",
    "zip",
    "unzip",
    "nano",
    "patch",
    "time",
    "tmux",
    "screen",
    "socat",
    "ncdu",
    "iotop",
    "sysstat",
    "ethtool",
    "traceroute",
    "whois",
    "pv",
    "gawk",
];

fn main() {
    if !ansible::is_here(BENCH) {
        return;
    }
    let Some(yard) = Yard::set(BENCH, "bench-config", "unit") else { return };
    yard.spec(
        "thirty",
        &json!({
            "schema_version": 1,
            "identity": { "domain": "tree.example" },
            "access": {
                "posture": "dev",
                "users": [{ "name": "homestak", "sudo": true, "ssh_keys": ["one"] }, { "name": "guest", "ssh_keys": ["one"] }],
            },
            "platform": { "packages": PACKAGES, "services": { "enable": ["ssh"], "disable": ["rpcbind"] } },
            "config": { "timezone": "America/Denver" },
        }),
    );
    yard.apply(0, &[("edge", "push", "thirty")]);
    let machine = yard.inside("edge");
    ansible::install(&machine);
    // The playbook and its variables are those that the agent gives it.
    assert_eq!(machine.agent("config apply --backend ansible").0, Some(0));
    let (code, applied) = machine.agent("config apply");
    assert_eq!((code, &applied["changed"]), (Some(0), &json!(0)), "{applied:#}");
    let folder = "/var/lib/homestak/ansible";
    let playbook =
        format!("ansible-playbook -i {folder}/local.ini {folder}/config-apply.yml -e @{folder}/config-vars.json");
    let tasks = recap(&machine.run(&format!("{playbook} | grep changed=")));

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.extend(timed(&machine, "homestak-agent config apply", OF_AGENT));
        theirs.extend(timed(&machine, &playbook, 1));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let resources = applied["resources"].as_array().map_or(0, Vec::len);
    println!(
        "config apply, nothing to do: {ours:?} for {resources} resources, {} packages (budget {BUDGET:?})",
        PACKAGES.len()
    );
    println!("ansible-playbook, the same:  {theirs:?} for {tasks} tasks");
    println!("ratio:                       {:.0}", theirs.as_secs_f64() / ours.as_secs_f64());
    yard.stage.strike();
}

/// How many tasks there were. Fails if one has changed anything.
fn recap(text: &str) -> u32 {
    let of = |key: &str| text.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse::<u32>().ok());
    assert_eq!(of("changed="), Some(0), "{text}");
    of("ok=").expect("the recap counts tasks")
}

/// How long each of so many runs takes, by the machine's own clock.
fn timed(machine: &Inside, command: &str, times: usize) -> Vec<Duration> {
    let script = format!(
        "for _ in $(seq {times}); do a=$(date +%s%N); {command} >/dev/null 2>&1 || exit 1; b=$(date +%s%N); echo $((b - a)); done"
    );
    machine.run(&script).lines().map(|nanos| Duration::from_nanos(nanos.parse().unwrap())).collect()
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
