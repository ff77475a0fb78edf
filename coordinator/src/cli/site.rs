//! `site`. Checks and schemas need no daemon.

use homestak_coord::api::Exit;
use homestak_coord::documents::SiteDocument;
use homestak_coord::manifest;
use homestak_coord::site::{self, SchemaKind};
use serde_json::Value;

use super::args::{Kind, Site};
use super::context::Context;
use super::{Outcome, import};
use crate::show::{count, diagnostic};

/// Checks, or prints a schema.
pub(super) fn run(context: &Context, given: &Site) -> Outcome {
    match given {
        Site::Check(_) => Ok(check(context)),
        Site::Schema(given) => Ok(schema(context, given.kind)),
        Site::ImportNode(given) => context.block_on(import::run(context, given)),
    }
}

fn check(context: &Context) -> Exit {
    let printer = &context.printer;
    let checked = site::check(&context.settings.site, &context.keys());
    let problems: Vec<_> = checked.problems.iter().map(manifest::document).collect();
    for problem in &problems {
        let mut lines = diagnostic::diagnostic(problem, printer.err_columns(), printer.err_style());
        lines.push(String::new());
        printer.complain(&lines);
    }
    let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(|problem| problem.severity == "error");
    let label = context.settings.site.label();
    printer.note(&checked.notes.iter().map(|note| format!("note: {note}")).collect::<Vec<_>>());
    let valid = errors.is_empty();
    let files = checked.counts.iter().filter(|(_, number)| *number > 0);
    let files = files.map(|(what, number)| format!("{number} {what}")).collect::<Vec<_>>();
    let counts = [(errors.len(), "error"), (warnings.len(), "warning")];
    let counts = counts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| count::of(*number, what));
    let word = if valid { "valid" } else { "not valid" };
    let verdict = [format!("{label}: {word}")].into_iter().chain(files).chain(counts).collect::<Vec<_>>().join(", ");
    printer.data(&[verdict]);
    let files = checked.counts.into_iter().map(|(what, number)| (what.to_owned(), number)).collect();
    printer.document(&SiteDocument { site: label, valid, files, errors, warnings, notes: checked.notes });
    if valid { Exit::Done } else { Exit::Configuration }
}

fn schema(context: &Context, kind: Kind) -> Exit {
    let text = site::schema(match kind {
        Kind::Manifest => SchemaKind::Manifest,
        Kind::Spec => SchemaKind::Spec,
        Kind::Posture => SchemaKind::Posture,
        Kind::Preset => SchemaKind::Preset,
        Kind::Site => SchemaKind::Site,
        Kind::Node => SchemaKind::Node,
        Kind::Host => SchemaKind::Host,
    });
    let printer = &context.printer;
    if printer.json() {
        // A test reads each of them.
        printer.document(&serde_json::from_str::<Value>(text).unwrap_or(Value::Null));
    } else {
        printer.raw(text);
    }
    Exit::Done
}
