//! Why a resource cannot be looked at or put right.

use crate::files::FileError;

/// Why a resource cannot be looked at or put right.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The file system says no.
    #[error("{file}: {}", file.source)]
    File {
        /// Which file, and what was being done to it.
        file: FileError,
    },
    /// A program says no; these are its last words.
    #[error("{what}: {words}")]
    Tool {
        /// The program and how it ended.
        what: String,
        /// The end of what it printed.
        words: String,
    },
    /// It would be done, but must not.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// The result is no longer wanted.
    #[error("cancelled")]
    Cancelled,
}

impl From<FileError> for Trouble {
    fn from(file: FileError) -> Self {
        Self::File { file }
    }
}

impl Trouble {
    /// Something that must not be done.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: None }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Trouble::File { file } if file.source.kind() == std::io::ErrorKind::StorageFull => {
                "make room on that disk, then apply again"
            }
            Trouble::File { .. } => "look at the free space and the permissions there",
            Trouble::Tool { words, .. } => hint_for(words),
            Trouble::Refused { hint, .. } => hint.unwrap_or("correct the spec, then apply again"),
            Trouble::Cancelled => "apply again",
        }
    }
}

/// What users can do about what a tool says.
fn hint_for(words: &str) -> &'static str {
    const KNOWN: [(&str, &str); 6] = [
        ("Unable to locate package", "correct the package's name in the spec, or add the repository that has it"),
        ("has no installation candidate", "correct the package's name in the spec, or add the repository that has it"),
        ("No space left on device", "make room on that disk, then apply again"),
        ("enough free space", "make room on that disk, then apply again"),
        ("Could not get lock", "another program has apt's lock: wait until it has ended, then apply again"),
        ("Failed to fetch", "the package mirror cannot be reached: look at /etc/apt/sources.list and the network"),
    ];
    let known = KNOWN.iter().find(|(sign, _)| words.contains(sign));
    known.map_or("apply again once the cause is gone; a second apply goes on where this one ended", |(_, hint)| hint)
}
