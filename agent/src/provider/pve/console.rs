//! What a virtual machine complains of on its serial console while its agent is waited for.
//!
//! The API shows no console, but QEMU keeps it as a socket on the host (`serial0: socket`, which every machine of ours has),
//! for one reader at a time. So it is read only while somebody asks about the machine, and left to others soon after; nothing
//! is ever written to it. Whoever has it open already goes first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::ids::Vmid;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

/// How long after the last question a console is read on: a little longer than until the next one.
const QUIET: Duration = Duration::from_secs(12);
/// How much of what was said last is kept: some hundred lines.
const TAIL: usize = 16 * 1024;
/// How much of a line is told.
const TOLD: usize = 160;

/// What says that a system does not come up.
const GRAVE: [&str; 5] = ["kernel panic", "no bootable device", "boot failed", "emergency mode", "out of memory"];
/// What says that something went wrong.
const BAD: [&str; 5] = ["[failed]", "failed to ", "error:", "timed out", "cannot "];

/// The consoles of a host's machines.
pub(super) struct Consoles {
    folder: PathBuf,
    read: Arc<Mutex<BTreeMap<Vmid, Heard>>>,
}

/// What was heard of one.
struct Heard {
    asked: Instant,
    tail: Vec<u8>,
}

impl Consoles {
    /// Those whose sockets are in this folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, read: Arc::default() }
    }

    /// The last complaint of a machine that has been asked about before; from now on it is listened to.
    pub(super) fn complaint(&self, vmid: Vmid, life: &Lifecycle) -> Option<String> {
        let now = Instant::now();
        match lock(&self.read).entry(vmid) {
            Entry::Occupied(mut heard) => {
                heard.get_mut().asked = now;
                return complaint(&String::from_utf8_lossy(&heard.get().tail));
            }
            Entry::Vacant(new) => drop(new.insert(Heard { asked: now, tail: Vec::new() })),
        }
        let (socket, all, ending) =
            (self.folder.join(format!("{vmid}.serial0")), Arc::clone(&self.read), life.ending.clone());
        life.tracker.spawn(async move {
            let _ended = ending.run_until_cancelled(listen(&socket, vmid, &all)).await;
            lock(&all).remove(&vmid);
        });
        None
    }
}

/// Listens until nobody has asked for a while, or there is nothing more to hear.
async fn listen(socket: &Path, vmid: Vmid, all: &Mutex<BTreeMap<Vmid, Heard>>) {
    let mut stream = match UnixStream::connect(socket).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, socket = %socket.display(), "a console cannot be read"),
    };
    let mut piece = [0; 4096];
    loop {
        let Some(until) = lock(all).get(&vmid).map(|heard| heard.asked + QUIET) else { return };
        tokio::select! {
            read = stream.read(&mut piece) => {
                let said = read.ok().and_then(|length| piece.get(..length)).filter(|said| !said.is_empty());
                let mut all = lock(all);
                let (Some(said), Some(heard)) = (said, all.get_mut(&vmid)) else { return };
                heard.tail.extend_from_slice(said);
                let old = heard.tail.len().saturating_sub(TAIL);
                heard.tail.drain(..old);
            }
            () = sleep_until(until) => {
                if lock(all).get(&vmid).is_none_or(|heard| heard.asked + QUIET <= Instant::now()) {
                    return;
                }
            }
        }
    }
}

fn lock(all: &Mutex<BTreeMap<Vmid, Heard>>) -> MutexGuard<'_, BTreeMap<Vmid, Heard>> {
    // Whoever panicked with it has changed one entry or none.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last line that says why a system does not come up; else the last that says that something went wrong.
fn complaint(text: &str) -> Option<String> {
    let lines: Vec<String> = text.lines().map(plain).collect();
    let last = |marks: &[&str]| {
        let has = |line: &&String| marks.iter().any(|mark| line.to_lowercase().contains(mark));
        lines.iter().rev().find(has).map(|line| line.chars().take(TOLD).collect::<String>())
    };
    last(&GRAVE).or_else(|| last(&BAD))
}

/// A line without what only terminals understand (ECMA-48 sequences), and without a kernel's time in front.
fn plain(line: &str) -> String {
    let (mut text, mut chars) = (String::new(), line.chars().peekable());
    while let Some(char) = chars.next() {
        if char == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                // Parameters, then one letter.
                let _letter = chars.by_ref().find(|char| ('@'..='~').contains(char));
            }
        } else if !char.is_control() {
            text.push(char);
        }
    }
    let text = text.trim();
    let stamped = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let is_time = |stamp: &str| stamp.trim().parse::<f64>().is_ok();
    stamped.filter(|(stamp, _)| is_time(stamp)).map_or(text, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_system_does_not_come_up_goes_before_what_else_went_wrong() {
        let text = "[    1.000000] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n\
                    [    1.100000] Rebooting failed\r\n";
        assert_eq!(complaint(text).as_deref(), Some("Kernel panic - not syncing: VFS: Unable to mount root fs"));
        let text = "\u{1b}[0;1;31m[FAILED]\u{1b}[0m Failed to start \u{1b}[0;1;39mnetworking.service\u{1b}[0m.\r\nDebian login: ";
        assert_eq!(complaint(text).as_deref(), Some("[FAILED] Failed to start networking.service."));
        let well = "[    0.4] RAS: Correctable Errors collector initialized.\n[    0.5] EXT4-fs (vda1): errors=remount-ro\n\
                    Debian GNU/Linux 12 edge ttyS0\n\nedge login: ";
        assert_eq!(complaint(well), None);
        assert_eq!(complaint(&format!("error: {}", "x".repeat(500))).map(|line| line.len()), Some(TOLD));
    }
}
