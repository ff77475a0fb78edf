//! Taking a change of the network back that may have cut this machine off: what was there is on disk before anything is
//! changed, and a timer of systemd runs this very program should the agent not live to see to it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::command::Command;
use super::system::{PUBLIC, Target};
use super::trouble::Trouble;
use crate::files::{FileError, read_if_there, write_whole};

/// How one kind of change is taken back.
pub(crate) struct Undo {
    /// The record's name in the state folder.
    pub(crate) record: &'static str,
    /// The timer's unit.
    pub(crate) unit: &'static str,
    /// The command of this program that takes it back.
    pub(crate) command: &'static [&'static str],
}

impl Undo {
    /// What is on record; none where nothing is being changed.
    pub(crate) fn read<T: DeserializeOwned>(&self, state: &Path) -> Result<Option<T>, Trouble> {
        let path = state.join(self.record);
        let Some(text) = read_if_there(&path)? else { return Ok(None) };
        let read = serde_json::from_str(&text).map_err(|error| FileError::of(&path, "understood")(error.into()));
        Ok(Some(read?))
    }

    /// Puts it on record.
    pub(crate) fn write<T: Serialize>(&self, state: &Path, before: &T) -> Result<(), Trouble> {
        let path = state.join(self.record);
        let text = serde_json::to_vec(before).map_err(|error| FileError::of(&path, "written")(error.into()))?;
        write_whole(&path, &text)?;
        // The folder too: what follows may take the machine down.
        let synced = fs::File::open(state).and_then(|folder| folder.sync_all());
        Ok(synced.map_err(FileError::of(state, "written"))?)
    }

    /// Forgets it: what is there now is good.
    pub(crate) fn forget(&self, state: &Path) -> Result<(), Trouble> {
        let path = state.join(self.record);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of(&path, "removed")(error).into()),
            _ => Ok(()),
        }
    }

    /// Sets the timer, unless it is set. It has to fire later than the agent itself would act.
    pub(crate) async fn set_timer(&self, target: &Target, after: Duration) -> Result<(), Trouble> {
        let timer = self.timer();
        let active = target.run(Command::new("systemctl").args(["is-active", "--quiet", &timer])).await?;
        if active.code == Some(0) {
            return Ok(());
        }
        let program = std::env::current_exe().map_err(FileError::of(Path::new("homestak-agent"), "found"))?;
        // What an earlier one has left would be in its way.
        let service = format!("{}.service", self.unit);
        let _none = target.run(Command::new("systemctl").args(["reset-failed", &timer, &service])).await?;
        let command = Command::new("systemd-run")
            .args(["--quiet", "--collect", &format!("--unit={}", self.unit)])
            .args([&format!("--on-active={}", after.as_secs()), "--timer-property=AccuracySec=1s", "--"])
            .args([&program.display().to_string(), "--state-dir", &target.state.display().to_string()])
            .args(self.command.iter().copied());
        target.run(command).await?.well().map(drop)
    }

    /// Takes the timer away.
    pub(crate) async fn clear_timer(&self, target: &Target) -> Result<(), Trouble> {
        // One that is not there needs no taking away.
        let _gone = target.run(Command::new("systemctl").args(["stop", &self.timer()])).await?;
        Ok(())
    }

    fn timer(&self) -> String {
        format!("{}.timer", self.unit)
    }
}

/// A file as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    path: String,
    /// Its text; none where there was none.
    text: Option<String>,
    /// Where it led, if it was a symbolic link.
    #[serde(default)]
    link: Option<String>,
}

impl File {
    /// This one, as it is.
    pub(crate) fn of(target: &Target, path: &str) -> Result<Self, Trouble> {
        let link = fs::read_link(target.path(path)).ok().map(|to| to.display().to_string());
        let text = if link.is_some() { None } else { target.read(path)? };
        Ok(Self { path: path.to_owned(), text, link })
    }

    /// Makes it that again.
    pub(crate) fn put_back(&self, target: &Target) -> Result<(), Trouble> {
        match (&self.text, &self.link) {
            (Some(text), _) => Ok(target.write(&self.path, text, PUBLIC)?),
            (None, Some(to)) => {
                target.remove(&self.path)?;
                let path = target.path(&self.path);
                symlink(to, &path).map_err(|error| FileError::of(&path, "linked")(error).into())
            }
            (None, None) => Ok(target.remove(&self.path)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use homestak_node::world::Task;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::System;

    const UNDO: Undo = Undo { record: "before.json", unit: "homestak-test", command: &[] };

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
        symlink("../run/resolv.conf", target.path("/etc/resolv.conf")).unwrap();
        let paths = ["/etc/network/interfaces", "/etc/new", "/etc/resolv.conf"];
        let before: Vec<File> = paths.iter().map(|path| File::of(&target, path).unwrap()).collect();
        UNDO.write(&target.state, &before).unwrap();
        for path in paths {
            target.write(path, "changed\n", PUBLIC).unwrap();
        }
        let read: Vec<File> = UNDO.read(&target.state).unwrap().unwrap();
        assert_eq!(read, before);
        read.iter().for_each(|file| file.put_back(&target).unwrap());
        assert_eq!(target.read("/etc/network/interfaces").unwrap().unwrap(), "before\n");
        assert!(!target.has("/etc/new"));
        assert_eq!(fs::read_link(target.path("/etc/resolv.conf")).unwrap(), Path::new("../run/resolv.conf"));
        UNDO.forget(&target.state).unwrap();
        assert_eq!(UNDO.read::<Vec<File>>(&target.state).unwrap(), None);
        UNDO.forget(&target.state).unwrap();
    }
}
