//! `apply` and `test`, and what all verbs share: the request, following it, and telling what came of it.

use homestak_coord::api::{Document, Exit, Refusal, Request, RunRequest, RunVerb};
use homestak_coord::documents::{ErrorDocument, RunDocument, RunSummary};
use homestak_protocol::fault::{Code, Fault};

use super::args::{Apply, RunArgs, Test};
use super::context::{Context, beside_the_point};
use super::follow::{self, End, Left};
use super::usage::Refused;
use super::{Outcome, plan};
use crate::show::command::listed;
use crate::show::result;

/// `apply`.
pub(super) async fn apply(context: &Context, given: &Apply) -> Outcome {
    if given.run.dry_run {
        return plan::show(context, RunVerb::Apply, &given.run).await;
    }
    let done = async { start(context, RunVerb::Apply, request(&given.run)?).await }.await;
    told(context, RunVerb::Apply, &given.run, done)
}

/// `test`.
pub(super) async fn test(context: &Context, given: &Test) -> Outcome {
    if given.run.dry_run {
        return plan::show(context, RunVerb::Test, &given.run).await;
    }
    let done = async {
        let request = RunRequest { keep: given.keep, ..request(&given.run)? };
        start(context, RunVerb::Test, request).await
    };
    told(context, RunVerb::Test, &given.run, done.await)
}

/// What a verb asks of the daemon.
pub(super) fn request(given: &RunArgs) -> Result<RunRequest, Refusal> {
    Ok(RunRequest {
        on_error: given.on_error,
        parallel: given.parallel,
        depth: given.depth,
        timeout_ms: given.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        prune: given.prune,
        skip_preflight: given.skip_preflight,
        detach: given.detach,
        ..RunRequest::new(given.source.source().read()?, given.host.clone())
    })
}

/// Starts a run, follows it, and tells what came of it.
pub(super) async fn start(context: &Context, verb: RunVerb, request: RunRequest) -> Outcome {
    let end = follow::run(context, Request::Run(verb, request)).await?;
    match end {
        End::Done { exit, document: Document::Run(run), interrupted } => {
            tell(context, &run);
            Ok(if interrupted && !run.success { Exit::Interrupted } else { exit })
        }
        End::Done { exit, document: Document::Detached(run), .. } => {
            detached(context, &run);
            Ok(exit)
        }
        End::Done { .. } => Err(beside_the_point()),
        End::Left(run) => {
            context.printer.note(&ways_back(context, &run.summary));
            context.printer.document(&left(run));
            Ok(Exit::Interrupted)
        }
    }
}

/// Tells of a refusal in the document of the verb.
pub(super) fn told(context: &Context, verb: RunVerb, given: &RunArgs, outcome: Outcome) -> Outcome {
    outcome.or_else(|refusal| {
        let source = given.source.source();
        let (manifest, refusal) = (source.label(), source.explain(refusal));
        context.printer.problem(&refusal);
        let document = RunDocument::refused(verb, &manifest, given.host.as_str(), *refusal.error);
        context.printer.document(&Refused::new(document, &refusal.diagnostics));
        Ok(refusal.exit)
    })
}

/// What came of a run.
fn tell(context: &Context, run: &RunDocument) {
    let printer = &context.printer;
    printer.document(run);
    printer.data(&result::lines(run, printer.out_columns(), printer.out_style()));
    printer.complain(&result::problems(run, &context.commands, printer.err_columns(), printer.err_style()));
    printer.note(&result::next(run, &context.commands, printer.err_columns(), printer.err_style()));
}

/// A run that goes on without us: its id, alone, and how to get back to it.
fn detached(context: &Context, run: &RunSummary) {
    let id = run.run.to_string();
    context.printer.document(run);
    context.printer.data(std::slice::from_ref(&id));
    context.printer.note(&ways_back(context, run));
}

/// The commands that get back to a run.
fn ways_back(context: &Context, run: &RunSummary) -> Vec<String> {
    let id = run.run.to_string();
    let commands = &context.commands;
    let title = format!("{} {} on {} goes on in the background, run {id}.", run.verb.as_str(), run.manifest, run.host);
    let mut ways = vec![
        (commands.on_tree("status", &run.manifest, &run.host), "how it stands"),
        (commands.line(&["logs", &id, "--follow"]), "what happens"),
    ];
    if run.verb != RunVerb::Destroy {
        ways.push((commands.line(&["cancel", &id]), "cancel it"));
    }
    std::iter::once(title).chain(listed(&ways, context.printer.err_columns())).collect()
}

/// The document of a run that was left to the daemon.
fn left(left: Left) -> RunDocument {
    let Left { summary, nodes, seconds } = left;
    let fault = Fault::new(Code::Cancelled, "interrupted: the run was left to the daemon and goes on")
        .hint(format!("follow it with `homestak-coord logs {} --follow`", summary.run));
    let error = ErrorDocument::from(&fault);
    RunDocument {
        run: Some(summary.run),
        context: RunDocument::context_of(&nodes),
        nodes,
        duration_seconds: seconds,
        ..RunDocument::refused(summary.verb, &summary.manifest, &summary.host, error)
    }
}
