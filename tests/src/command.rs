//! One run of a program under test: what it printed and how it ended, within a limit.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    shown: String,
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    read: [Vec<u8>; 2],
}

/// What it came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command, for messages.
    pub shown: String,
    /// Its exit code; a signal's number is negative.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// Starts a program with its outputs piped.
pub fn start(command: &mut Command) -> Running {
    let shown = format!("{command:?}").rsplit_once("homestak-").map_or_else(String::new, |(_, args)| args.to_owned());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let stdout = collect(child.stdout.take().expect("it was piped"));
    let stderr = collect(child.stderr.take().expect("it was piped"));
    Running { shown, child, stdout, stderr, read: [Vec::new(), Vec::new()] }
}

/// Sends what comes, piece by piece, until the pipe is closed.
fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut piece) {
            if send.send(piece[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

impl Running {
    /// Its number.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// What it has written to stdout so far.
    pub fn so_far(&mut self) -> String {
        self.read[0].extend(self.stdout.try_iter().flatten());
        String::from_utf8_lossy(&self.read[0]).into_owned()
    }

    /// What it has written to stderr so far.
    pub fn complaints(&mut self) -> String {
        self.read[1].extend(self.stderr.try_iter().flatten());
        String::from_utf8_lossy(&self.read[1]).into_owned()
    }

    /// Waits for its end. After `limit` it is killed and the test fails.
    pub fn finish(mut self, limit: Duration) -> Outcome {
        let end = Instant::now() + limit;
        let closed = [&self.stdout, &self.stderr].into_iter().zip(&mut self.read).all(|(pipe, read)| {
            loop {
                match pipe.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(piece) => read.extend(piece),
                    Err(RecvTimeoutError::Disconnected) => return true,
                    Err(RecvTimeoutError::Timeout) => return false,
                }
            }
        });
        if !closed {
            // It may have ended by itself, with its pipes inherited by somebody who should not have them.
            let _ = self.child.kill();
        }
        let status = self.child.wait().expect("a child can be waited for");
        let [stdout, stderr] = self.read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let code = status.code().unwrap_or_else(|| {
            use std::os::unix::process::ExitStatusExt as _;
            -status.signal().unwrap_or_default()
        });
        let outcome = Outcome { shown: self.shown, code, stdout, stderr };
        assert!(closed, "not over after {} s: {outcome}", limit.as_secs());
        outcome
    }
}

impl Outcome {
    /// Fails unless it ended with this code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("stdout is not one document: {error}\n{self}"))
    }

    /// Fails unless stderr or stdout says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text) || self.stdout.contains(text), "does not say {text:?}: {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shown, code, stdout, stderr } = self;
        write!(f, "`{shown}` ended with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}
