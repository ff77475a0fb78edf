//! Furnishing a container: its agent is put into its root file system before it starts, for there is no cloud-init in it.
//!
//! PVE's API cannot put files into a container that does not run; `pct mount` can, and the agent is on the host and root.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homestak_node::crash::Side;
use homestak_node::world::Ensure;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;

use super::Host;
use super::api::Class;
use super::limits::Gate;
use super::record::{Deed, Record, Step};
use super::task::Undone;
use super::tool;
use crate::cloud_init::{ENVIRONMENT, PROGRAM, UNIT, UNIT_PATH, environment};

/// How long mounting may take.
const MOUNTING: Duration = Duration::from_secs(60);
/// The crash point around it.
const FURNISHING: &str = "pve.furnish";
/// What makes the unit start.
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/homestak-agent.service";

impl Host {
    /// Puts the agent and what it is told into a container that does not run. PVE locks a container for as long as it is
    /// mounted, so that is on record before, and once begun goes on to its end, whether somebody waits for it or not; so long
    /// nobody else passes its gate.
    pub(super) async fn furnish(&self, ask: &Ensure, record: &mut Record, gate: &Arc<Gate>) -> Result<(), Undone> {
        record.step = Some(Step { deed: Deed::Furnish, task: None });
        self.put(record)?;
        let (vmid, told) = (record.vmid, environment(&ask.boot, ask.path.name(), None));
        let (program, pct_program) = (self.program.path().to_owned(), self.pct.clone());
        let (crash, place, gate) = (self.crash.clone(), self.place.clone(), Arc::clone(gate));
        let furnishing = self.life.tracker.spawn(async move {
            let _gate = gate;
            crash.reach(FURNISHING, Side::Before, &place);
            let mounted = pct(&pct_program, "mount", vmid).await?;
            let root = mount_point(&mounted, vmid);
            let put = tokio::task::spawn_blocking(move || put(&root, &program, &told)).await;
            crash.reach(FURNISHING, Side::After, &place);
            let unmounted = pct(&pct_program, "unmount", vmid).await;
            let failed = |why: String| {
                let message = format!("the agent cannot be put into CT {vmid}: {why}");
                Fault::new(Code::Provision, message).hint("a container needs room for its agent, some 20 MiB")
            };
            put.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
            unmounted.map(drop)
        });
        let furnished = furnishing.await.unwrap_or_else(|error| Err(Fault::new(Code::Internal, error.to_string())));
        furnished.map_err(|fault| Undone::Refused(Box::new(fault)))?;
        record.step = None;
        self.put(record)
    }

    /// Takes back what is left of furnishing a container by somebody who died at it.
    pub(super) async fn unfurnish(&self, record: &Record) -> Result<(), Undone> {
        let vmid = record.vmid;
        let refused = |fault: Fault| Undone::Refused(Box::new(fault));
        tracing::info!(%vmid, "a container may have been left mounted");
        if let Err(fault) = pct(&self.pct, "unmount", vmid).await {
            // With the agent its mounts may have gone, and with them what there was to unmount: the lock is left.
            tracing::info!(%fault, "unmounting it says");
            match self.api.power(&self.guest_of(record)).await {
                Ok(power) if power.lock.as_deref() == Some("mounted") => {
                    pct(&self.pct, "unlock", vmid).await.map(drop).map_err(refused)?;
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

async fn pct(program: &Path, action: &str, vmid: Vmid) -> Result<String, Fault> {
    tool::run(program, &[action, &vmid.to_string()], MOUNTING).await
}

fn put(root: &Path, program: &Path, told: &str) -> io::Result<()> {
    // Root inside is somebody else outside, where the container is unprivileged: whoever has its root folder.
    let owner = fs::metadata(root)?;
    let own = |path: &Path| lchown(path, Some(owner.uid()), Some(owner.gid()));
    let file = |path: &str, mode: u32, write: &dyn Fn(&Path) -> io::Result<()>| {
        let path = inside(root, path);
        if let Some(folder) = path.parent() {
            folders(root, folder, &own)?;
        }
        write(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        own(&path)
    };
    file(PROGRAM, 0o755, &|path| fs::copy(program, path).map(drop))?;
    file(UNIT_PATH, 0o644, &|path| fs::write(path, UNIT))?;
    file(ENVIRONMENT, 0o600, &|path| fs::write(path, told))?;
    let wanted = inside(root, WANTED);
    if let Some(folder) = wanted.parent() {
        folders(root, folder, &own)?;
    }
    match symlink(UNIT_PATH, &wanted) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.and_then(|()| own(&wanted)),
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// Makes the folders from the root on that are missing.
fn folders(root: &Path, folder: &Path, own: &impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| *path != root && !path.exists()).collect();
    for path in missing.into_iter().rev() {
        DirBuilder::new().mode(0o755).create(path)?;
        own(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_its_agent_its_unit_and_what_it_is_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        for _ in 0..2 {
            put(root.path(), Path::new("/proc/self/exe"), "HOMESTAK_TOKEN=\"a.b\"\n").unwrap();
        }
        let mode = |path: &str| fs::metadata(inside(root.path(), path)).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(PROGRAM), mode(UNIT_PATH), mode(ENVIRONMENT)], [0o755, 0o644, 0o600]);
        assert_eq!(fs::read_link(inside(root.path(), WANTED)).unwrap(), Path::new(UNIT_PATH));
    }

    #[test]
    fn the_root_is_where_pct_says() {
        let vmid = Vmid::new(200).unwrap();
        assert_eq!(mount_point("mounted CT 200 in '/mnt/x'\n", vmid), Path::new("/mnt/x"));
        assert_eq!(mount_point("", vmid), Path::new("/var/lib/lxc/200/rootfs"));
    }
}
