//! What the network was before it was changed, on disk before anything is; and how it is put back.
//!
//! It is put back by whoever comes first: the agent, when its parent does not return in time or when it starts again and
//! finds the record; or, should the agent be dead or the machine out of reach, a timer of systemd that was set before the
//! change and runs this very program.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::INTERFACES;
use super::interfaces::LOOPBACK;
use super::links::Links;
use crate::config::command::Command;
use crate::config::system::{PUBLIC, Target};
use crate::config::trouble::Trouble;
use crate::files::{FileError, read_if_there, write_whole};

const RECORD: &str = "bridge-before.json";
/// The unit that puts it back when nobody else does.
const UNIT: &str = "homestak-bridge-back";
/// How much later than the agent itself would have it does so: what goes wrong first may take a while.
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

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    pub(super) path: String,
    /// Its text; none where there was none.
    pub(super) text: Option<String>,
    /// Where it led, if it was a symbolic link.
    #[serde(default)]
    pub(super) link: Option<String>,
}

impl File {
    /// This one, as it is.
    pub(super) fn of(target: &Target, path: &str) -> Result<Self, Trouble> {
        let link = fs::read_link(target.path(path)).ok().map(|to| to.display().to_string());
        let text = if link.is_some() { None } else { target.read(path)? };
        Ok(Self { path: path.to_owned(), text, link })
    }

    fn put_back(&self, target: &Target) -> Result<(), Trouble> {
        match (&self.text, &self.link) {
            (Some(text), _) => Ok(target.write(&self.path, text, PUBLIC)?),
            (None, Some(to)) => {
                target.remove(&self.path)?;
                let path = target.path(&self.path);
                std::os::unix::fs::symlink(to, &path).map_err(|error| FileError::of(&path, "linked")(error).into())
            }
            (None, None) => Ok(target.remove(&self.path)?),
        }
    }
}

impl Before {
    /// What is on record; none where nothing is being changed.
    pub(super) fn read(state: &Path) -> Result<Option<Self>, Trouble> {
        let path = state.join(RECORD);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let read = serde_json::from_str(&text).map_err(|error| FileError::of(&path, "understood")(error.into()));
        Ok(Some(read?))
    }

    /// Puts it on record.
    pub(super) fn write(&self, state: &Path) -> Result<(), Trouble> {
        let path = state.join(RECORD);
        let text = serde_json::to_vec(self).map_err(|error| FileError::of(&path, "written")(error.into()))?;
        write_whole(&path, &text)?;
        // The folder too: what follows may take the machine down.
        let synced = fs::File::open(state).and_then(|folder| folder.sync_all());
        Ok(synced.map_err(FileError::of(state, "written"))?)
    }

    /// Forgets it: the network is as it should be.
    pub(super) fn forget(state: &Path) -> Result<(), Trouble> {
        let path = state.join(RECORD);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of(&path, "removed")(error).into()),
            _ => Ok(()),
        }
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

/// Has ifupdown2 make the network what its file says.
pub(super) async fn reload(target: &Target) -> Result<(), Trouble> {
    target.run(Command::new("ifreload").args(["-a"]).limit(Duration::from_secs(120))).await?.well().map(drop)
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
    let timer = format!("{UNIT}.timer");
    let active = target.run(Command::new("systemctl").args(["is-active", "--quiet", &timer])).await?;
    if active.code == Some(0) {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(FileError::of(Path::new("homestak-agent"), "found"))?;
    // What an earlier one has left would be in its way.
    let _none =
        target.run(Command::new("systemctl").args(["reset-failed", &timer, &format!("{UNIT}.service")])).await?;
    let command = Command::new("systemd-run").args([
        "--quiet",
        "--collect",
        &format!("--unit={UNIT}"),
        &format!("--on-active={}", patience.saturating_mul(2).saturating_add(LATER).as_secs()),
        "--timer-property=AccuracySec=1s",
        "--",
        &program.display().to_string(),
        "put-bridge-back",
        "--state-dir",
        &target.state.display().to_string(),
    ]);
    target.run(command).await?.well().map(drop)
}

/// Takes the timer away.
pub(super) async fn clear_timer(target: &Target) -> Result<(), Trouble> {
    // One that is not there needs no taking away.
    let _gone = target.run(Command::new("systemctl").args(["stop", &format!("{UNIT}.timer")])).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homestak_node::world::Task;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::System;

    #[test]
    fn every_file_is_as_it_was_also_one_that_was_not_there_or_led_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let task = Task { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) };
        let target = Target {
            system: System::Folder(folder.path().join("root")),
            state: folder.path().to_owned(),
            parent: Vec::new(),
            task,
        };
        target.write("/etc/network/interfaces", "before\n", PUBLIC).unwrap();
        std::os::unix::fs::symlink("../run/resolv.conf", target.path("/etc/resolv.conf")).unwrap();
        let paths = ["/etc/network/interfaces", "/etc/new", "/etc/resolv.conf"];
        let files: Vec<File> = paths.iter().map(|path| File::of(&target, path).unwrap()).collect();
        let before = Before { device: "eth0".into(), bridge: "vmbr0".into(), had_bridge: false, files };
        before.write(&target.state).unwrap();
        for path in paths {
            target.write(path, "changed\n", PUBLIC).unwrap();
        }
        let read = Before::read(&target.state).unwrap().unwrap();
        assert_eq!(read, before);
        read.files.iter().for_each(|file| file.put_back(&target).unwrap());
        assert_eq!(target.read("/etc/network/interfaces").unwrap().unwrap(), "before\n");
        assert!(!target.has("/etc/new"));
        assert_eq!(fs::read_link(target.path("/etc/resolv.conf")).unwrap(), Path::new("../run/resolv.conf"));
        Before::forget(&target.state).unwrap();
        assert_eq!(Before::read(&target.state).unwrap(), None);
    }
}
