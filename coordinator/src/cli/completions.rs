//! `completions`: clap's scripts for shells; and `crash-points`, for tests.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use homestak_coord::api::Exit;
use homestak_node::crash::points::{Kind, Points};

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

/// Prints the points at which a test may have the daemon killed, as a document for programs.
pub(super) fn crash_points(context: &Context) -> Outcome {
    context.printer.document(&Points::of(&[Kind::Daemon]));
    Ok(Exit::Done)
}
