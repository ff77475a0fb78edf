//! ansible-core as `make ansible` has fetched it, for the Python of the Debian that it is put into.

use std::path::PathBuf;
use std::process::Command;

use homestak_tests::binaries::binaries;
use homestak_tests::needs;

use crate::yard::Inside;

fn folder() -> PathBuf {
    let target = binaries().agent.ancestors().nth(2);
    target.expect("a program lies in <target>/<profile>").join("ansible")
}

/// Whether it was fetched; if not, the test is skipped.
pub(crate) fn is_here(test: &str) -> bool {
    needs::have(test, "ansible-core (make ansible)", folder().join("ansible").is_dir())
}

/// Puts it into a machine.
pub(crate) fn install(machine: &Inside) {
    let copied = Command::new("cp").arg("-a").arg(folder()).arg(machine.path("/opt/ansible")).status().unwrap();
    assert!(copied.success());
    machine.run("apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3 python3-apt");
    let program = "#!/bin/sh\nPYTHONPATH=/opt/ansible exec python3 -m ansible playbook \"$@\"\n";
    machine.write("/usr/local/bin/ansible-playbook", program);
    machine.run("chmod 755 /usr/local/bin/ansible-playbook");
}
