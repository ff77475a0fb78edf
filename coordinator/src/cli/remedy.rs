//! What to do about a refusal that does not say so itself, by its code.

use homestak_coord::api::Refusal;
use homestak_protocol::fault::Code;

/// Adds a remedy where there is none.
pub(super) fn complete(mut refusal: Refusal) -> Refusal {
    let code = Code::ALL.iter().find(|code| code.as_str() == refusal.error.code);
    refusal.error.hint.get_or_insert_with(|| remedy(code.copied()).to_owned());
    refusal
}

const fn remedy(code: Option<Code>) -> &'static str {
    match code {
        Some(Code::Busy) => "`homestak-coord runs` shows what has been done and what goes on",
        Some(Code::Unreachable | Code::Identity) => "`homestak-coord agents` shows who is known and who is connected",
        Some(Code::Conflict) => {
            "`homestak-coord status` shows what is recorded; name something else, or remove it first"
        }
        Some(Code::Timeout) => "try again; --timeout gives a run more time",
        Some(Code::Behind) => "`homestak-coord server adopt -H HOST` takes over what the host's agent knows",
        Some(Code::NotFound) => "`homestak-coord status`, `runs` and `manifests list` show what there is",
        Some(Code::Storage | Code::Full) => "see that the disk of the state folder has room and can be written",
        _ => "`homestak-coord server status` names the daemon's log, which says more",
    }
}
