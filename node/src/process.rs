//! Processes that cannot be mistaken for one another: a pid means nothing once its process has ended, so one is known by
//! its pid, the time at which it started and the boot in which it did.
//!
//! Not for starting processes.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Duration, timeout};

/// Who a process is, for as long as this machine's file systems remember.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: field 22 of `/proc/<pid>/stat` (proc(5)).
    pub start_time: u64,
    /// The boot, from `/proc/sys/kernel/random/boot_id`: ticks begin anew with it.
    pub boot_id: Box<str>,
}

impl ProcessMark {
    /// The mark of the process that has this number now; none where there is none, or only what its parent has not
    /// collected yet.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let start_time = start_time(&stat)?;
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().into();
        Some(Self { pid, start_time, boot_id })
    }

    /// The mark of this process.
    pub fn of_this_process() -> Option<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Whether that very process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Takes hold of the process; none where it has ended. From then on its number cannot come to mean another.
    pub fn hold(&self) -> io::Result<Option<Held>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after the pidfd was opened: had the number been given anew before, the mark would differ now.
        if !self.is_alive() {
            return Ok(None);
        }
        Ok(Some(Held { pid, fd: readable(fd)? }))
    }
}

/// A process that is held on to.
#[derive(Debug)]
pub struct Held {
    pid: Pid,
    fd: AsyncFd<OwnedFd>,
}

impl Held {
    /// Waits until it has ended.
    pub async fn ended(&self) {
        // An error here means that the runtime's reactor is gone, and with it everybody who could care.
        let _ready = self.fd.readable().await;
    }

    /// Ends it: asks by SIGTERM, waits for `grace`, then SIGKILL.
    pub async fn end(&self, grace: Duration) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        if timeout(grace, self.ended()).await.is_err() {
            self.signal(Signal::KILL)?;
            self.ended().await;
        }
        Ok(())
    }

    /// Collects it once it has ended, if it is a child of this process that nobody else waits for, so that its number is
    /// free again. Of others' children there is nothing to collect, and the system says so.
    pub fn collect(&self) {
        let _status = waitpid(Some(self.pid), WaitOptions::NOHANG);
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.fd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Lets the runtime say when there is something to read.
#[expect(
    deprecated,
    reason = "its successor is unsafe because a type may give up its descriptor early; an OwnedFd does not"
)]
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Field 22 of a `/proc/<pid>/stat`. The second field is the program's name in parentheses and may itself hold any
/// character, so counting begins behind the last parenthesis, with field 3, the state.
fn start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_program_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1000 1 18446744073709551615";
        assert_eq!(start_time(stat), Some(777));
        assert_eq!(start_time(&stat.replace(") S ", ") Z ")), None);
        assert_eq!(start_time("42 (a"), None);
    }

    #[test]
    fn a_pid_that_another_process_has_now_is_not_the_one_on_record() {
        let me = ProcessMark::of_this_process().unwrap();
        assert!(me.is_alive());
        let earlier = ProcessMark { start_time: me.start_time - 1, ..me.clone() };
        let other_boot = ProcessMark { boot_id: "another".into(), ..me };
        assert!(!earlier.is_alive() && !other_boot.is_alive());
    }

    #[tokio::test]
    async fn a_held_process_is_ended_even_if_it_does_not_listen() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read _ || exec sleep 600; done"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
        let mark = ProcessMark::of(i32::try_from(child.id()).unwrap()).unwrap();
        let held = mark.hold().unwrap().expect("it runs");
        held.end(Duration::from_millis(50)).await.unwrap();
        assert!(!mark.is_alive(), "what nobody has waited for is no longer alive");
        assert!(mark.hold().unwrap().is_none());
        held.collect();
        assert!(child.wait().is_err(), "it was collected");
    }
}
