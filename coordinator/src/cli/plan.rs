//! `plan`, and `--dry-run` of the verbs.

use homestak_coord::api::{Document, Exit, Refusal, Request, RunVerb};
use homestak_coord::documents::PlanDocument;

use super::args::{Plan, RunArgs};
use super::context::{Context, beside_the_point};
use super::usage::Refused;
use super::{Outcome, verb};
use crate::show::result;

/// `plan`.
pub(super) async fn run(context: &Context, given: &Plan) -> Outcome {
    let asked = ask(context, RunVerb::Apply, &given.run).await;
    let differs = asked.as_ref().is_ok_and(|(_, plan)| plan.changes > 0);
    let exit = tell(context, RunVerb::Apply, &given.run, asked);
    if given.detailed_exitcode && differs && exit == Exit::Done { Ok(Exit::Differences) } else { Ok(exit) }
}

/// What a verb would do.
pub(super) async fn show(context: &Context, verb: RunVerb, given: &RunArgs) -> Outcome {
    let asked = ask(context, verb, given).await;
    Ok(tell(context, verb, given, asked))
}

async fn ask(context: &Context, verb: RunVerb, given: &RunArgs) -> Result<(Exit, PlanDocument), Refusal> {
    let request = Request::Plan(verb, verb::request(given)?);
    match context.ask(&request).await? {
        (exit, Document::Plan(plan)) => Ok((exit, plan)),
        _ => Err(beside_the_point()),
    }
}

fn tell(context: &Context, plans: RunVerb, given: &RunArgs, asked: Result<(Exit, PlanDocument), Refusal>) -> Exit {
    let printer = &context.printer;
    match asked {
        Ok((exit, plan)) => {
            printer.document(&plan);
            printer.data(&result::plan(&plan, printer.out_columns(), printer.out_style()));
            exit
        }
        Err(refusal) => {
            let source = given.source.source();
            let refusal = source.explain(refusal);
            printer.problem(&refusal);
            let document = PlanDocument {
                verb: "plan".into(),
                plans,
                manifest: source.label(),
                host: given.host.to_string(),
                nodes: Vec::new(),
                changes: 0,
                notes: Vec::new(),
                error: Some(*refusal.error),
            };
            printer.document(&Refused::new(document, &refusal.diagnostics));
            refusal.exit
        }
    }
}
