//! How a command ends: its exit code, and what is told of a refusal or of wrong usage.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use homestak_coord::api::{Exit, Refusal};
use homestak_coord::documents::{DiagnosticDocument, ErrorDocument};
use serde::Serialize;

use super::{Outcome, remedy};
use crate::show::printer::Printer;

/// The code of wrong usage.
const WRONG_USAGE: &str = "E800";

/// The code of a stdout that cannot be written.
const OUTPUT: &str = "E801";

/// What `--json` prints where a command has no document of its own to say it in.
#[derive(Serialize)]
struct Bare<'r> {
    error: &'r ErrorDocument,
}

/// The document of a refusal, and beside its `error` all the errors of the files in question, as `validate` has them.
#[derive(Serialize)]
pub(super) struct Refused<D> {
    #[serde(flatten)]
    document: D,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<DiagnosticDocument>,
}

impl<D> Refused<D> {
    pub(super) fn new(document: D, diagnostics: &[DiagnosticDocument]) -> Self {
        let errors = diagnostics.iter().filter(|problem| problem.severity == "error").cloned().collect();
        Self { document, errors }
    }
}

/// Tells what clap has to say: help and version to stdout, wrong usage to stderr and, with `--json`, in a document.
pub(super) fn tell(error: &clap::Error, args: &[OsString]) -> ExitCode {
    let wrong = error.use_stderr();
    let asked_for = |flag: &OsString| flag == "--json" || flag == "--json-output";
    let json = args.iter().take_while(|arg| *arg != "--").any(asked_for);
    let printer = Printer::new(json && wrong, false, true);
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand && args.len() < 2 {
        // Called with nothing at all: someone wants to know what this is.
        printer.raw(&printed(error, printer.out_style().colour));
        return end(&printer, Exit::Done);
    }
    if !wrong {
        printer.raw(&printed(error, printer.out_style().colour));
        return end(&printer, Exit::Done);
    }
    let text = printed(error, printer.err_style().colour);
    printer.complain(&text.trim_end().lines().map(str::to_owned).collect::<Vec<_>>());
    let plain = error.render().to_string();
    let mut lines = plain.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    let hint = lines.map(|line| line.trim().to_owned()).find(|line| line.starts_with("tip: "));
    let hint = hint.map(|tip| tip.trim_start_matches("tip: ").to_owned()).or(Some("see --help".to_owned()));
    printer.document(&Bare { error: &ErrorDocument { code: WRONG_USAGE.into(), message, hint, node: None } });
    end(&printer, Exit::Usage)
}

fn printed(error: &clap::Error, colour: bool) -> String {
    let text = error.render();
    if colour { text.ansi().to_string() } else { text.to_string() }
}

/// Tells of a refusal that nobody was told about, and gives the exit code.
pub(super) fn finish(printer: &Printer, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => end(printer, exit),
        Err(refusal) => {
            let refusal = remedy::complete(refusal);
            printer.problem(&refusal);
            printer.document(&Refused::new(Bare { error: &refusal.error }, &refusal.diagnostics));
            end(printer, refusal.exit)
        }
    }
}

/// The exit code, unless what was to be printed could not be.
fn end(printer: &Printer, exit: Exit) -> ExitCode {
    let Some(broken) = printer.broken() else { return ExitCode::from(exit.code()) };
    let error = ErrorDocument {
        code: OUTPUT.into(),
        message: format!("the result cannot be written to standard output: {broken}"),
        hint: Some("what was asked for has been done as far as the lines above say".into()),
        node: None,
    };
    printer.problem(&Refusal { exit: Exit::Failed, error: Box::new(error), diagnostics: Vec::new() });
    ExitCode::from(Exit::Failed.code())
}
