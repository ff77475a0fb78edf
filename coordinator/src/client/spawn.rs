//! Starting a daemon in the background and hearing from it whether it is up.
//!
//! The child's stdout is a pipe on which it says exactly one line: its [`Greeting`] once it answers, or the [`Refusal`] that
//! ends it. Its stderr is a pipe too until it has opened its log, so that whatever goes wrong before that is told here.

use std::process::Stdio;
use std::time::Duration;

use homestak_node::notify;
use homestak_protocol::fault::{Code, Fault};
use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Mode, unreachable};
use crate::api::{self, Exit, Greeting, MAX_GREETING, Refusal};
use crate::settings::{REPO_TOKEN, Settings};
use crate::site::secrets::IDENTITIES;

/// How long a daemon may take until it answers: it opens its store and binds its port; a first one also makes its keys.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How much of what a daemon complained about before it had a log is kept.
const MAX_COMPLAINT: u64 = 4096;

/// What a daemon in the background says on its stdout.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FirstWord {
    /// It answers at its socket.
    Up(Greeting),
    /// It ends.
    Refused(Refusal),
}

/// Starts one.
pub(super) async fn spawn(settings: &Settings, mode: Mode) -> Result<Greeting, Refusal> {
    let program = std::env::current_exe()
        .map_err(|source| unreachable(format!("this program cannot be found again: {source}")))?;
    let mut command = Command::new(&program);
    // It outlives this command; it is told the identities over its socket, and hands its environment on to nobody.
    for name in IDENTITIES.iter().chain(&notify::OURS_ALONE) {
        command.env_remove(name);
    }
    if let Some(token) = &settings.serving.repo_token {
        // Not as a flag, which everybody on this machine could read.
        command.env(REPO_TOKEN, token.expose());
    }
    let mut child = command
        .args(["server", "run", "--mode", mode.as_str()])
        .args(settings.flags())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .spawn()
        .map_err(|source| unreachable(format!("a daemon cannot be started: {source}")))?;
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(unreachable("a daemon was started without its pipes"));
    };
    let mut stdout = BufReader::new(stdout);
    let word = timeout(START_LIMIT, api::read_line::<FirstWord>(&mut stdout, MAX_GREETING)).await;
    match word {
        Ok(Ok(Some(FirstWord::Up(greeting)))) => return Ok(greeting),
        Ok(Ok(Some(FirstWord::Refused(refusal)))) => return Err(refusal),
        Ok(Ok(None) | Err(_)) => {}
        Err(_) => {
            let fault = Fault::new(
                Code::Timeout,
                format!("a daemon was started and is not up after {} s", START_LIMIT.as_secs()),
            )
            .hint(format!("its log is {}", settings.log_file().display()));
            return Err(Refusal::new(Exit::Unreachable, &fault));
        }
    }
    let mut complaint = String::new();
    // Closed by the child's end, or by its log taking stderr over; either is near.
    let _ = timeout(START_LIMIT, stderr.take(MAX_COMPLAINT).read_to_string(&mut complaint)).await;
    let message = match complaint.trim() {
        "" => "a daemon was started and ended at once".to_owned(),
        complaint => format!("a daemon was started and ended at once: {complaint}"),
    };
    let fault = Fault::new(Code::Internal, message).hint(format!("its log is {}", settings.log_file().display()));
    Err(Refusal::new(Exit::Unreachable, &fault))
}
