//! The way back from a network that leads nowhere: what was there before is kept in the state folder until the parent was
//! reached by what is there now.
//!
//! Whoever dies in between is made up for: by a timer of systemd, and by the agent when it starts again.

use std::path::Path;
use std::time::Duration;

use homestak_node::world::Task;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Tool, ifupdown, networkd};
use crate::config::system::{System, Target};
use crate::config::trouble::Trouble;
use crate::config::undo::{File, Undo};

const UNDO: Undo =
    Undo { record: "network-before.json", unit: "homestak-network-back", command: &["config", "network-back"] };
/// When the timer fires: longer than anybody who lives waits for the parent.
const AFTER: Duration = Duration::from_secs(120);

/// What was there before.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Before {
    device: String,
    tool: Tool,
    files: Vec<File>,
}

impl Before {
    /// Keeps it, and sets the timer.
    pub(super) async fn keep(target: &Target, device: &str, tool: Tool, files: &[&str]) -> Result<Self, Trouble> {
        let files = files.iter().map(|path| File::of(target, path)).collect::<Result<_, _>>()?;
        let before = Self { device: device.to_owned(), tool, files };
        UNDO.write(&target.state, &before)?;
        // One that an earlier change has left would fire too soon for this one.
        let _stopped = UNDO.clear_timer(target).await;
        if let Err(trouble) = UNDO.set_timer(target, AFTER).await {
            tracing::warn!(%trouble, "no timer can be set that would undo a network that leads nowhere");
        }
        Ok(before)
    }

    /// Lets it go: what is there now is good.
    pub(super) async fn forget(self, target: &Target) -> Result<(), Trouble> {
        UNDO.forget(&target.state)?;
        let _stopped = UNDO.clear_timer(target).await;
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
        self.files.iter().try_for_each(|file| file.put_back(&target))?;
        match self.tool {
            Tool::Networkd => networkd::bring_up(&target, &self.device).await?,
            Tool::Ifupdown => ifupdown::bring_up(&target, &self.device).await?,
        }
        self.forget(&target).await
    }
}

/// Goes back, if somebody has left this machine in between. Gives whether there was anything to do.
pub(crate) async fn go(state: &Path, task: Task) -> Result<bool, Trouble> {
    let Some(before) = UNDO.read::<Before>(state)? else { return Ok(false) };
    let target = Target { system: System::Machine, state: state.to_owned(), parent: Vec::new(), task };
    tracing::warn!(device = %before.device, "the network is as it was before: nobody has found the new one to be good");
    before.restore(&target).await?;
    Ok(true)
}
