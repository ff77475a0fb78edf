//! git, run with nothing of its surroundings: no configuration but our own, no prompts, no locks in repositories of others,
//! and a limit of time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

/// How long one call may take: a first copy of a large repository from the same disk.
const LIMIT: Duration = Duration::from_secs(120);

/// How much of what git complains is told.
const COMPLAINT: usize = 500;

/// git as we run it.
#[derive(Debug)]
pub(super) struct Git {
    config: PathBuf,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum GitError {
    /// It could not be run.
    #[error("git cannot be run")]
    Start(#[source] io::Error),
    /// It took too long.
    #[error("git {0} was not done in time")]
    Late(String),
    /// It said no.
    #[error("git {call}: {complaint}")]
    Refused {
        /// The subcommand.
        call: String,
        /// In its own words.
        complaint: String,
    },
}

impl Git {
    /// Finds git. `folder` is where our configuration is written to.
    pub(super) async fn find(folder: &Path) -> Result<Self, Fault> {
        let missing = |error: &dyn std::fmt::Display| {
            Fault::new(Code::NotFound, format!("repositories cannot be served: git cannot be run: {error}"))
                .hint("install git (`apt-get install git`), or start without --repos")
        };
        let version = Command::new("git").arg("--version").stdin(Stdio::null()).output().await;
        version.map_err(|error| missing(&error))?;
        // What the user that we run as ignores everywhere stays ignored.
        let ignored = Command::new("git")
            .args(["config", "--global", "--type=path", "--get", "core.excludesFile"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| missing(&error))?;
        let mut text = "[safe]\n\tdirectory = *\n[advice]\n\taddEmbeddedRepo = false\n".to_owned();
        if let Ok(path) = String::from_utf8(ignored.stdout)
            && !path.trim().is_empty()
        {
            let quoted = path.trim().replace('\\', "\\\\").replace('"', "\\\"");
            text.push_str(&format!("[core]\n\texcludesFile = \"{quoted}\"\n"));
        }
        let config = folder.join("gitconfig");
        fs::write(&config, text)
            .map_err(|error| Fault::new(Code::Storage, format!("{} cannot be written: {error}", config.display())))?;
        Ok(Self { config })
    }

    /// A call in a work tree of somebody else, who is not to notice.
    pub(super) fn of(&self, tree: &Path, call: &[&str]) -> Command {
        let mut command = self.bare_command(tree);
        command.args(call);
        command
    }

    /// A call on a repository of our own, with a work tree of somebody else and an index of our own.
    pub(super) fn on(&self, repo: &Path, tree: &Path, call: &[&str]) -> Command {
        let mut command = self.bare_command(tree);
        command.env("GIT_DIR", repo).env("GIT_WORK_TREE", tree).env("GIT_INDEX_FILE", repo.join("homestak-index"));
        command.args(["-c", "core.autocrlf=false", "-c", "gc.auto=0"]).args(call);
        command
    }

    fn bare_command(&self, tree: &Path) -> Command {
        let mut command = Command::new("git");
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        command
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", &self.config)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .current_dir(tree)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// Runs a call to its end, and gives what it wrote.
pub(super) async fn done(command: Command, input: Option<Vec<u8>>) -> Result<Vec<u8>, GitError> {
    let (output, call) = run(command, input).await?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let from = complaint.ceil_char_boundary(complaint.len().saturating_sub(COMPLAINT));
    let complaint = complaint.get(from..).unwrap_or_default().trim().to_owned();
    Err(GitError::Refused { call, complaint: if complaint.is_empty() { output.status.to_string() } else { complaint } })
}

/// The same, where ending with 1 only means that there is nothing.
pub(super) async fn maybe(command: Command, input: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, GitError> {
    let (output, call) = run(command, input).await?;
    match output.status.code() {
        Some(0) => Ok(Some(output.stdout)),
        Some(1) => Ok(None),
        _ => Err(GitError::Refused { call, complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
    }
}

fn subcommand(command: &Command) -> String {
    let mut words = command.as_std().get_args().map(|word| word.to_string_lossy().into_owned());
    words.find(|word| !word.starts_with('-') && !word.contains('=')).unwrap_or_default()
}

async fn run(mut command: Command, input: Option<Vec<u8>>) -> Result<(Output, String), GitError> {
    let call = subcommand(&command);
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().map_err(GitError::Start)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // One that ends early says why on its own.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ended = timeout(LIMIT, async { tokio::join!(child.wait_with_output(), feed).0 }).await;
    match ended {
        Ok(output) => Ok((output.map_err(GitError::Start)?, call)),
        Err(_) => Err(GitError::Late(call)),
    }
}
