//! `homestak-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    homestak_agent::cli::main()
}
