//! PVE's own programs on this host: asked in JSON, and told.

use serde::de::DeserializeOwned;

use crate::config::command::Command;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

/// Asks a program something that it answers in JSON. What it answers is in no error: it may be a token.
pub(super) async fn ask<T: DeserializeOwned>(target: &Target, program: &str, words: &[&str]) -> Result<T, Trouble> {
    let command = Command::new(program).args(words.iter().copied()).args(["--output-format", "json"]);
    let text = target.run(command).await?.well()?;
    serde_json::from_str(&text).map_err(|error| Trouble::Tool {
        what: format!("{program} {} does not answer as PVE 8 or 9 does", words.join(" ")),
        words: format!("line {}, column {}", error.line(), error.column()),
    })
}

/// Tells it something.
pub(super) async fn tell(target: &Target, program: &str, words: &[&str]) -> Result<(), Trouble> {
    target.run(Command::new(program).args(words.iter().copied())).await?.well().map(drop)
}
