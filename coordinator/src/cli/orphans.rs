//! `orphans`: what hosts have that no recorded tree names, and its end.

use homestak_coord::api::{Document, Exit, Refusal, Request};
use homestak_coord::documents::OrphansDocument;
use homestak_protocol::fault::{Code, Fault};

use super::Outcome;
use super::args::Orphans;
use super::context::{Context, beside_the_point};
use crate::show::{ask, orphans};

/// Shows them, or destroys them.
pub(super) async fn run(context: &Context, given: &Orphans) -> Outcome {
    let (exit, document) = find(context, given).await?;
    let printer = &context.printer;
    printer.document(&document);
    printer.data(&orphans::lines(&document, printer.out_columns(), printer.out_style()));
    let mut words = vec!["orphans", "--destroy"];
    words.extend(given.host.iter().flat_map(|host| ["-H", host.as_str()]));
    let next = (!given.destroy).then(|| context.commands.line(&words));
    printer.note(&orphans::remarks(&document, next, printer.err_columns(), printer.err_style()));
    Ok(exit)
}

async fn find(context: &Context, given: &Orphans) -> Result<(Exit, OrphansDocument), Refusal> {
    let host = given.host.clone();
    let found = asked(context, Request::Orphans { host: host.clone(), destroy: None }).await?;
    if !given.destroy || found.1.orphans.is_empty() {
        return Ok(found);
    }
    let chosen = found.1.orphans;
    let printer = &context.printer;
    if !given.yes {
        printer.question(&ask::about_orphans(&chosen, printer.err_columns(), printer.err_style()));
        if !ask::agreed() {
            printer.complain(&["Aborted.".to_owned()]);
            let fault = Fault::new(Code::Cancelled, "nothing was destroyed: nobody said yes")
                .hint("answer y, or give --yes where nobody can answer");
            return Err(Refusal::new(Exit::Failed, &fault));
        }
    }
    asked(context, Request::Orphans { host, destroy: Some(chosen) }).await
}

async fn asked(context: &Context, request: Request) -> Result<(Exit, OrphansDocument), Refusal> {
    match context.ask(&request).await? {
        (exit, Document::Orphans(document)) => Ok((exit, document)),
        _ => Err(beside_the_point()),
    }
}
