//! A word to systemd, where it has started this process and waits for one (`Type=notify`, sd_notify(3)).
//!
//! One task tells its watchdog that this process is alive, where there is one.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where systemd listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often its watchdog wants to hear of us, in microseconds,
const WATCHDOG: &str = "WATCHDOG_USEC";
/// and of whom.
const WATCHED: &str = "WATCHDOG_PID";

/// What systemd tells the process that it has started, and nobody whom that one starts: their words would be taken for its.
pub const OURS_ALONE: [&str; 3] = [SOCKET, WATCHDOG, WATCHED];

/// Says that this process is ready. Nothing happens where nobody waits for it.
pub fn ready() {
    tell("READY=1");
}

/// Says how it stands, in a line for `systemctl status`.
pub fn status(line: &str) {
    tell(&format!("STATUS={}", line.replace('\n', " ")));
}

/// Says that it reads its settings again; [`ready`] ends that.
pub fn reloading() {
    tell("RELOADING=1");
}

/// Says that it is alive, twice as often as its watchdog asks for.
pub fn stay_alive(tracker: &TaskTracker, ending: CancellationToken) {
    let var = |name: &str| env::var(name).ok();
    let ours = var(WATCHED).is_none_or(|pid| pid == std::process::id().to_string());
    let period = var(WATCHDOG).filter(|_| ours).and_then(|usec| usec.parse().ok()).filter(|usec| *usec > 0);
    let Some(period) = period.map(Duration::from_micros) else { return };
    tracker.spawn(async move {
        loop {
            tell("WATCHDOG=1");
            tokio::select! {
                () = ending.cancelled() => return,
                () = sleep(period / 2) => {}
            }
        }
    });
}

/// Says that it is ending.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(word: &str) {
    let Some(socket) = env::var_os(SOCKET) else { return };
    if let Err(error) = send(&socket, word) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// A name that begins with `@` is in the abstract namespace.
fn send(socket: &OsStr, word: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    // One that does not listen is not waited for.
    from.set_nonblocking(true)?;
    from.send_to_addr(word.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("homestak-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (listener, socket) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().to_owned()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}").into()),
        ] {
            send(&socket, "READY=1").unwrap();
            let mut buffer = [0; 16];
            let count = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"READY=1");
        }
    }
}
