//! What an operator types on a host who prepares it by hand: the grants of the list that the agent itself goes by where it
//! makes its machine a host.

use homestak_protocol::privilege::{SNIPPETS, by_hand, token_id};

use super::{Api, Seen};
use crate::documents::{CheckDocument, CheckStatus};

/// The version that is meant where nothing is known of the host.
const NEWEST: u32 = 9;
/// How the agent of a PVE host says what it runs on.
const PVE: &str = "Proxmox VE ";

/// The lines; none for a host whose token is in order, and for `local`, which has none.
pub(super) fn lines(seen: &Seen<'_>, checks: &[CheckDocument]) -> Vec<String> {
    let lacks = |check: &CheckDocument| {
        let about_it = matches!(check.name.as_str(), "api-token" | "api");
        // Whom nobody reaches may have all that it needs.
        about_it
            && !matches!(check.status, CheckStatus::Passed | CheckStatus::Skipped)
            && !matches!(seen.api, Api::Silent(_))
    };
    if seen.host.is_local() || !checks.iter().any(lacks) {
        return Vec::new();
    }
    let file = format!("echo '{}=VALUE' > /etc/homestak/pve.token && chmod 600 /etc/homestak/pve.token", token_id());
    by_hand(major(seen), SNIPPETS).into_iter().chain([file]).collect()
}

/// The major version of the host, as its API or its agent has told it.
fn major(seen: &Seen<'_>) -> u32 {
    let told = match (&seen.api, seen.presence) {
        (Api::Greets { version, .. }, _) => Some(version.as_str()),
        (_, Some(presence)) => presence.facts.os.strip_prefix(PVE),
        _ => None,
    };
    let number = told.and_then(|version| version.split(['.', '-', ' ']).next()).and_then(|text| text.parse().ok());
    number.unwrap_or(NEWEST)
}
