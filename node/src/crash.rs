//! Crash points: named places at which a process can be made to kill itself, so that tests see what survives.
//!
//! `HOMESTAK_CRASH_AT` holds one point, `POINT:before@PLACE` or `POINT:after@PLACE` (the place is a node's path, or `@`
//! for the coordinator), or the absolute path of a file with such lines, which is looked at anew each time. When a point
//! is reached, the line is taken out of the file, a line is added to the file with `.reached` behind its name, and the
//! process ends by SIGKILL: no destructor, no flush, as in a power cut. Both programs print the points that they come by.

pub mod points;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use homestak_protocol::path::NodePath;
use serde::Serialize;

/// On which side of what the point is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// It has not happened yet.
    Before,
    /// It has happened, and nobody has been told.
    After,
}

impl Side {
    const fn as_str(self) -> &'static str {
        match self {
            Side::Before => "before",
            Side::After => "after",
        }
    }
}

/// Which crash points are armed for this process.
#[derive(Debug, Clone, Default)]
pub struct Plan(Option<Armed>);

#[derive(Debug, Clone)]
enum Armed {
    Point(String),
    File(PathBuf),
}

impl Plan {
    /// Reads `HOMESTAK_CRASH_AT`.
    pub fn from_environment() -> Self {
        Self::parse(std::env::var_os("HOMESTAK_CRASH_AT"))
    }

    fn parse(value: Option<OsString>) -> Self {
        Self(value.map(|value| {
            let path = PathBuf::from(value);
            if path.is_absolute() { Armed::File(path) } else { Armed::Point(path.to_string_lossy().into_owned()) }
        }))
    }

    /// Dies here, if that is the plan.
    pub fn reach(&self, point: &str, side: Side, place: &NodePath) {
        let Some(armed) = &self.0 else { return };
        let line = format!("{point}:{}@{place}", side.as_str());
        let hit = match armed {
            Armed::Point(wanted) => *wanted == line,
            Armed::File(file) => take(file, &line),
        };
        if hit {
            tracing::warn!(%point, side = side.as_str(), "a crash was asked for here");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // SIGKILL of oneself is delivered before the call returns to user space; should a sandbox swallow it:
            std::process::abort();
        }
    }
}

/// Takes a line out of the file, and says whether it was there.
fn take(file: &Path, line: &str) -> bool {
    let Ok(text) = fs::read_to_string(file) else { return false };
    if !text.lines().any(|l| l == line) {
        return false;
    }
    let rest: String = text.lines().filter(|l| *l != line).map(|l| format!("{l}\n")).collect();
    let reached = file.with_extension("reached");
    let told = fs::OpenOptions::new().append(true).create(true).open(reached);
    told.and_then(|mut f| writeln!(f, "{line}")).is_ok() && fs::write(file, rest).is_ok()
}
