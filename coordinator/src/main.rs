//! `homestak-coord`: the command line of the coordinator, and the daemon that it starts.

mod cli;
mod show;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::read(std::env::args_os()) {
        Ok(given) => cli::run(given),
        Err(code) => code,
    }
}
