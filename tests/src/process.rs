//! Processes, seen through `/proc`, and ended one by one: only ever those that are known to be a stage's own.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: tells it from a later one with the same number.
    pub started: u64,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Process {
    /// The process with this number, if there is one that still runs.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = line.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        Some(Self { pid, started, arguments })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            // It may have ended between the look and the signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// kill -9.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Whether its command line has this argument.
    pub fn has(&self, argument: &str) -> bool {
        self.arguments.iter().any(|given| given == argument)
    }
}

/// Every process whose command line or environment names `folder`, except this one.
pub fn within(folder: &Path) -> Vec<Process> {
    let mark = folder.as_os_str().as_bytes();
    let me = std::process::id().cast_signed();
    let names = |file: String| fs::read(file).is_ok_and(|bytes| bytes.windows(mark.len()).any(|part| part == mark));
    let pids = fs::read_dir("/proc").expect("Linux has /proc").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != me)
        .filter(|pid| names(format!("/proc/{pid}/cmdline")) || names(format!("/proc/{pid}/environ")))
        .filter_map(Process::of)
        .collect()
}
