//! `validate`: everything that is wrong with manifests. Needs no daemon.

use homestak_coord::api::{Exit, Refusal};
use homestak_coord::documents::{DiagnosticDocument, ValidateDocument, ValidatedDocument};
use homestak_coord::manifest;
use homestak_coord::site::Site;

use super::Outcome;
use super::args::{Source, Validate};
use super::context::Context;
use crate::show::{count, diagnostic};

/// Checks all that were given, each as if it were the only one.
pub(super) fn run(context: &Context, given: &Validate) -> Outcome {
    let site = context.site()?;
    let manifests: Vec<ValidatedDocument> = given.sources().iter().map(|source| check(&site, source)).collect();
    for manifest in &manifests {
        tell(context, manifest);
    }
    let valid = manifests.iter().all(|manifest| manifest.valid);
    context.printer.document(&ValidateDocument { valid, manifests });
    Ok(if valid { Exit::Done } else { Exit::Configuration })
}

fn check(site: &Site, source: &Source) -> ValidatedDocument {
    match source.read() {
        Ok(read) => manifest::validate(site, &[read]).manifests.pop().unwrap_or_else(|| empty(source)),
        Err(refusal) => unreadable(source, refusal),
    }
}

fn tell(context: &Context, manifest: &ValidatedDocument) {
    let printer = &context.printer;
    for problem in manifest.errors.iter().chain(&manifest.warnings) {
        let mut lines = diagnostic::diagnostic(problem, printer.err_columns(), printer.err_style());
        lines.push(String::new());
        printer.complain(&lines);
    }
    let notes = manifest.notes.iter().map(|note| format!("note: {}: {note}", manifest.name));
    printer.note(&notes.collect::<Vec<_>>());
    let word = if manifest.valid { "valid" } else { "not valid" };
    let counts = [(manifest.errors.len(), "error"), (manifest.warnings.len(), "warning")];
    let counts = counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count::of(*number, what));
    let verdict = [format!("{}: {word}", manifest.name)].into_iter().chain(counts).collect::<Vec<_>>().join(", ");
    printer.data(&[verdict]);
}

/// A manifest whose text nobody could read: what is known of it is why.
fn unreadable(source: &Source, refusal: Refusal) -> ValidatedDocument {
    let error = *refusal.error;
    let whole = DiagnosticDocument {
        code: error.code,
        severity: "error".into(),
        message: error.message,
        file: source.place(),
        line: 1,
        column: 1,
        hint: error.hint,
        source: None,
    };
    let errors = if refusal.diagnostics.is_empty() { vec![whole] } else { refusal.diagnostics };
    ValidatedDocument { errors, ..empty(source) }
}

fn empty(source: &Source) -> ValidatedDocument {
    ValidatedDocument {
        name: source.place(),
        valid: false,
        errors: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
    }
}
