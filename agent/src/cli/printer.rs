//! The one place that writes to stdout and stderr.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use crate::failure::{Failure, Shown};

/// Writes what a command has to say.
pub(super) struct Printer {
    /// One JSON document, and no text, on stdout.
    pub(super) json: bool,
    /// No progress on stderr.
    pub(super) quiet: bool,
}

impl Printer {
    /// The data that was asked for.
    pub(super) fn data(&self, document: &Value, text: impl Display) {
        if self.json {
            self.document(document);
        } else {
            self.text(text);
        }
    }

    /// A JSON document, whatever was asked for.
    pub(super) fn document(&self, document: &Value) {
        self.text(format_args!("{document:#}"));
    }

    /// Text on stdout. Whoever has stopped reading wants no more.
    pub(super) fn text(&self, text: impl Display) {
        let _gone = writeln!(io::stdout(), "{text}");
    }

    /// What was asked for and could not be had in full: the document says both.
    pub(super) fn failure_with(&self, failure: &Failure, mut document: Value, text: &str) {
        if self.json {
            if let (Some(document), Some(error)) = (document.as_object_mut(), failure.to_json().get("error")) {
                document.insert("error".to_owned(), error.clone());
            }
            self.document(&document);
        } else {
            self.text(text);
        }
        let _gone = writeln!(io::stderr(), "{:?}", Shown(failure));
    }

    /// What should not go unnoticed.
    pub(super) fn warning(&self, text: &str) {
        let _gone = writeln!(io::stderr(), "warning: {text}");
    }

    /// Where it is told how far something has come: on stderr, unless nobody wants to know.
    pub(super) fn progress(&self) -> impl Fn(&str) + Send + Sync + 'static {
        let quiet = self.quiet;
        move |text| {
            if !quiet {
                let _gone = writeln!(io::stderr(), "{text}");
            }
        }
    }

    /// What went wrong.
    pub(super) fn failure(&self, failure: &Failure) {
        if self.json {
            self.document(&failure.to_json());
        }
        let _gone = writeln!(io::stderr(), "{:?}", Shown(failure));
    }

    /// What could not be understood, with what clap has to say about it.
    pub(super) fn misunderstanding(&self, failure: &Failure, advice: &str) {
        self.failure(failure);
        if !advice.is_empty() {
            let _gone = writeln!(io::stderr(), "\n{advice}");
        }
    }
}
