//! `completions`: clap's scripts for shells.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use homestak_coord::api::Exit;

use super::Outcome;
use super::args::Cli;
use super::context::Context;

/// Prints the script of a shell.
pub(super) fn print(context: &Context, shell: Shell) -> Outcome {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "homestak-coord", &mut script);
    context.printer.raw(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
