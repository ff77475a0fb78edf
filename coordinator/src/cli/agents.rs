//! `agents`, `agents join`, `agents revoke`.

use homestak_coord::api::{Document, Request};
use serde::Serialize;

use super::Outcome;
use super::args::{Join, Revoke};
use super::context::{Context, beside_the_point};
use crate::show::lists;

/// Lists agents.
pub(super) async fn list(context: &Context) -> Outcome {
    let (exit, document) = context.ask(&Request::Agents).await?;
    let Document::Agents(agents) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.document(&agents);
    printer.data(&lists::agents(&agents.agents, printer.out_columns(), printer.out_style()));
    Ok(exit)
}

/// Lets a host's agent join: the command to run there, alone on stdout.
pub(super) async fn join(context: &Context, given: &Join) -> Outcome {
    let request = Request::AgentsJoin { host: given.host.clone(), replace: given.replace };
    let (exit, document) = context.ask(&request).await?;
    let Document::Join(join) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.note(&[format!("Run this on {}; its token is good for one agent, once:", join.host), String::new()]);
    printer.document(&join);
    printer.data(&[join.command]);
    Ok(exit)
}

#[derive(Serialize)]
struct Revoked<'p> {
    revoked: &'p str,
}

/// Takes an agent's certificate away.
pub(super) async fn revoke(context: &Context, given: &Revoke) -> Outcome {
    let (exit, _) = context.ask(&Request::AgentsRevoke { path: given.path.clone() }).await?;
    let path = given.path.as_str();
    context.printer.document(&Revoked { revoked: path });
    context.printer.data(&[format!("{path} is shut out until its machine is made anew")]);
    Ok(exit)
}
