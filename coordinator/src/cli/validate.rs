//! `validate`: everything that is wrong with manifests. Needs no daemon.

use homestak_coord::api::{Exit, Refusal};
use homestak_coord::documents::{DiagnosticDocument, ValidateDocument, ValidatedDocument};
use homestak_manifests::{Graph, Parsed};

use super::Outcome;
use super::args::{Source, Validate};
use super::context::Context;
use super::library;
use super::source::document;
use crate::show::{count, diagnostic};

/// A manifest that was looked at, and the line that says what it is.
struct Checked {
    document: ValidatedDocument,
    verdict: String,
}

/// Checks all that were given, each as if it were the only one.
pub(super) fn run(context: &Context, given: &Validate) -> Outcome {
    let checked: Vec<Checked> = given.sources().iter().map(check).collect();
    let printer = &context.printer;
    for Checked { document, verdict } in &checked {
        for problem in document.errors.iter().chain(&document.warnings) {
            let mut lines = diagnostic::diagnostic(problem, printer.err_columns(), printer.err_style());
            lines.push(String::new());
            printer.complain(&lines);
        }
        printer.data(std::slice::from_ref(verdict));
    }
    let manifests: Vec<ValidatedDocument> = checked.into_iter().map(|checked| checked.document).collect();
    let valid = manifests.iter().all(|manifest| manifest.valid);
    printer.document(&ValidateDocument { valid, manifests });
    Ok(if valid { Exit::Done } else { Exit::Configuration })
}

fn check(source: &Source) -> Checked {
    let found = match source.read().and_then(library::find) {
        Ok(found) => found,
        Err(refusal) => return unreadable(source, refusal),
    };
    match library::read(&found) {
        Ok(parsed) => valid(&parsed),
        Err(problems) => invalid(&found.file, problems),
    }
}

fn valid(parsed: &Parsed) -> Checked {
    let manifest = &parsed.manifest;
    let levels = Graph::new(manifest).map_or(0, |graph| graph.levels());
    let warnings: Vec<DiagnosticDocument> = parsed.warnings.iter().map(document).collect();
    let told = if warnings.is_empty() { String::new() } else { format!(", {}", count::of(warnings.len(), "warning")) };
    let nodes = count::of(manifest.nodes.len(), "node");
    Checked {
        verdict: format!("{}: valid, {nodes} in {}{told}", manifest.name, count::of(levels, "level")),
        document: ValidatedDocument {
            name: manifest.name.to_string(),
            valid: true,
            errors: Vec::new(),
            warnings,
            notes: Vec::new(),
        },
    }
}

fn invalid(name: &str, problems: Vec<DiagnosticDocument>) -> Checked {
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| problem.severity == "error");
    Checked {
        verdict: format!("{name}: not valid, {}", count::of(errors.len(), "error")),
        document: ValidatedDocument { name: name.to_owned(), valid: false, errors, warnings, notes: Vec::new() },
    }
}

/// A manifest that there is nothing to read of: one error, at its beginning.
fn unreadable(source: &Source, refusal: Refusal) -> Checked {
    if !refusal.diagnostics.is_empty() {
        return invalid(&source.label(), refusal.diagnostics);
    }
    let error = *refusal.error;
    let problem = DiagnosticDocument {
        code: error.code,
        severity: "error".into(),
        message: error.message,
        file: source.place(),
        line: 1,
        column: 1,
        hint: error.hint,
        source: None,
    };
    invalid(&source.place(), vec![problem])
}
