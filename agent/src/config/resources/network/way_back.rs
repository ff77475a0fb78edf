//! The way back from a network that leads nowhere: what was there before is kept in the state folder until the parent was
//! reached by what is there now.
//!
//! Whoever dies in between is made up for: by a timer of systemd, and by the agent when it starts again.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Tool, ifupdown, networkd};
use crate::config::command::Command;
use crate::config::system::{PUBLIC, System, Target};
use crate::config::trouble::Trouble;
use crate::files::{FileError, read_if_there, write_whole};

/// Where it is kept.
const FILE: &str = "network-before.json";
/// The timer, and what it starts.
const TIMER: &str = "homestak-network-back";
/// When it fires: longer than anybody who lives waits for the parent.
const AFTER: &str = "120s";

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    device: String,
    tool: Tool,
    /// Files by their paths; none where there was no such file.
    files: Vec<(String, Option<String>)>,
}

impl Before {
    /// Keeps it, and sets the timer.
    pub(super) async fn keep(target: &Target, device: &str, tool: Tool, files: &[&str]) -> Result<Self, Trouble> {
        let mut kept = Vec::new();
        for file in files {
            kept.push(((*file).to_owned(), target.read(file)?));
        }
        let before = Self { device: device.to_owned(), tool, files: kept };
        let path = target.state.join(FILE);
        let text = serde_json::to_vec(&before).map_err(|error| FileError::of(&path, "written")(error.into()))?;
        write_whole(&path, &text)?;
        if let Err(trouble) = set_timer(target).await {
            tracing::warn!(%trouble, "no timer can be set that would undo a network that leads nowhere");
        }
        Ok(before)
    }

    /// Lets it go: what is there now is good.
    pub(super) async fn forget(self, target: &Target) -> Result<(), Trouble> {
        forget(&target.state)?;
        stop_timer(target).await;
        Ok(())
    }

    /// Goes back to it.
    pub(super) async fn restore(self, target: &Target) -> Result<(), Trouble> {
        // Whoever does not want the result any more wants this all the same.
        let mut target = target.clone();
        target.task.cancel = CancellationToken::new();
        if self.tool == Tool::Ifupdown {
            // What is up by the new files comes down by them, if it is up at all.
            let _down = ifupdown::take_down(&target, &self.device).await;
        }
        for (path, text) in &self.files {
            match text {
                Some(text) => target.write(path, text, PUBLIC)?,
                None => target.remove(path)?,
            }
        }
        match self.tool {
            Tool::Networkd => networkd::bring_up(&target, &self.device).await?,
            Tool::Ifupdown => ifupdown::bring_up(&target, &self.device).await?,
        }
        self.forget(&target).await
    }
}

/// Goes back, if somebody has left this machine in between. Gives whether there was anything to do.
pub(crate) async fn go(state: &Path, task: homestak_node::world::Task) -> Result<bool, Trouble> {
    let Some(text) = read_if_there(&state.join(FILE))? else { return Ok(false) };
    let before: Before = serde_json::from_str(&text)
        .map_err(|error| Trouble::refused(format!("{} cannot be read: {error}", state.join(FILE).display())))?;
    let target = Target { system: System::Machine, state: state.to_owned(), parent: Vec::new(), task };
    tracing::warn!(device = %before.device, "the network is as it was before: nobody has found the new one to be good");
    before.restore(&target).await?;
    Ok(true)
}

fn forget(state: &Path) -> Result<(), FileError> {
    let path = state.join(FILE);
    match rustix::fs::unlink(&path) {
        Err(error) if error != Errno::NOENT => Err(FileError::of(&path, "removed")(error.into())),
        _ => Ok(()),
    }
}

async fn set_timer(target: &Target) -> Result<(), Trouble> {
    stop_timer(target).await;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("homestak-agent"));
    let text = |path: &Path| path.display().to_string();
    let unit = format!("--unit={TIMER}");
    let command = Command::new("systemd-run").args(["--quiet", "--collect", &unit, "--on-active", AFTER, "--"]);
    let command = command.args([&text(&program), "--state-dir", &text(&target.state), "config", "network-back"]);
    target.run(command).await?.well().map(drop)
}

async fn stop_timer(target: &Target) {
    // One that is not there need not be stopped.
    let timer = format!("{TIMER}.timer");
    let _stopped = target.run(Command::new("systemctl").args(["stop", &timer])).await;
}
