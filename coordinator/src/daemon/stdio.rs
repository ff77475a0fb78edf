//! What the daemon does with its standard streams: in the background, stdout is a pipe on which it says one line, and stderr
//! becomes its log.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use homestak_node::lifecycle::Lifecycle;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::{LOG_CHECK, internal};
use crate::api::{Greeting, Refusal};
use crate::client::{FirstWord, Mode};
use crate::settings::Settings;

/// The size at which a log is put aside (as `.1`, in the place of the one before): what a busy daemon tells in a month.
const MAX_LOG: u64 = 16 * 1024 * 1024;

/// The standard streams.
pub(super) struct Stdio {
    mode: Mode,
    log: Option<PathBuf>,
    said: bool,
}

impl Stdio {
    /// In the background, leaves the terminal that the process was started from.
    pub(super) fn take(mode: Mode) -> Self {
        if mode != Mode::Foreground {
            // Fails only where the process leads a group already, and then no terminal's signals reach it either.
            let _ = rustix::process::setsid();
        }
        Self { mode, log: None, said: false }
    }

    /// Lets stderr go to the log, where there is to be one.
    pub(super) fn open_log(&mut self, settings: &Settings, mode: Mode) -> Result<(), Refusal> {
        if mode == Mode::Foreground && settings.log.is_none() {
            return Ok(());
        }
        let path = settings.log_file();
        redirect(&path).map_err(|error| internal(&format!("the log {} cannot be written", path.display()), &error))?;
        self.log = Some(path);
        Ok(())
    }

    pub(super) fn logs_to_file(&self) -> bool {
        self.log.is_some()
    }

    /// Looks at times whether the log has grown over its bound.
    pub(super) fn keep_log_bounded(&self, life: &Lifecycle) {
        let Some(path) = self.log.clone() else { return };
        let ending = life.ending.clone();
        life.tracker.spawn(async move {
            let mut due = tokio::time::interval(LOG_CHECK);
            loop {
                tokio::select! {
                    () = ending.cancelled() => return,
                    _ = due.tick() => {}
                }
                if fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG)
                    && let Err(error) = redirect(&path)
                {
                    tracing::warn!(%error, "the log cannot be put aside");
                }
            }
        });
    }

    /// Tells whoever started the daemon that it is up.
    pub(super) fn say_up(&mut self, greeting: &Greeting) {
        self.say(&FirstWord::Up(greeting.clone()));
    }

    /// Tells whoever started the daemon why it is not.
    pub(super) fn say_refused(&mut self, refusal: &Refusal) {
        self.say(&FirstWord::Refused(refusal.clone()));
    }

    fn say(&mut self, word: &FirstWord) {
        if self.mode == Mode::Foreground || std::mem::replace(&mut self.said, true) {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(word) else { return };
        line.push(b'\n');
        // Whoever started it may be gone; then nobody needs to be told.
        let mut stdout = io::stdout();
        let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
        if let Ok(nothing) = OpenOptions::new().read(true).write(true).open("/dev/null") {
            let _ = dup2_stdin(&nothing);
            let _ = dup2_stdout(&nothing);
        }
    }
}

/// Lets stderr go to the end of this file, putting it aside first where it is too long.
fn redirect(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > MAX_LOG) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, aside)?;
    }
    let log: File = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    Ok(dup2_stderr(&log)?)
}
