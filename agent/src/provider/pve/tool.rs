//! PVE's own programs, for what its API does for nobody but root's own login. The agent of a host is root there.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::api::{CallError, Class};

/// Runs one to its end, and gives what it says. What it complains of is sorted as the API's words are.
pub(super) async fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<String, CallError> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let doing = format!("`{name} {}`", arguments.join(" "));
    let failed = |message: String| CallError { doing: doing.clone(), message, class: Class::Fatal, in_doubt: false };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(limit, output).await;
    let output = output.map_err(|_| failed(format!("it has not ended within {} s", limit.as_secs())))?;
    let output = output
        .map_err(|error| failed(format!("{error}; {name} is part of PVE, and the agent of a host runs it as root")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim();
            let said = if said.is_empty() { output.status.to_string() } else { said.to_owned() };
            Err(CallError::of_task(doing, &said, ""))
        }
    }
}
