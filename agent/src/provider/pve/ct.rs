//! Furnishing a container: its agent is put into its root file system before it starts, for there is no cloud-init in it.
//!
//! PVE's API cannot put files into a container that does not run; `pct mount` can, and the agent is on the host and root.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homestak_node::crash::Side;
use homestak_node::world::{Ensure, Task};
use homestak_protocol::ids::Vmid;

use super::Host;
use super::api::{CallError, Class};
use super::record::{Deed, Record, Step};
use super::room::Held;
use super::rooted::Root;
use super::task::Undone;
use super::tool;
use crate::cloud_init::{ENVIRONMENT, PROGRAM, UNIT, UNIT_PATH, environment};

/// How long mounting may take.
const MOUNTING: Duration = Duration::from_secs(60);
/// What makes the unit start.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/homestak-agent.service";

impl Host {
    /// Puts the agent and what it is told into a container that does not run. PVE locks a container for as long as it is
    /// mounted, so that is on record before, and once begun goes on to its end, whether somebody waits for it or not; so long
    /// nobody else passes its gate.
    pub(super) async fn furnish(
        &self,
        ask: &Ensure,
        record: &mut Record,
        held: &Held,
        task: &Task,
    ) -> Result<(), Undone> {
        record.step = Some(Step { deed: Deed::Furnish, task: None });
        self.put(record)?;
        self.patiently(task, || self.furnish_once(ask, record.vmid, held)).await?;
        record.step = None;
        self.put(record)
    }

    async fn furnish_once(&self, ask: &Ensure, vmid: Vmid, held: &Held) -> Result<(), CallError> {
        let told = environment(&ask.boot, ask.path.name(), None);
        let (program, pct_program) = (self.program.path().to_owned(), self.pct.clone());
        let (crash, place, held) = (self.crash.clone(), self.place.clone(), held.clone());
        let (point, _) = Deed::Furnish.points();
        let failed = move |why: String| CallError {
            doing: format!("putting the agent into CT {vmid}"),
            message: format!("{why}; it needs some 20 MiB in there"),
            class: Class::Fatal,
            in_doubt: false,
        };
        let furnishing = self.life.tracker.spawn(async move {
            let _held = held;
            crash.reach(point, Side::Before, &place);
            let mounted = pct(&pct_program, "mount", vmid).await?;
            let root = mount_point(&mounted, vmid);
            let put = tokio::task::spawn_blocking(move || put(&root, &program, &told)).await;
            crash.reach(point, Side::After, &place);
            let unmounted = pct(&pct_program, "unmount", vmid).await;
            put.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
            unmounted.map(drop)
        });
        furnishing.await.unwrap_or_else(|error| Err(failed(error.to_string())))
    }

    /// Takes back what is left of furnishing a container by somebody who died at it.
    pub(super) async fn unfurnish(&self, record: &Record) -> Result<(), Undone> {
        let vmid = record.vmid;
        tracing::info!(%vmid, "a container may have been left mounted");
        if let Err(error) = pct(&self.pct, "unmount", vmid).await {
            // With the agent its mounts may have gone, and with them what there was to unmount: the lock is left.
            tracing::info!(%error, "it cannot be unmounted");
            match self.api.power(&self.guest_of(record)).await {
                Ok(power) if power.lock.as_deref() == Some("mounted") => {
                    pct(&self.pct, "unlock", vmid).await?;
                }
                Ok(_) => {}
                Err(error) if error.class == Class::Gone => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Where `pct mount` says that it has put the root file system.
fn mount_point(said: &str, vmid: Vmid) -> PathBuf {
    let named = said.split('\'').nth(1).filter(|path| path.starts_with('/'));
    named.map_or_else(|| format!("/var/lib/lxc/{vmid}/rootfs").into(), PathBuf::from)
}

async fn pct(program: &Path, action: &str, vmid: Vmid) -> Result<String, CallError> {
    tool::run(program, &[action, &vmid.to_string()], MOUNTING).await
}

fn put(root: &Path, program: &Path, told: &str) -> io::Result<()> {
    let root = Root::at(root)?;
    root.file(PROGRAM, 0o755, File::open(program)?)?;
    root.file(UNIT_PATH, 0o644, UNIT.as_bytes())?;
    root.file(ENVIRONMENT, 0o600, told.as_bytes())?;
    root.link(WANTED, UNIT_PATH)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_container_gets_its_agent_its_unit_and_what_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        for _ in 0..2 {
            put(root.path(), Path::new("/proc/self/exe"), "HOMESTAK_TOKEN=\"a.b\"\n").unwrap();
        }
        let mode = |path: &str| {
            fs::metadata(root.path().join(path.trim_start_matches('/'))).unwrap().permissions().mode() & 0o777
        };
        assert_eq!([mode(PROGRAM), mode(UNIT_PATH), mode(ENVIRONMENT)], [0o755, 0o644, 0o600]);
        assert_eq!(fs::read_link(root.path().join(WANTED.trim_start_matches('/'))).unwrap(), Path::new(UNIT_PATH));
    }

    #[test]
    fn the_root_is_where_pct_says() {
        let vmid = Vmid::new(200).unwrap();
        assert_eq!(mount_point("mounted CT 200 in '/mnt/x'\n", vmid), Path::new("/mnt/x"));
        assert_eq!(mount_point("", vmid), Path::new("/var/lib/lxc/200/rootfs"));
    }
}
