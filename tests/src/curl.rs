//! Asking an HTTPS endpoint as users do: with `curl`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::machine::Machine;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The status and the code of an error.
    #[track_caller]
    pub fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }
}

/// Asks. `token` is shown as a bearer, if there is one.
#[track_caller]
pub fn curl(url: &str, token: Option<&str>, more: &[&str]) -> Answer {
    let mut command = Command::new("curl");
    command.args(["--insecure", "--silent", "--max-time", "30", "--write-out", "%{http_code}"]).args(more);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let mut body = command.arg(url).output().expect("curl can be run").stdout;
    let status = body.split_off(body.len().saturating_sub(3));
    let status = std::str::from_utf8(&status).ok().and_then(|text| text.parse().ok());
    Answer { status: status.unwrap_or_default(), body }
}

/// What a machine was told when it was made: its parent's endpoint as `https://…`, and its token.
pub fn told(machine: &Machine) -> (String, String) {
    told_in(&machine.state().join("agent.yaml"))
}

fn told_in(file: &Path) -> (String, String) {
    let text = std::fs::read_to_string(file).expect("a machine was told who its parent is");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = line.unwrap_or_else(|| panic!("no {key} in {text}")).trim().trim_matches(['"', '\'']);
        value.split(',').next().unwrap_or(value).to_owned()
    };
    let server = value("server");
    (if server.starts_with("https://") { server } else { format!("https://{server}") }, value("token"))
}
