//! Whether a host is ready to carry trees: what is looked at, what was seen, what to do. The host's own agent has told most
//! of it; nobody logs in anywhere.
//!
//! [`examine`] is pure. Its caller has asked whoever has to be asked: see [`Seen`].

mod checks;
mod prepare;

use homestak_protocol::event::Presence;
use homestak_protocol::fault::Fault;
use homestak_protocol::name::HostName;

use crate::documents::{CheckDocument, CheckStatus, PreflightDocument};
use crate::site::Site;
use crate::site::hosts::HostConfig;

/// What is known about a host when it is examined.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The host.
    pub host: &'a HostName,
    /// The site in force.
    pub site: &'a Site,
    /// Why that is not the site on disk, if it is not.
    pub broken: Option<String>,
    /// What the site says of the host; of `local` nothing.
    pub config: Option<Result<HostConfig, Fault>>,
    /// Whether there is a link to its agent; none where no agent of it has ever joined.
    pub linked: Option<bool>,
    /// What its agent has told when it joined.
    pub presence: Option<&'a Presence>,
    /// Why its agent does not come up, where this machine starts it.
    pub trouble: Option<Fault>,
    /// What its API said from here.
    pub api: Api,
    /// The version of this program.
    pub version: &'a str,
}

/// What a host's API said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// It was not asked: there is none, or its address means another machine here than there.
    NotAsked(&'static str),
    /// Somebody listens there.
    Answers(String),
    /// It took the host's token, and is of this version.
    Greets {
        /// Where.
        at: String,
        /// As it calls it.
        version: String,
    },
    /// It does not take the host's token.
    Refuses(String),
    /// It does not, and why.
    Silent(String),
}

/// Looks at everything. A host passes if nothing failed; warnings are for whoever reads them.
pub fn examine(seen: &Seen<'_>) -> PreflightDocument {
    let checks: Vec<CheckDocument> = checks::ALL.iter().map(|(name, look)| look(seen).named(name)).collect();
    let passed = checks.iter().all(|check| check.status != CheckStatus::Failed);
    let prepare = prepare::lines(seen, &checks);
    PreflightDocument { host: seen.host.to_string(), passed, checks, prepare }
}

/// What one look came to.
struct Look {
    status: CheckStatus,
    seen: String,
    hint: Option<String>,
}

impl Look {
    fn passed(seen: impl Into<String>) -> Self {
        Self { status: CheckStatus::Passed, seen: seen.into(), hint: None }
    }

    fn skipped(seen: impl Into<String>) -> Self {
        Self { status: CheckStatus::Skipped, seen: seen.into(), hint: None }
    }

    fn warning(seen: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: CheckStatus::Warning, seen: seen.into(), hint: Some(hint.into()) }
    }

    fn failed(seen: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: CheckStatus::Failed, seen: seen.into(), hint: Some(hint.into()) }
    }

    fn named(self, name: &str) -> CheckDocument {
        CheckDocument { name: name.into(), status: self.status, seen: self.seen, hint: self.hint }
    }
}

#[cfg(test)]
mod tests;
