//! What a service manager is told over `NOTIFY_SOCKET` (sd_notify(3)); nothing where there is none.
//!
//! One task tells systemd's watchdog that we are alive, where there is one.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use tokio::time::sleep;

/// A service manager, if there is one.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let env = |name: &str| std::env::var(name).ok();
        let address = |path: String| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name.as_bytes()).ok(),
            None => SocketAddr::from_pathname(path).ok(),
        };
        let ours = env("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let period = env("WATCHDOG_USEC").filter(|_| ours).and_then(|usec| usec.parse().ok());
        Self {
            socket: env("NOTIFY_SOCKET").and_then(address),
            watchdog: period.filter(|usec| *usec > 0).map(Duration::from_micros),
        }
    }

    /// Tells it something, e.g. `READY=1`. Nobody needs to know when that fails.
    pub(super) fn tell(&self, word: &str) {
        let Some(socket) = &self.socket else { return };
        let told = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            from.send_to_addr(word.as_bytes(), socket)
        });
        if let Err(error) = told {
            tracing::debug!(%error, word, "the service manager cannot be told");
        }
    }

    /// Says that we are alive, twice as often as is asked for.
    pub(super) fn stay_alive(&self, life: &Lifecycle) {
        let (Some(period), Some(_)) = (self.watchdog, &self.socket) else { return };
        let (manager, ending) = (self.clone(), life.ending.clone());
        life.tracker.spawn(async move {
            loop {
                manager.tell("WATCHDOG=1");
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = sleep(period / 2) => {}
                }
            }
        });
    }
}
