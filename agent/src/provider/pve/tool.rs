//! PVE's own programs, for what its API does for nobody but root's own login. The agent of a host is root there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use tokio::process::Command;
use tokio::time::timeout;

/// Runs one to its end, and gives what it says.
pub(super) async fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<String, Fault> {
    let said = format!("`{} {}`", program.file_name().unwrap_or_default().to_string_lossy(), arguments.join(" "));
    let failed = |why: &str| {
        let hint = "the agent of a PVE host runs as root, and this program is part of PVE";
        Fault::new(Code::Provision, format!("{said} failed: {}", why.trim())).hint(hint)
    };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(limit, output).await.map_err(|_| failed("it takes too long"))?;
    let output = output.map_err(|error| failed(&error.to_string()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(&String::from_utf8_lossy(&output.stderr))),
    }
}
