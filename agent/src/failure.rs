//! Failures as users meet them: what was wrong, where, what to do about it, and the exit code.
//!
//! Libraries below return their own errors; commands turn them into a [`Failure`] at the edge. Only here is it decided
//! how one looks.

use std::error::Error;
use std::fmt::{self, Display, Write as _};
use std::path::{Path, PathBuf};

use homestak_protocol::fault::Fault;
use miette::{
    Diagnostic, LabeledSpan, MietteError, MietteSpanContents, ReportHandler, SourceCode, SourceSpan, SpanContents,
};
use serde_json::{Value, json};

use crate::state::StateError;

/// What programs see of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: the operation failed.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 3: settings, secret or token unusable; nothing was changed.
    Configuration,
    /// 4: an agent cannot be reached, or the state folder is in use; nothing was changed.
    Unreachable,
    /// 5: there are differences, and it was asked for this code.
    Differences,
    /// 1 of `config apply` and `config check`: there is no spec, or it is not valid.
    NoSpec,
    /// 2 of `config apply`: the spec could not be applied.
    NotApplied,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Configuration => 3,
            Exit::Unreachable => 4,
            Exit::Differences => 5,
            Exit::NoSpec => 1,
            Exit::NotApplied => 2,
        }
    }
}

/// Settings cannot be used.
pub const SETTINGS: &str = "E900";
/// The state folder is in use.
pub const IN_USE: &str = "E901";
/// No agent runs here.
pub const NOT_RUNNING: &str = "E902";
/// This machine does not do what is needed.
pub const MACHINE: &str = "E903";
/// Wrong usage.
pub const USAGE: &str = "E904";

/// Where in a file something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// The line itself.
    pub text: String,
}

impl Place {
    /// A place in a text of keys and values. The values are left out: one of them is a token, and its key may be
    /// misspelt.
    pub fn of_key(file: &Path, text: &str, (line, column): (usize, usize)) -> Self {
        let text = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let key = text.split_once(':').map_or("", |(key, _)| key);
        let column = column.min(key.chars().count() + 3);
        Self { file: file.to_owned(), line, column, text: format!("{key}: …") }
    }
}

/// Why a command ends with something other than 0.
#[derive(Debug)]
pub struct Failure {
    /// Its exit code.
    pub exit: Exit,
    code: String,
    message: String,
    place: Option<Box<Place>>,
    hint: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// What was wrong, and what to do about it.
    pub fn new(exit: Exit, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, code: code.into(), message: message.into(), place: None, hint: hint.into(), source: None }
    }

    /// Adds where.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(Box::new(place));
        self
    }

    /// Adds why.
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// The file system or the system itself says no.
    pub fn machine(doing: &str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(Exit::Failed, MACHINE, format!("{doing} failed"), "look at the permissions and the free space there")
            .because(source)
    }

    /// As the one document on stdout.
    pub fn to_json(&self) -> Value {
        let mut message = self.message.clone();
        for cause in std::iter::successors(self.source(), |&error| error.source()) {
            let _infallible = write!(message, ": {cause}");
        }
        let mut error = json!({ "code": self.code, "message": message, "hint": self.hint });
        if let (Some(place), Some(error)) = (&self.place, error.as_object_mut()) {
            error.insert("file".into(), json!(place.file));
            error.insert("line".into(), json!(place.line));
            error.insert("column".into(), json!(place.column));
        }
        json!({ "error": error })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn Display + 'a>> {
        Some(Box::new(&self.hint))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_deref().map(|place| place as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, place.column.saturating_sub(1)))))
    }
}

/// One line of the file is all that there is to read: the others are nobody's business.
impl SourceCode for Place {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        _lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.display().to_string(),
            self.text.as_bytes(),
            *span,
            self.line.saturating_sub(1),
            self.column.saturating_sub(1),
            1,
        )))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::InUse { .. } => Self::new(
                Exit::Unreachable,
                IN_USE,
                error.to_string(),
                "one agent runs in a state folder: end the other one, or choose another folder with --state-dir",
            ),
            StateError::File(error) => Self::machine("opening the state folder", error),
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let hint = fault.hint.unwrap_or_else(|| {
            if fault.retryable { "try again".into() } else { "see the agent's log, and its parent's, for more".into() }
        });
        Self::new(Exit::Failed, fault.code.as_str(), fault.message, hint)
    }
}

/// How an error looks on stderr: plain lines, the same on a terminal and elsewhere.
#[derive(Debug)]
pub struct Plain;

impl ReportHandler for Plain {
    fn debug(&self, error: &dyn Diagnostic, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match error.code() {
            Some(code) => write!(f, "error[{code}]: {error}")?,
            None => write!(f, "error: {error}")?,
        }
        for cause in std::iter::successors(error.source(), |&error| error.source()) {
            write!(f, "\n  because: {cause}")?;
        }
        let place = error.source_code().zip(error.labels().and_then(|mut labels| labels.next()));
        if let Some(contents) = place.and_then(|(code, label)| code.read_span(label.inner(), 0, 0).ok()) {
            let (line, column) = (contents.line() + 1, contents.column());
            let (file, text) = (contents.name().unwrap_or_default(), String::from_utf8_lossy(contents.data()));
            write!(f, "\n  --> {file}:{line}:{}\n  {line} | {text}", column + 1)?;
            write!(f, "\n  {:width$} | {:column$}^", "", "", width = line.to_string().len())?;
        }
        if let Some(help) = error.help() {
            write!(f, "\nhint: {help}")?;
        }
        Ok(())
    }
}

/// A failure as [`Plain`] shows it.
pub struct Shown<'a>(pub &'a Failure);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Plain.debug(self.0, f)
    }
}
