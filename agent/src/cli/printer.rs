//! The one place that writes to stdout and stderr.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use crate::failure::{Failure, Shown};

/// Writes what a command has to say.
pub(super) struct Printer {
    /// One JSON document, and no text, on stdout.
    pub(super) json: bool,
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
