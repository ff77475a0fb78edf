//! The keys that a user may log in with: `authorized_keys`, exactly these.
//!
//! The folder belongs to the user, who may have put anything there. So it is opened without following links and everything
//! is done inside it, and nothing else on the machine can be meant.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{AtFlags, Gid, Mode as Bits, OFlags, Uid, fchmod, fchown, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::account::{self, Entry};
use crate::config::resource::{Difference, Differences, Resource, Step};
use crate::config::system::{PRIVATE, Target};
use crate::config::trouble::Trouble;

const FOLDER: &str = ".ssh";
const FILE: &str = "authorized_keys";
const DRAFT: &str = ".authorized_keys.homestak-new";

/// The keys of a user.
pub(crate) struct Keys {
    pub(crate) user: String,
    pub(crate) keys: Vec<String>,
}

/// What the keys of this user are called among the resources.
pub(crate) fn resource(user: &str) -> String {
    format!("keys {user}")
}

/// The home of a user; in a folder, where nobody has an account, the usual one.
pub(crate) fn home(target: &Target, user: &str) -> Result<Option<String>, Trouble> {
    let usual = || if user == "root" { "/root".to_owned() } else { format!("/home/{user}") };
    let entry = account::find(target, user)?.map(|entry| entry.home);
    Ok(if target.simulated() { Some(entry.unwrap_or_else(usual)) } else { entry })
}

impl Keys {
    fn content(&self) -> String {
        self.keys.iter().map(|key| format!("{key}\n")).collect()
    }

    fn owner(&self, target: &Target) -> Result<Option<Entry>, Trouble> {
        if target.simulated() { Ok(None) } else { account::find(target, &self.user) }
    }
}

impl Resource for Keys {
    fn name(&self) -> String {
        resource(&self.user)
    }

    fn needs(&self) -> Vec<String> {
        vec![account::resource(&self.user)]
    }

    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>> {
        Box::pin(async move {
            let mut found = Differences::default();
            let Some(home) = home(target, &self.user)? else {
                found.add("have no home to lie in");
                return Ok(found.whole());
            };
            let path = format!("{home}/{FOLDER}/{FILE}");
            let is = target.read(&path)?;
            found.text(&path, is.as_deref(), &self.content());
            let owner = self.owner(target)?.map(|owner| (owner.uid, owner.gid));
            for (path, mode) in [(format!("{home}/{FOLDER}"), PRIVATE.folder), (path, PRIVATE.file)] {
                let Ok(meta) = fs::symlink_metadata(target.path(&path)) else { continue };
                if meta.mode() & 0o7777 != mode {
                    found.add(format!("{path} has the mode {:04o} and not {mode:04o}", meta.mode() & 0o7777));
                }
                if owner.is_some_and(|owner| owner != (meta.uid(), meta.gid())) {
                    found.add(format!("{path} is not the user's own"));
                }
            }
            Ok(found.whole())
        })
    }

    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()> {
        Box::pin(async move {
            let missing = || Trouble::refused(format!("{} has no home", self.user));
            let home = home(target, &self.user)?.ok_or_else(missing)?;
            if target.simulated() {
                return Ok(target.write(&format!("{home}/{FOLDER}/{FILE}"), &self.content(), PRIVATE)?);
            }
            let owner = self.owner(target)?.ok_or_else(missing)?;
            let home_path = target.path(&home);
            write(&home_path, &owner, &self.content()).map_err(|error| {
                let hint = "look at what lies there: a link or another user's folder is not followed";
                let what = format!("{home}/{FOLDER}/{FILE} cannot be written: {error}");
                Trouble::Refused { what, hint: Some(hint) }
            })
        })
    }
}

/// Writes the file inside the user's own folder.
fn write(home: &std::path::Path, owner: &Entry, content: &str) -> std::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let folder_flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let home: OwnedFd = open(home, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Bits::empty())?;
    match mkdirat(&home, FOLDER, Bits::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let folder = openat(&home, FOLDER, folder_flags, Bits::empty())?;
    fchown(&folder, Some(uid), Some(gid))?;
    fchmod(&folder, Bits::from_raw_mode(PRIVATE.folder))?;
    match unlinkat(&folder, DRAFT, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(&folder, DRAFT, flags, Bits::RUSR | Bits::WUSR)?);
    file.write_all(content.as_bytes())?;
    fchown(&file, Some(uid), Some(gid))?;
    fchmod(&file, Bits::from_raw_mode(PRIVATE.file))?;
    file.sync_data()?;
    Ok(renameat(&folder, DRAFT, &folder, FILE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_a_users_home_leads_nowhere() {
        let top = tempfile::tempdir().unwrap();
        let (home, secret) = (top.path().join("home"), top.path().join("secret"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&secret).unwrap();
        let owner = Entry {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            home: String::new(),
            shell: String::new(),
        };
        std::os::unix::fs::symlink(&secret, home.join(FOLDER)).unwrap();
        write(&home, &owner, "key\n").unwrap_err();
        assert_eq!(fs::read_dir(&secret).unwrap().count(), 0);
        fs::remove_file(home.join(FOLDER)).unwrap();
        fs::create_dir(home.join(FOLDER)).unwrap();
        fs::write(secret.join("file"), "mine").unwrap();
        std::os::unix::fs::symlink(secret.join("file"), home.join(".ssh/authorized_keys")).unwrap();
        write(&home, &owner, "key\n").unwrap();
        assert_eq!(fs::read_to_string(secret.join("file")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(home.join(".ssh/authorized_keys")).unwrap(), "key\n");
    }
}
