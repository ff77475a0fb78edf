//! A state folder of its own, the program, and its socket.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The limit of everything that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A state folder; its daemon ends with it.
pub(crate) struct Stage {
    folder: TempDir,
    /// Below `folder`.
    name: String,
}

impl Stage {
    pub(crate) fn set() -> Self {
        Self::named("state")
    }

    pub(crate) fn named(name: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), name: name.into() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homestak-coord"));
        command
            .args(arguments)
            .env_clear()
            .env("HOMESTAK_STATE_DIR", self.state())
            .env("HOMESTAK_SITE_CONFIG", "demo")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn coord(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Fails unless it ends with this code; gives its document.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let output = self.coord(&[arguments, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {told}"))
    }

    /// A daemon in the foreground, as a service manager runs it, once it answers.
    pub(crate) fn foreground(&self, arguments: &[&str]) -> Foreground {
        let mut command = self.command(&[&["server", "run"], arguments].concat());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut running = Foreground(child);
        until("the daemon answers", || {
            assert!(running.0.try_wait().unwrap().is_none(), "the daemon has ended");
            let pid = std::fs::read_to_string(self.state().join("coord.pid")).ok()?;
            (pid.trim() == running.0.id().to_string()).then_some(())
        });
        running
    }

    /// A conversation after the greetings, as a program of this build.
    pub(crate) fn greet(&self, build: &str) -> Talk {
        let mut talk = self.connect().unwrap();
        talk.say(&format!(r#"{{"program":"homestak-coord","build":"{build}","site":"demo"}}"#));
        talk.hear();
        talk
    }

    pub(crate) fn connect(&self) -> Option<Talk> {
        let dir = std::fs::File::open(self.state()).ok()?;
        let stream = UnixStream::connect(format!("/proc/self/fd/{}/coord.sock", dir.as_raw_fd())).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Some(Talk(BufReader::new(stream)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.command(&["server", "stop"]).output();
    }
}

/// A daemon in the foreground; ends with its owner, and its agent with it.
pub(crate) struct Foreground(pub(crate) Child);

impl Foreground {
    /// Waits for its end; its exit code.
    pub(crate) fn code(&mut self) -> Option<i32> {
        until("the daemon ends", || self.0.try_wait().unwrap()).code()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            self.signal(rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// A conversation over the socket, line by line.
pub(crate) struct Talk(BufReader<UnixStream>);

impl Talk {
    pub(crate) fn say(&mut self, line: &str) {
        self.write(line).unwrap();
    }

    /// Sends what nobody has to listen to: the other side may close before it has taken all of it.
    pub(crate) fn offer(&mut self, line: &str) {
        if let Err(error) = self.write(line) {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        }
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())
    }

    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    /// Waits until the other side closes; what it said before. With something of ours unread, it closes with a reset.
    pub(crate) fn hear_out(mut self) -> String {
        let mut rest = String::new();
        match self.0.read_to_string(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("it does not close: {error}"),
            _ => rest,
        }
    }
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
