//! `runs` and `cancel`.

use homestak_coord::api::{Document, Request};

use super::Outcome;
use super::args::{Cancel, Runs, Source};
use super::context::{Context, beside_the_point};
use crate::show::command::listed;
use crate::show::lists;

/// Lists runs.
pub(super) async fn list(context: &Context, given: &Runs) -> Outcome {
    let request = Request::Runs {
        manifest: given.manifest.as_deref().map(|word| Source::guess(word).read()).transpose()?,
        host: given.host.clone(),
        limit: given.limit,
    };
    let (exit, document) = context.ask(&request).await?;
    let Document::Runs(runs) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.document(&runs);
    printer.data(&lists::runs(&runs.runs, printer.out_columns(), printer.out_style()));
    Ok(exit)
}

/// Cancels a run.
pub(super) async fn cancel(context: &Context, given: &Cancel) -> Outcome {
    let (exit, document) = context.ask(&Request::Cancel { run: given.run }).await?;
    let Document::Cancelled(run) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.document(&run);
    let what = format!("{} {} on {}", run.verb.as_str(), run.manifest, run.host);
    match run.ended_at {
        None => printer.data(&[format!("run {} ({what}) is being cancelled", run.run)]),
        Some(_) => printer.data(&[format!("run {} ({what}) is over: {}", run.run, run.state)]),
    }
    let id = run.run.to_string();
    let follow = (context.commands.line(&["logs", &id, "--follow"]), "what happens");
    printer.note(&listed(&[follow], printer.err_columns()));
    Ok(exit)
}
