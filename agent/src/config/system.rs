//! The machine that is configured: this one, or a folder that stands for one.
//!
//! In a folder, files are written as they would be on a machine, and what takes a program (packages, users, services) is put
//! on record instead. Every resource does its reading, writing and running through here.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::command::{Command, Output};
use super::trouble::Trouble;
use crate::files::{FileError, read_if_there};
use homestak_node::world::Task;

/// What is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// This machine.
    Machine,
    /// A folder, as if it were the root of one.
    Folder(PathBuf),
}

/// Where a configuration goes, and who waits for it.
#[derive(Clone)]
pub struct Target {
    /// The machine.
    pub system: System,
    /// Its agent's state folder.
    pub state: PathBuf,
    /// Where its parent is reached, `host:port` each: it must not be cut off from there.
    pub parent: Vec<String>,
    /// Cancellation and progress.
    pub task: Task,
}

impl Target {
    /// This machine, for whoever waits for nobody's word.
    pub fn here(state: &Path) -> Self {
        let task = Task { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) };
        Self { system: System::Machine, state: state.to_owned(), parent: Vec::new(), task }
    }

    /// Whether this is a folder that stands for a machine.
    pub fn simulated(&self) -> bool {
        matches!(self.system, System::Folder(_))
    }

    /// A path below the machine's root, which `path` begins at.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = path.trim_start_matches('/');
        match &self.system {
            System::Machine => Path::new("/").join(path),
            System::Folder(root) => root.join(path),
        }
    }

    /// The text of a file; none where there is none.
    pub fn read(&self, path: &str) -> Result<Option<String>, FileError> {
        read_if_there(&self.path(path))
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Writes a file whole. Folders that are missing above it are made.
    pub fn write(&self, path: &str, content: &str, mode: Mode) -> Result<(), FileError> {
        let path = self.path(path);
        if let Some(above) = path.parent() {
            make_folders(above, mode.folder)?;
        }
        // Beside its place, with a name that no program reads, until it is whole.
        let draft = path.with_file_name(format!(".{}.homestak-new", path.file_name().unwrap_or_default().display()));
        let write = || -> io::Result<()> {
            without(&draft)?;
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(content.as_bytes())?;
            file.set_permissions(Permissions::from_mode(mode.file))?;
            file.sync_data()?;
            fs::rename(&draft, &path)
        };
        write().map_err(|error| {
            // A full disk holds the draft's blocks until it is gone.
            let _gone = fs::remove_file(&draft);
            FileError::of(&path, "written")(error)
        })
    }

    /// Makes a folder that everybody may enter, if it is missing.
    pub fn folder(&self, path: &Path) -> Result<(), FileError> {
        make_folders(&self.path(&path.to_string_lossy()), PUBLIC.folder)
    }

    /// Takes a file away, if it is there.
    pub fn remove(&self, path: &str) -> Result<(), FileError> {
        let path = self.path(path);
        without(&path).map_err(FileError::of(&path, "removed"))
    }

    /// Runs a program on this machine. In a folder, nothing may be run: that is a mistake of the resource that wants it.
    pub async fn run(&self, command: Command) -> Result<Output, Trouble> {
        match self.system {
            System::Machine => command.run(&self.task.cancel).await,
            System::Folder(_) => Err(Trouble::refused(format!("{} cannot be run in a folder", command.program()))),
        }
    }
}

/// The permissions of a file, and those of folders that have to be made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// The file's.
    pub file: u32,
    /// The folders'.
    pub folder: u32,
}

/// Files that everybody may read, in folders that everybody may enter.
pub const PUBLIC: Mode = Mode { file: 0o644, folder: 0o755 };
/// Files of one user.
pub const PRIVATE: Mode = Mode { file: 0o600, folder: 0o700 };
/// Files that sudo reads; it refuses others.
pub const SUDOERS: Mode = Mode { file: 0o440, folder: 0o750 };

fn without(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder with this mode, and public ones above it where they are missing, whatever this process masks.
fn make_folders(folder: &Path, mode: u32) -> Result<(), FileError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    missing.into_iter().rev().try_for_each(|path| {
        let mode = if path == folder { mode } else { 0o755 };
        let made = DirBuilder::new().mode(0o700).create(path);
        made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(FileError::of(path, "created"))
    })
}
