//! Writing into the root file system of somebody else, from outside: whoever is root in a container decides where its links
//! lead, and every path is resolved as if its root were ours (`openat2`, `RESOLVE_IN_ROOT`).

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What a file is called until it is whole.
const NEW: &str = ".homestak-new";

/// A root file system. What is made in it is its owner's: root inside is somebody else outside, where a container is
/// unprivileged.
pub(super) struct Root {
    folder: File,
    uid: u32,
    gid: u32,
}

impl Root {
    /// The one at this folder.
    pub(super) fn at(folder: &Path) -> io::Result<Self> {
        let folder = File::open(folder)?;
        let owner = folder.metadata()?;
        Ok(Self { uid: owner.uid(), gid: owner.gid(), folder })
    }

    /// Makes a file, in place of whatever has that name.
    pub(super) fn file(&self, path: &str, mode: u32, mut content: impl io::Read) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        remove(&folder, NEW)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&folder, NEW, flags, Mode::RUSR | Mode::WUSR)?);
        io::copy(&mut content, &mut file)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        fchown(&file, Some(self.uid), Some(self.gid))?;
        file.sync_all()?;
        Ok(rustix::fs::renameat(&folder, NEW, &folder, name)?)
    }

    /// Makes a link, in place of whatever has that name.
    pub(super) fn link(&self, path: &str, to: &str) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        remove(&folder, NEW)?;
        rustix::fs::symlinkat(to, &folder, NEW)?;
        Ok(rustix::fs::renameat(&folder, NEW, &folder, name)?)
    }

    /// The folder that a path is in, made where it is missing, and its name there.
    fn place<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (folder, name) = path.rsplit_once('/').unwrap_or((".", path));
        Ok((self.folder(folder)?, name))
    }

    fn folder(&self, path: &str) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            rustix::fs::openat2(&self.folder, path, flags, Mode::empty(), inside)
        };
        match open() {
            Err(Errno::NOENT) => {
                let (above, name) = self.place(path)?;
                match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                    Err(error) if error != Errno::EXIST => return Err(error.into()),
                    _ => {}
                }
                let made = open()?;
                fchown(&made, Some(self.uid), Some(self.gid))?;
                Ok(made)
            }
            opened => Ok(opened?),
        }
    }
}

fn remove(folder: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_outside_and_what_has_the_name_is_replaced() {
        let all = tempfile::tempdir().unwrap();
        let [inside, outside] = ["root", "outside"].map(|name| all.path().join(name));
        for folder in ["root/usr/local/bin", "root/etc", "root/real", "outside"] {
            fs::create_dir_all(all.path().join(folder)).unwrap();
        }
        fs::write(outside.join("shadow"), "theirs").unwrap();
        // A file that is a link to one outside, a folder that is one, and one that leads to another place inside.
        symlink(outside.join("shadow"), inside.join("usr/local/bin/agent")).unwrap();
        symlink(&outside, inside.join("etc/cron.d")).unwrap();
        symlink("/real", inside.join("etc/systemd")).unwrap();
        let root = Root::at(&inside).unwrap();
        root.file("/usr/local/bin/agent", 0o755, &b"program"[..]).unwrap();
        root.file("/etc/systemd/system/agent.service", 0o644, &b"unit"[..]).unwrap();
        assert!(root.file("/etc/cron.d/agent", 0o644, &b"evil"[..]).is_err(), "there is no such folder inside");
        root.link("/etc/wants/agent.service", "/etc/systemd/system/agent.service").unwrap();
        root.link("/etc/wants/agent.service", "/etc/systemd/system/agent.service").unwrap();
        assert_eq!(fs::read_to_string(outside.join("shadow")).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let made = inside.join("usr/local/bin/agent");
        assert_eq!(fs::read_to_string(&made).unwrap(), "program");
        assert_eq!(fs::symlink_metadata(&made).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(inside.join("real/system/agent.service")).unwrap(), "unit");
        assert_eq!(fs::read_dir(inside.join("usr/local/bin")).unwrap().count(), 1, "nothing is left beside it");
    }
}
