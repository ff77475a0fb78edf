//! What is wrong with a file: each problem with its code, its place, the line of the source and what to do about it.
//!
//! A [`Report`] collects all the problems of one file while it is read and checked; in the end it yields them as
//! [`Diagnostic`]s in the order of the file. It knows nothing of what the file is about.

mod code;
mod excerpt;
mod report;

use std::fmt;

use serde::Serialize;

pub use self::code::Code;
pub(crate) use self::report::quote_key;
pub use self::report::{MAX_DIAGNOSTICS, Problem, Report, Source};

/// Where something stands in a file: lines and columns count from 1, columns and width in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// The line on which it starts.
    pub line: u32,
    /// The column at which it starts.
    pub column: u32,
    /// How many characters it takes on that line, at least 1.
    pub width: u32,
}

impl Span {
    /// The start of the file: the place of what is missing altogether.
    pub const START: Span = Span { line: 1, column: 1, width: 1 };
}

/// Whether a problem refuses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and something in it is probably not meant.
    Warning,
}

/// One problem of a file, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The stable code; those of this crate are in [`Code`].
    pub code: &'static str,
    /// Whether it refuses the file.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, as the reader was told its name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line itself; none where the file holds secrets.
    #[serde(skip)]
    pub source: Option<Excerpt>,
}

/// A line of a file, or the part of a long one around the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The text, without control characters, so that it is safe to print.
    pub text: String,
    /// How many characters of `text` stand before the place.
    pub before: usize,
    /// How many characters of `text` the place takes, at least 1.
    pub width: usize,
}

impl Diagnostic {
    /// Whether it refuses the file.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Plain text over a few lines: severity, code and message; `file:line:column`; the line with the place marked; the hint.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        write!(f, "{severity}[{}]: {}", self.code, self.message)?;
        write!(f, "\n{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        if let Some(source) = &self.source {
            let before = " ".repeat(source.before);
            let marks = "^".repeat(source.width);
            write!(f, "\n{gutter} |\n{number} | {}\n{gutter} | {before}{marks}", source.text)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n{gutter} hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_what_where_and_the_remedy() {
        let diagnostic = Diagnostic {
            code: Code::UnknownParent.as_str(),
            severity: Severity::Error,
            message: "node \"edge\" has a parent that is not in the manifest: \"root\"".into(),
            file: "n2.yaml".into(),
            line: 12,
            column: 13,
            hint: Some("did you mean \"root-pve\"?".into()),
            source: Some(Excerpt { text: "    parent: root".into(), before: 12, width: 4 }),
        };
        let shown = "\
error[E624]: node \"edge\" has a parent that is not in the manifest: \"root\"
  --> n2.yaml:12:13
   |
12 |     parent: root
   |             ^^^^
   hint: did you mean \"root-pve\"?";
        assert_eq!(diagnostic.to_string(), shown);
    }
}
