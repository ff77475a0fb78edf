//! What the network was before it was changed, on disk before anything is; and how it is put back.
//!
//! It is put back by whoever comes first: the agent, when its parent does not return in time or when it starts again and
//! finds the record; or, should the agent be dead or the machine out of reach, the timer that was set before the change.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::INTERFACES;
use super::interfaces::LOOPBACK;
use super::links::Links;
use crate::config::command::Command;
use crate::config::resources::network::ifupdown::reload;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::config::undo::{File, Undo};

const UNDO: Undo = Undo { record: "bridge-before.json", unit: "homestak-bridge-back", command: &["put-bridge-back"] };
/// How much later than the agent itself would have it the timer does so: what goes wrong first may take a while.
const LATER: Duration = Duration::from_secs(60);
const MANAGER: &str = "systemd-networkd.service";

/// The network as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Before {
    /// The uplink's interface.
    pub(super) device: String,
    /// The bridge that is made.
    pub(super) bridge: String,
    /// Whether an interface of its name was there.
    pub(super) had_bridge: bool,
    /// Each file that is changed.
    pub(super) files: Vec<File>,
}

impl Before {
    /// What is on record; none where nothing is being changed.
    pub(super) fn read(state: &Path) -> Result<Option<Self>, Trouble> {
        UNDO.read(state)
    }

    /// Puts it on record.
    pub(super) fn write(&self, state: &Path) -> Result<(), Trouble> {
        UNDO.write(state, self)
    }

    /// Forgets it: the network is as it should be.
    pub(super) fn forget(state: &Path) -> Result<(), Trouble> {
        UNDO.forget(state)
    }

    /// Puts everything back. Whatever can be is, whatever else fails; the record goes last.
    pub(super) async fn put_back(&self, target: &Target) -> Result<(), Trouble> {
        let mut done = Ok(());
        for file in &self.files {
            done = done.and(file.put_back(target));
        }
        reload_manager(target).await?;
        // It takes down what its file no longer names, and wants one also where there was none.
        let none = !target.has(INTERFACES);
        if none {
            done = done.and(target.write(INTERFACES, LOOPBACK, PUBLIC).map_err(Trouble::from));
        }
        done = done.and(reload(target).await);
        if none {
            done = done.and(target.remove(INTERFACES).map_err(Trouble::from));
        }
        if !self.had_bridge && Links::read(target).await?.has(&self.bridge) {
            let gone = target.run(Command::new("ip").args(["link", "delete", &self.bridge])).await;
            done = done.and(gone.and_then(|gone| gone.well().map(drop)));
        }
        if is_managed(target).await? {
            let again = target.run(Command::new("networkctl").args(["reconfigure", &self.device])).await;
            done = done.and(again.and_then(|again| again.well().map(drop)));
        }
        done.and_then(|()| Self::forget(&target.state))
    }
}

/// Whether systemd-networkd has something to say here.
async fn is_managed(target: &Target) -> Result<bool, Trouble> {
    let active = target.run(Command::new("systemctl").args(["is-active", "--quiet", MANAGER])).await?;
    Ok(active.code == Some(0))
}

/// Has systemd-networkd read its files again, where it runs.
pub(super) async fn reload_manager(target: &Target) -> Result<(), Trouble> {
    if is_managed(target).await? {
        target.run(Command::new("networkctl").args(["reload"])).await?.well()?;
    }
    Ok(())
}

/// Sets the timer, unless it is set, for an agent that itself waits this long.
pub(super) async fn set_timer(target: &Target, patience: Duration) -> Result<(), Trouble> {
    UNDO.set_timer(target, patience.saturating_mul(2).saturating_add(LATER)).await
}

/// Takes the timer away.
pub(super) async fn clear_timer(target: &Target) -> Result<(), Trouble> {
    UNDO.clear_timer(target).await
}
