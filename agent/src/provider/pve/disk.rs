//! Where a machine's disk comes from, and giving it one where PVE's API cannot.
//!
//! The API imports disks from volumes that are images, never from ISO files and never from a path (`PVE::Storage::check_volume_access`,
//! `PVE::API2::Qemu`). Hosts of the earlier system have their images beside the ISO files. So such a file becomes a volume of
//! a storage for images, without being copied where that can be; where PVE knows no such storages (before 8.3), `qm` imports it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homestak_node::crash::Side;
use homestak_node::world::Task;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use tokio::sync::OwnedMutexGuard;

use super::Host;
use super::api::{CallError, Class};
use super::part::is_qcow2;
use super::record::{Deed, Record, Step};
use super::room::Held;
use super::task::Undone;
use super::tool;
use super::vm::DISK;

/// How long an import may take: a slow disk writes some tens of GiB in it.
const IMPORTING: Duration = Duration::from_secs(2 * 3600);
/// How volumes begin that are files from beside the ISO images.
const OURS: &str = "homestak-iso";
/// How they end until they are whole; PVE lists none that ends so.
const PART: &str = ".part";

/// What a machine is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A volume, by its id.
    Volume(String),
    /// A file of this host that is no volume for a disk.
    File(PathBuf),
}

impl Origin {
    /// As PVE's programs name it; its API takes that of a volume only.
    pub(super) fn name(&self) -> String {
        match self {
            Origin::Volume(volid) => volid.clone(),
            Origin::File(path) => path.display().to_string(),
        }
    }
}

impl Host {
    /// What an image beside the ISO files is for a disk. Its gate is held until that is done, whether somebody waits for it
    /// or not.
    pub(super) async fn beside_isos(&self, volid: &str, gate: OwnedMutexGuard<()>) -> Result<Origin, Fault> {
        let failed = |error: CallError| error.fault(Code::Provision);
        let path = PathBuf::from(self.api.volume_path(&self.settings.node(), volid).await.map_err(failed)?);
        let Some((storage, folder)) = self.import_folder().await? else { return Ok(Origin::File(path)) };
        let (file, into) = (path.clone(), folder.clone());
        let linked = tokio::task::spawn_blocking(move || {
            let _gate = gate;
            link(&file, &into)
        });
        let unlinked = |why: String| {
            let text = format!("{volid} cannot become an image of the storage {storage}: {why}");
            let hint = format!("put it into {} yourself, as NAME.qcow2 or NAME.raw", folder.display());
            Fault::new(Code::Provision, text).hint(hint)
        };
        let linked = linked.await.map_err(|error| unlinked(error.to_string()))?;
        let name = linked.map_err(|error| unlinked(error.to_string()))?;
        Ok(Origin::Volume(format!("{storage}:import/{name}")))
    }

    /// Gives a virtual machine a disk that the API cannot give it. It goes on whether somebody waits for it or not, and so long
    /// nobody else passes the machine's gate; it ends with the agent, and whoever comes next begins it anew.
    pub(super) async fn import(
        &self,
        record: &mut Record,
        storage: &str,
        origin: &Origin,
        held: &Held,
        task: &Task,
    ) -> Result<(), Undone> {
        (task.progress)(format!("importing the disk of VM {} from {}", record.vmid, origin.name()));
        record.step = Some(Step { deed: Deed::Import, task: None });
        self.put(record)?;
        let disk = format!("{storage}:0,import-from={},discard=on,iothread=1", origin.name());
        self.patiently(task, || self.import_once(record.vmid, &disk, held)).await?;
        record.step = None;
        self.put(record)
    }

    async fn import_once(&self, vmid: Vmid, disk: &str, held: &Held) -> Result<(), CallError> {
        let (qm, held, vmid, disk) = (self.qm.clone(), held.clone(), vmid.to_string(), disk.to_owned());
        let (crash, place) = (self.crash.clone(), self.place.clone());
        let (point, _) = Deed::Import.points();
        let doing = format!("importing the disk of VM {vmid}");
        let importing = self.life.tracker.spawn(async move {
            let _held = held;
            crash.reach(point, Side::Before, &place);
            let (key, order) = (format!("--{DISK}"), format!("order={DISK}"));
            let done = tool::run(&qm, &["set", &vmid, &key, &disk, "--boot", &order], IMPORTING).await;
            crash.reach(point, Side::After, &place);
            done.map(drop)
        });
        importing.await.unwrap_or_else(|error| {
            Err(CallError { doing, message: error.to_string(), class: Class::Fatal, in_doubt: false })
        })
    }
}

/// Makes a file a volume in a folder for images: the same file under another name, or a copy where the file system cannot do
/// that. The name says which file it is, so that another one in its place is another volume; earlier ones go.
fn link(file: &Path, folder: &Path) -> io::Result<String> {
    let about = fs::metadata(file)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let begin = format!("{OURS}-{stem}-");
    let ending = if is_qcow2(&fs::File::open(file)?) { "qcow2" } else { "raw" };
    let name = format!("{begin}{:x}-{:x}.{ending}", about.ino(), about.mtime());
    if folder.join(&name).exists() {
        return Ok(name);
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if is_of(&entry.file_name().to_string_lossy(), &begin) {
            gone(&entry.path())?;
        }
    }
    let part = folder.join(format!("{name}{PART}"));
    if fs::hard_link(file, &part).is_err() {
        fs::copy(file, &part)?;
        fs::File::open(&part)?.sync_all()?;
    }
    fs::rename(&part, folder.join(&name))?;
    Ok(name)
}

/// Whether this is a volume that was made of the file whose volumes begin so, or a part of one: two numbers and an ending
/// follow. Another file's name may begin so too.
fn is_of(name: &str, begin: &str) -> bool {
    let rest = name.strip_prefix(begin).map(|rest| rest.strip_suffix(PART).unwrap_or(rest));
    let numbers = rest.and_then(|rest| rest.strip_suffix(".qcow2").or_else(|| rest.strip_suffix(".raw")));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.and_then(|numbers| numbers.split_once('-')).is_some_and(|(inode, time)| is_number(inode) && is_number(time))
}

fn gone(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_beside_the_isos_is_a_volume_without_being_copied_until_another_takes_its_place() {
        let root = tempfile::tempdir().unwrap();
        let [iso, import] = ["iso", "import"].map(|name| root.path().join(name));
        fs::create_dir(&iso).unwrap();
        fs::create_dir(&import).unwrap();
        let file = iso.join("debian-12-custom.img");
        fs::write(&file, b"QFI\xfb and more").unwrap();
        let first = link(&file, &import).unwrap();
        assert!(first.starts_with("homestak-iso-debian-12-custom-") && first.ends_with(".qcow2"), "{first}");
        assert_eq!(fs::metadata(import.join(&first)).unwrap().ino(), fs::metadata(&file).unwrap().ino());
        assert_eq!(link(&file, &import).unwrap(), first);
        fs::write(iso.join("new"), b"raw bytes").unwrap();
        fs::rename(iso.join("new"), &file).unwrap();
        let second = link(&file, &import).unwrap();
        assert!(second.ends_with(".raw"), "{second}");
        assert_eq!(fs::read(import.join(&second)).unwrap(), b"raw bytes");
        assert_eq!(fs::read_dir(&import).unwrap().count(), 1, "the earlier one has gone");
        // One whose name begins as this one's does is another one, a part of it too.
        let others = ["debian-12-custom-pve.img", "debian-12-custom-1f.img"].map(|name| iso.join(name));
        let theirs = others.each_ref().map(|other| {
            fs::write(other, b"raw").unwrap();
            link(other, &import).unwrap()
        });
        fs::write(import.join(format!("{second}.part")), b"half").unwrap();
        fs::write(iso.join("newer"), b"raw bytes again").unwrap();
        fs::rename(iso.join("newer"), &file).unwrap();
        link(&file, &import).unwrap();
        assert!(theirs.iter().all(|name| import.join(name).exists()));
        assert_eq!(fs::read_dir(&import).unwrap().count(), 3);
    }
}
