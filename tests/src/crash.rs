//! Crash points: the file that says at which of them a process is to kill itself, and which have been reached.

use std::fs;
use std::path::{Path, PathBuf};

/// The file that `HOMESTAK_CRASH_AT` names.
#[derive(Debug)]
pub struct CrashFile(PathBuf);

impl CrashFile {
    /// An empty one in this folder.
    pub fn new(folder: &Path) -> Self {
        let file = folder.join("crash-at");
        fs::write(&file, "").expect("a file can be written");
        Self(file)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// From now on, whoever reaches one of these lines (`POINT:before@PLACE`) for the first time dies.
    pub fn arm<'a>(&self, lines: impl IntoIterator<Item = &'a str>) {
        let text: String = lines.into_iter().map(|line| format!("{line}\n")).collect();
        let new = self.0.with_extension("new");
        fs::write(&new, text).expect("a file can be written");
        fs::rename(new, &self.0).expect("a file can be replaced");
    }

    /// What has been reached, in this order.
    pub fn reached(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.with_extension("reached")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
