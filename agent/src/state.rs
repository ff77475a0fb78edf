//! The state folder: one process at a time, known to others by a mark in the lock file.
//!
//! What lies in it: `lock`, `agent.sock` (see [`crate::socket`]), `identity`, journal and port (by the crate `node`),
//! `spec.yaml`, `config-complete.json` and what a simulated configuration recorded (see [`crate::config`]), `machines/`
//! and `images/` of the provider `local`, `faults.json` of a fault plan.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::files::{FILE_MODE, FileError, private_folder, read_if_there};
use homestak_node::process::ProcessMark;

/// Held by the process that has the folder; holds its mark.
pub const LOCK: &str = "lock";
/// The folder of what this agent keeps about itself (by the crate `node`).
pub const IDENTITY: &str = "identity";

/// A state folder that this process has for itself.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

/// Why a state folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process has it.
    #[error("the state folder {} is in use{}", path.display(), by.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it, where that is known.
        by: Option<i32>,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StateFolder {
    /// Makes the folder if it is missing, closes it to other users, and takes its lock.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        private_folder(path)?;
        let file = lock_path(path);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&file)
            .map_err(FileError::of(&file, "opened"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StateError::InUse { path: path.to_owned(), by: holder(path).map(|mark| mark.pid) });
            }
            Err(error) => return Err(FileError::of(&file, "locked")(error.into()).into()),
        }
        let mark = ProcessMark::of_this_process().and_then(|mark| serde_json::to_vec(&mark).ok()).unwrap_or_default();
        let told = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| lock.write_all(&mark));
        told.map_err(FileError::of(&file, "written"))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process that has this state folder now; none where nobody has.
pub fn holder(state: &Path) -> Option<ProcessMark> {
    let text = read_if_there(&lock_path(state)).ok()??;
    let mark: ProcessMark = serde_json::from_str(&text).ok()?;
    mark.is_alive().then_some(mark)
}

fn lock_path(state: &Path) -> PathBuf {
    state.join(LOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_has_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(holder(&path), None);
        let first = StateFolder::take(&path).unwrap();
        assert_eq!(holder(first.path()), ProcessMark::of_this_process());
        // flock belongs to the open file, so a second one is refused within one process too.
        let refused = StateFolder::take(&path).unwrap_err();
        assert!(matches!(refused, StateError::InUse { by: Some(pid), .. } if pid == std::process::id().cast_signed()));
        drop(first);
        StateFolder::take(&path).unwrap();
    }
}
