//! What a test needs of the machine that it runs on. One that cannot run says so, with what it lacks; where everything is
//! promised to be there (`CI` is set), that is a failure.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Whether the test runs as root; if not, it is skipped.
pub fn root(test: &str) -> bool {
    have(test, "root", rustix::process::geteuid().is_root())
}

/// Whether a program is installed; if not, the test is skipped.
pub fn program(test: &str, name: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v -- \"$1\"", "sh", name])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    have(test, &format!("the program {name}"), found)
}

/// Whether something else is there; if not, the test is skipped.
pub fn have(test: &str, what: &str, there: bool) -> bool {
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{test} cannot run: it needs {what}, which CI promises");
        say(&format!("test {test} ... skipped: needs {what}"));
    }
    there
}

/// Says something past the test runner, which keeps what passing tests print to itself.
pub fn say(text: &str) {
    // Not worth failing for: nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}
