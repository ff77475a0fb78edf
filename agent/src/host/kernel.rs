//! That PVE's kernel runs: installed is not enough, the machine has to be started again.
//!
//! In which boots a restart was asked for is on record, so that an agent that comes up again knows whether it has happened,
//! and a machine that comes up with another kernel all the same is not restarted for ever.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::config::command::Command;
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::Target;
use crate::config::trouble::Trouble;
use crate::files::{FileError, read_if_there, write_whole};

/// How PVE's kernels are called: `6.8.12-9-pve`.
const OURS: &str = "-pve";
/// How often a machine is restarted for it. Once is enough, unless the first one was lost to something else.
const RESTARTS: usize = 2;
/// How long a machine may take to go down: services end within 90 s, or are ended.
const GOING_DOWN: Duration = Duration::from_secs(300);
/// A boot's own id, another one each time (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const RECORD: &str = "host-restarts.json";

/// That the kernel that runs is PVE's.
pub(super) struct Kernel;

/// The boots in which a restart was asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Restarts {
    boots: Vec<String>,
}

impl Restarts {
    fn read(state: &Path) -> Result<Self, Trouble> {
        let text = read_if_there(&state.join(RECORD))?;
        // One that is cut short is none: it is written whole.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn write(&self, state: &Path) -> Result<(), Trouble> {
        let path = state.join(RECORD);
        let text = serde_json::to_vec(self).map_err(|error| FileError::of(&path, "written")(error.into()))?;
        Ok(write_whole(&path, &text)?)
    }

    /// Notes that the machine is to be restarted in this boot; refuses once it has been often enough. Asking again in the
    /// same boot is no further restart.
    fn ask(&mut self, boot: &str, runs: &str) -> Result<(), Trouble> {
        if self.boots.iter().any(|known| known == boot) {
            return Ok(());
        }
        if self.boots.len() >= RESTARTS {
            return Err(Trouble::Refused {
                what: format!("was restarted {} times, and still {runs} runs", self.boots.len()),
                hint: Some("choose PVE's kernel in that machine's boot loader (`proxmox-boot-tool kernel list`)"),
            });
        }
        self.boots.push(boot.to_owned());
        Ok(())
    }
}

/// Forgets the restarts: what comes up with another kernel after this has a new reason.
pub(super) fn forget(state: &Path) -> Result<(), Trouble> {
    let path = state.join(RECORD);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of(&path, "removed")(error).into()),
        _ => Ok(()),
    }
}

async fn running(target: &Target) -> Result<String, Trouble> {
    let release = target.run(Command::new("uname").args(["-r"])).await?.well()?;
    Ok(release.trim().to_owned())
}

impl Resource for Kernel {
    fn name(&self) -> String {
        "kernel".to_owned()
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let (mut found, runs) = (Differences::default(), running(target).await?);
            if !runs.ends_with(OURS) {
                found.add(format!("is {runs}, and none of PVE's"));
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let boot = target.read(BOOT_ID)?.unwrap_or_default().trim().to_owned();
            let mut restarts = Restarts::read(&target.state)?;
            restarts.ask(&boot, &running(target).await?)?;
            restarts.write(&target.state)?;
            tracing::info!(%boot, "restarting this machine, so that PVE's kernel runs");
            (target.task.progress)("restarting this machine".to_owned());
            target.run(Command::new("systemctl").args(["reboot"])).await?.well()?;
            tokio::select! {
                () = target.task.cancel.cancelled() => Err(Trouble::Cancelled),
                () = sleep(GOING_DOWN) => Err(Trouble::Refused {
                    what: "was asked to restart, and did not".to_owned(),
                    hint: Some("look what keeps it: `systemctl list-jobs` there"),
                }),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_never_comes_up_with_the_kernel_is_not_restarted_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |boot: &str| {
            let mut restarts = Restarts::read(folder.path()).unwrap();
            restarts.ask(boot, "6.1.0-1-amd64").map(|()| restarts.write(folder.path()).unwrap())
        };
        ask("first").unwrap();
        ask("first").unwrap();
        ask("second").unwrap();
        ask("second").unwrap();
        let refused = ask("third").unwrap_err().to_string();
        assert!(refused.contains("2 times") && refused.contains("6.1.0-1-amd64"), "{refused}");
        forget(folder.path()).unwrap();
        forget(folder.path()).unwrap();
        ask("third").unwrap();
    }
}
