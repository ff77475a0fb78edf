//! Noticing that the folder that a process works for is gone: removed, renamed, or something that it lies in.
//!
//! It hears of each change from inotify, and looks by itself every few seconds where that is not to be had (each user has
//! 128 of them by default).

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval};

use crate::process::readable;

/// How often the folder is looked at without being told to.
const TICK: Duration = Duration::from_secs(5);

/// Returns once the folder is gone from its place, or the file `mark` in it is.
pub async fn gone(folder: &Path, mark: &str) {
    let Some(there) = identity(folder, mark) else { return };
    let watch = watch(folder).inspect_err(|error| {
        tracing::debug!(%error, "inotify is not to be had; looking at the folder every few seconds instead");
    });
    let watch = watch.ok();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while identity(folder, mark) == Some(there) {
        tokio::select! {
            () = changed(watch.as_ref()) => {}
            _ = tick.tick() => {}
        }
    }
}

/// Which folder lies there: device and inode. None where there is none, or none with that mark.
fn identity(folder: &Path, mark: &str) -> Option<(u64, u64)> {
    let meta = fs::metadata(folder).ok()?;
    fs::metadata(folder.join(mark)).ok()?;
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
