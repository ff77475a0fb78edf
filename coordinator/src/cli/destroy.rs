//! `destroy`: asks first.

use homestak_coord::api::{Document, Exit, Refusal, Request, RunRequest, RunVerb};
use homestak_protocol::fault::{Code, Fault};

use super::args::Destroy;
use super::context::{Context, beside_the_point};
use super::{Outcome, plan, verb};
use crate::show::ask;

/// Destroys a recorded tree.
pub(super) async fn run(context: &Context, given: &Destroy) -> Outcome {
    if given.run.dry_run {
        return plan::show(context, RunVerb::Destroy, &given.run).await;
    }
    verb::told(context, RunVerb::Destroy, &given.run, destroy(context, given).await)
}

async fn destroy(context: &Context, given: &Destroy) -> Outcome {
    let request = verb::request(&given.run)?;
    if !given.yes {
        confirm(context, &request).await?;
    }
    verb::start(context, RunVerb::Destroy, request).await
}

/// Asks, unless there is nothing to destroy.
async fn confirm(context: &Context, request: &RunRequest) -> Result<(), Refusal> {
    let (_, document) = context.ask(&Request::Plan(RunVerb::Destroy, request.clone())).await?;
    let Document::Plan(plan) = document else { return Err(beside_the_point()) };
    if plan.nodes.is_empty() {
        return Ok(());
    }
    let printer = &context.printer;
    let (columns, style) = (printer.err_columns(), printer.err_style());
    printer.question(&ask::warning(&plan.manifest, &plan.host, &plan.nodes, columns, style));
    if ask::agreed() {
        return Ok(());
    }
    printer.complain(&["Aborted.".to_owned()]);
    let fault = Fault::new(Code::Cancelled, "nothing was destroyed: nobody said yes")
        .hint("answer y, or give --yes where nobody can answer");
    Err(Refusal::new(Exit::Failed, &fault))
}
