//! One configuration of a machine at a time: by hand and by the agent.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::ConfigError;
use crate::files::{FILE_MODE, FileError};

/// How long to wait for the other one: a check takes a moment, an installation minutes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look. Nobody tells when a lock is free, short of a thread that waits for it.
const AGAIN: Duration = Duration::from_millis(50);

/// Held for as long as a machine is configured.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for it, for a moment.
    pub(super) async fn take(state: &Path, cancel: &CancellationToken) -> Result<Self, ConfigError> {
        let path = state.join("config.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(&path);
        let file = file.map_err(FileError::of(&path, "opened"))?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(ConfigError::Busy),
                Err(error) => return Err(FileError::of(&path, "locked")(error.into()).into()),
            }
            tokio::select! {
                () = cancel.cancelled() => return Err(ConfigError::Cancelled),
                () = sleep(AGAIN) => {}
            }
        }
    }
}
