//! What a configuration leaves in the state folder: the spec, the one before it, and a word on how it ended.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use homestak_protocol::fault::Fault;
use serde::Serialize;

use super::ConfigError;
use super::spec::NodeSpec;
use crate::files::{FileError, from_yaml, read_if_there, to_yaml, write_whole};

/// The spec of this machine.
pub const SPEC: &str = "spec.yaml";
/// The one before it.
pub const PREVIOUS: &str = "spec.yaml.prev";
/// How the last configuration that succeeded ended.
pub const COMPLETE: &str = "config-complete.json";
/// How the last one that failed did; gone once one has succeeded.
pub const FAILED: &str = "config-failed.json";

/// The wall clock, as these files have it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// `config-complete.json`. The numbers count, as they always did.
#[derive(Serialize)]
struct Complete<'a> {
    phase: &'static str,
    status: &'static str,
    timestamp: String,
    spec: &'a str,
    packages: usize,
    services_enabled: usize,
    services_disabled: usize,
    users: usize,
    changed: bool,
}

/// Leaves word that a spec called `name` was applied.
pub(super) fn complete(spec: &NodeSpec, name: &str, changed: usize, state: &Path) -> Result<(), FileError> {
    let complete = Complete {
        phase: "config",
        status: "complete",
        timestamp: now(),
        spec: spec.identity.hostname.as_ref().map_or(name, |name| name.as_str()),
        packages: spec.packages().len(),
        services_enabled: spec.platform.services.enable.len(),
        services_disabled: spec.platform.services.disable.len(),
        users: spec.access.users.len(),
        changed: changed > 0,
    };
    write_json(&state.join(COMPLETE), &complete)?;
    forget_failure(state)
}

/// Nothing has failed any more.
pub(super) fn forget_failure(state: &Path) -> Result<(), FileError> {
    let path = state.join(FAILED);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of(&path, "removed")(error)),
        _ => Ok(()),
    }
}

/// `config-failed.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// What failed: `fetch` or `apply`.
    pub error: &'static str,
    /// The stable code.
    pub code: String,
    /// What was wrong, in the words of whoever found out.
    pub message: String,
    /// This node.
    pub node: String,
    /// The spec's name, where it is known.
    pub spec: Option<String>,
    /// The server that was asked last.
    pub server: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first tried.
    pub first_attempt: String,
    /// When it was last tried.
    pub last_attempt: String,
    /// The file that has more.
    pub log: String,
}

impl Failed {
    /// That a spec could not be applied.
    pub(super) fn of_apply(fault: &Fault, node: &str, spec: Option<&str>) -> Self {
        let now = now();
        Self {
            error: "apply",
            code: fault.code.to_string(),
            message: fault.message.clone(),
            node: node.to_owned(),
            spec: spec.map(str::to_owned),
            server: None,
            attempts: 1,
            first_attempt: now.clone(),
            last_attempt: now,
            log: "journalctl -u homestak-agent".to_owned(),
        }
    }

    /// Leaves it in the state folder.
    pub fn write(&self, state: &Path) -> Result<(), FileError> {
        write_json(&state.join(FAILED), self)
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| FileError::of(path, "written")(error.into()))?;
    write_whole(path, &text)
}

/// Why a spec cannot be kept.
#[derive(Debug)]
pub enum KeepError {
    /// It is no document.
    Document(String),
    /// The file system says no.
    File(FileError),
}

impl KeepError {
    /// As an error about the spec of this name.
    pub fn into_config_error(self, name: &str) -> ConfigError {
        match self {
            KeepError::Document(why) => ConfigError::Spec { name: name.to_owned(), why },
            KeepError::File(error) => error.into(),
        }
    }
}

impl From<FileError> for KeepError {
    fn from(error: FileError) -> Self {
        KeepError::File(error)
    }
}

/// Keeps a spec, given as JSON, as `spec.yaml`, and another one before it as `spec.yaml.prev`.
pub fn keep_spec(document: &str, state: &Path) -> Result<(), KeepError> {
    let document: serde_json::Value =
        serde_json::from_str(document).map_err(|error| KeepError::Document(error.to_string()))?;
    let text = to_yaml(&document).map_err(KeepError::Document)?;
    let file = state.join(SPEC);
    match read_if_there(&file)? {
        Some(before) if before == text => return Ok(()),
        Some(before) => write_whole(&state.join(PREVIOUS), before.as_bytes())?,
        None => {}
    }
    Ok(write_whole(&file, text.as_bytes())?)
}

/// The spec that is kept; none where there is none.
pub fn kept_spec(state: &Path) -> Result<Option<NodeSpec>, ConfigError> {
    let unusable = |why: String| ConfigError::Spec { name: SPEC.to_owned(), why };
    let Some(text) = read_if_there(&state.join(SPEC))? else { return Ok(None) };
    let spec: NodeSpec = from_yaml(&text).map_err(|error| unusable(error.message))?;
    spec.of_known_version().map(Some).map_err(unusable)
}
