//! A machine of `local` as its own agent sees it: what it was ordered to be, its root folder, and whether it is still
//! there. A machine whose folder is gone ends.
//!
//! Task: one watches the folder.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use homestak_node::folder::gone;
use tokio::time::{MissedTickBehavior, interval};

use super::record::{RECORD, Record, RecordError, root_path};
use super::spawn::MAX_LOG;

/// How often the log is looked at.
const TICK: Duration = Duration::from_secs(5);

/// The machine that an agent runs in.
#[derive(Debug, Clone)]
pub struct Inside {
    folder: PathBuf,
}

impl Inside {
    /// The machine in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Its root folder.
    pub fn root(&self) -> PathBuf {
        root_path(&self.folder)
    }

    /// What it was ordered to be; none where it is gone.
    pub fn record(&self) -> Result<Option<Record>, RecordError> {
        Record::read(&self.folder)
    }

    /// Returns once the machine's folder is gone from its place: removed, renamed, or something it lies in.
    pub async fn gone(&self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let gone = gone(&self.folder, RECORD);
        tokio::pin!(gone);
        loop {
            tokio::select! {
                () = &mut gone => return,
                _ = tick.tick() => self.bound_log(),
            }
        }
    }

    /// Keeps the log, which this process writes to without knowing it, below its bound.
    fn bound_log(&self) {
        let log = self.folder.join("log");
        if fs::metadata(&log).is_ok_and(|meta| meta.len() > MAX_LOG) {
            // Whoever writes does so at the end, wherever that is by then.
            let kept = fs::copy(&log, log.with_extension("old"));
            let cut = kept.and_then(|_| File::options().write(true).open(&log)).and_then(|file| file.set_len(0));
            if let Err(error) = cut {
                tracing::warn!(%error, "the log cannot be cut");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_that_is_too_long_goes_on_short_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut writer = File::options().append(true).create(true).open(&log).unwrap();
        writer.set_len(MAX_LOG + 1).unwrap();
        Inside::new(folder.path().to_owned()).bound_log();
        writer.write_all(b"and on").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"and on");
        assert_eq!(fs::metadata(folder.path().join("log.old")).unwrap().len(), MAX_LOG + 1);
    }
}
