//! Resources: one thing each that a machine should have. `check` says how it differs, `apply` puts it right, and a
//! second `check` then finds nothing.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{FileError, read_if_there, write_whole};

/// Where a configuration goes.
#[derive(Debug, Clone)]
pub struct Target {
    /// The machine's root folder.
    pub root: PathBuf,
    /// Its agent's state folder.
    pub state: PathBuf,
}

/// How a resource is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The resource.
    pub resource: String,
    /// What is missing or other.
    pub what: String,
}

/// One thing that a machine should have.
pub trait Resource {
    /// What it is, for people.
    fn name(&self) -> String;

    /// How it differs; none where it is as it should be.
    fn check(&self, target: &Target) -> Result<Option<String>, FileError>;

    /// Puts it right.
    fn apply(&self, target: &Target) -> Result<(), FileError>;
}

/// A file with this content, and the folders above it.
pub struct TextFile {
    /// Its place below the root.
    pub path: String,
    /// What it holds.
    pub content: String,
    /// Its permissions, and those of folders that have to be made for it.
    pub mode: (u32, u32),
}

impl Resource for TextFile {
    fn name(&self) -> String {
        format!("/{}", self.path)
    }

    fn check(&self, target: &Target) -> Result<Option<String>, FileError> {
        let path = target.root.join(&self.path);
        Ok(match read_if_there(&path)? {
            None => Some("is missing".to_owned()),
            Some(text) if text != self.content => Some("has other content".to_owned()),
            Some(_) => {
                let mode =
                    fs::metadata(&path).map_err(FileError::of(&path, "looked at"))?.permissions().mode() & 0o7777;
                (mode != self.mode.0).then(|| format!("has the mode {mode:04o} and not {:04o}", self.mode.0))
            }
        })
    }

    fn apply(&self, target: &Target) -> Result<(), FileError> {
        let path = target.root.join(&self.path);
        let (file_mode, folder_mode) = self.mode;
        if let Some(above) = path.parent() {
            make_folders(above, folder_mode)?;
        }
        // Beside its place, with a name that no program reads, until it is whole.
        let draft = path.with_file_name(format!(".{}.homestak-new", path.file_name().unwrap_or_default().display()));
        let write = || -> io::Result<()> {
            match fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(self.content.as_bytes())?;
            file.set_permissions(Permissions::from_mode(file_mode))?;
            fs::rename(&draft, &path)
        };
        write().map_err(FileError::of(&path, "written"))
    }
}

/// Makes a folder with this mode, and public ones above it where they are missing, whatever this process masks.
fn make_folders(folder: &Path, mode: u32) -> Result<(), FileError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    missing.into_iter().rev().try_for_each(|path| {
        let mode = if path == folder { mode } else { 0o755 };
        let made = fs::DirBuilder::new().mode(0o700).create(path);
        made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(FileError::of(path, "created"))
    })
}

/// A file that must not be there.
pub struct NoFile {
    /// Its place below the root.
    pub path: String,
}

impl Resource for NoFile {
    fn name(&self) -> String {
        format!("/{}", self.path)
    }

    fn check(&self, target: &Target) -> Result<Option<String>, FileError> {
        let there = fs::symlink_metadata(target.root.join(&self.path)).is_ok();
        Ok(there.then(|| "should not be there".to_owned()))
    }

    fn apply(&self, target: &Target) -> Result<(), FileError> {
        let path = target.root.join(&self.path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of(&path, "removed")(error)),
            _ => Ok(()),
        }
    }
}

/// What cannot be done to a folder, and is put on record instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulated {
    /// Packages that are installed.
    Packages,
    /// Services that start at boot.
    Enabled,
    /// Services that do not.
    Disabled,
}

/// Names that are to be on record.
pub struct Recorded {
    /// As what.
    pub what: Simulated,
    /// Which.
    pub names: BTreeSet<String>,
}

/// `simulated.json` of the state folder.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OnRecord {
    packages: BTreeSet<String>,
    services_enabled: BTreeSet<String>,
    services_disabled: BTreeSet<String>,
}

impl OnRecord {
    fn read(state: &Path) -> Result<Self, FileError> {
        let text = read_if_there(&Self::path(state))?;
        // One that cannot be read is as good as none: all of it is put on record again.
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn path(state: &Path) -> PathBuf {
        state.join("simulated.json")
    }

    fn of(&mut self, what: Simulated) -> &mut BTreeSet<String> {
        match what {
            Simulated::Packages => &mut self.packages,
            Simulated::Enabled => &mut self.services_enabled,
            Simulated::Disabled => &mut self.services_disabled,
        }
    }
}

impl Resource for Recorded {
    fn name(&self) -> String {
        match self.what {
            Simulated::Packages => "packages",
            Simulated::Enabled => "services at boot",
            Simulated::Disabled => "services not at boot",
        }
        .to_owned()
    }

    fn check(&self, target: &Target) -> Result<Option<String>, FileError> {
        let mut record = OnRecord::read(&target.state)?;
        let missing: Vec<&str> = self.names.difference(record.of(self.what)).map(String::as_str).collect();
        Ok((!missing.is_empty()).then(|| format!("lack {}", missing.join(", "))))
    }

    fn apply(&self, target: &Target) -> Result<(), FileError> {
        let mut record = OnRecord::read(&target.state)?;
        let opposite = match self.what {
            Simulated::Packages => None,
            Simulated::Enabled => Some(Simulated::Disabled),
            Simulated::Disabled => Some(Simulated::Enabled),
        };
        if let Some(opposite) = opposite {
            record.of(opposite).retain(|name| !self.names.contains(name));
        }
        record.of(self.what).extend(self.names.iter().cloned());
        let path = OnRecord::path(&target.state);
        let text =
            serde_json::to_vec_pretty(&record).map_err(io::Error::from).map_err(FileError::of(&path, "written"))?;
        write_whole(&path, &text)
    }
}
