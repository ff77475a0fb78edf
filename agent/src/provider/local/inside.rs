//! A machine of `local` as its own agent sees it: what it was ordered to be, its root folder, and whether it is still
//! there. A machine whose folder is gone ends.
//!
//! Task: one watches the folder. It hears of each change from inotify, and looks by itself every few seconds where that
//! is not to be had (each user has 128 of them by default).

use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use super::record::{Record, RecordError, record_path, root_path};
use super::spawn::MAX_LOG;
use crate::readiness::readable;

/// How often the folder is looked at without being told to.
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
        let Some(there) = identity(&self.folder) else { return };
        let watch = watch(&self.folder).inspect_err(|error| {
            tracing::debug!(%error, "inotify is not to be had; looking at the folder every few seconds instead");
        });
        let watch = watch.ok();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while identity(&self.folder) == Some(there) {
            tokio::select! {
                () = changed(watch.as_ref()) => {}
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

/// Which folder lies there: device and inode. None where there is none, or none with a record.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(folder).ok()?;
    fs::metadata(record_path(folder)).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Watches the folder, and every folder that it lies in. That a folder itself goes is told late, as long as somebody has
/// a file open in it; that it leaves the one above is told at once.
fn watch(folder: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let inner = WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
    inotify::add_watch(&inotify, folder, inner | WatchFlags::ONLYDIR)?;
    if let Some(above) = folder.parent() {
        inotify::add_watch(&inotify, above, inner | WatchFlags::ONLYDIR)?;
    }
    for above in folder.ancestors().skip(2) {
        // Folders far above may not be ours to watch; then nobody but root renames them.
        let _refused = inotify::add_watch(&inotify, above, WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR);
    }
    readable(inotify)
}

/// Waits until something in or around the folder has changed.
async fn changed(watch: Option<&AsyncFd<OwnedFd>>) {
    let Some(watch) = watch else { return std::future::pending().await };
    let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = Reader::new(watch.get_ref(), &mut buffer);
    while reader.next().is_ok() {}
    ready.clear_ready();
}
