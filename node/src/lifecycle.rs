//! The life of a process: what was begun is tracked, what is to end is told, and a second signal does not wait.
//!
//! One task listens for SIGTERM and SIGINT. The first asks everything to drain; the second ends the process at once with
//! status 130.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long draining may take before the process ends all the same: SIGTERM is to be answered in under a second.
const DRAIN: Duration = Duration::from_millis(900);

/// Tracks every long-lived task of a process and tells them when to end. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Every task is spawned here.
    pub tracker: TaskTracker,
    /// Set when the process is to end.
    pub ending: CancellationToken,
}

impl Lifecycle {
    /// A life that nobody has asked to end.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets this process have as many open files as it may: each connection is one, and the usual limit (1,024) is for
    /// programs that wait with select(2).
    pub fn raise_file_limit(&self) {
        let limit = getrlimit(Resource::Nofile);
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
            tracing::debug!(%error, "the limit of open files cannot be raised");
        }
    }

    /// Listens for signals from here on.
    pub fn heed_signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let ending = self.ending.clone();
        // Not tracked: it waits for a second signal for as long as the process lives.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if ending.is_cancelled() {
                    tracing::warn!("a second signal: ending at once");
                    std::process::exit(130);
                }
                tracing::info!("ending: what is in flight is left to be found again");
                ending.cancel();
            }
        });
        Ok(())
    }

    /// Waits until the process is to end and everything has drained, or has had its time.
    pub async fn drained(&self) {
        self.ending.cancelled().await;
        self.tracker.close();
        if tokio::time::timeout(DRAIN, self.tracker.wait()).await.is_err() {
            tracing::warn!(tasks = self.tracker.len(), "some tasks did not drain in time");
        }
    }
}
