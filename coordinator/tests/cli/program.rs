//! Running the program as a user would, with nothing of this machine's environment.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A user's folder, and the program in it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a call came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Writes a file into it.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join(name), contents).unwrap();
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, to be called with these words.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homestak-coord"));
        command
            .args(words)
            .env_clear()
            .env("HOMESTAK_SITE_CONFIG", "demo")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command.env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        command.env("HOMESTAK_STATE_DIR", self.folder.path().join("state"));
        command
    }

    /// Calls it.
    pub(crate) fn run(&self, words: &[&str]) -> Told {
        self.told(self.command(words))
    }

    /// Calls it, and shows this folder as `[HERE]` in what it says.
    pub(crate) fn told(&self, mut command: Command) -> Told {
        let output = command.output().unwrap();
        let here = self.folder.path().to_str().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(here, "[HERE]");
        Told { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Told {
    /// The one JSON document on stdout.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self}"))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit: {}", self.code)?;
        write!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}
