//! What PVE says when it says no, sorted by what can be done about it.
//!
//! PVE has no error codes: a status, words beside it, and, for parameters, words for each. The words decide here; they are
//! those of the sources of qemu-server, pve-container, pve-storage, pve-common, pve-cluster and pve-manager (8 and 9).

use std::collections::BTreeMap;

use homestak_node::https_client::RequestError;
use homestak_protocol::fault::{Code, Fault};

/// What can be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same can be tried again, a little later.
    Retryable,
    /// Something is there, or is as it is, that stands in the way: it has to be looked at.
    Conflict,
    /// The token is not known, not valid any more, or may not do this.
    Permission,
    /// What this is about is not there.
    Gone,
    /// Trying again comes to the same.
    Fatal,
}

/// A call that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {message}")]
pub struct CallError {
    /// What was being done.
    pub doing: String,
    /// What was wrong, in PVE's words.
    pub message: String,
    /// What can be done about it.
    pub class: Class,
    /// Whether PVE may have done it all the same: nobody knows until somebody looks.
    pub in_doubt: bool,
}

/// Words of errors that pass.
const PASSING: &[&str] = &[
    "can't lock file",
    "got lock timeout",
    "got lock request timeout",
    "lock request timed out",
    "got timeout",
    "trying to acquire lock",
    "trying to acquire cfs lock",
    " is locked (",
    "no quorum",
    "cluster not ready",
    "QEMU guest agent is not running",
    "checksum mismatch",
    "detected modified configuration",
    "is not online",
    "couldn't connect to the cluster",
    "connection timed out",
    "connection refused",
    "no route to host",
    "broken pipe",
    "temporarily unavailable",
    "too many open",
    "too many requests",
    "got signal",
];

/// Words of what the caller may not do.
const FORBIDDEN: &[&str] = &[
    "permission check failed",
    "permission denied",
    "authentication failure",
    "only root can",
    "only root may",
    "missing privileges",
    "invalid pve ticket",
    "csrf token",
];

/// Words of what stands in the way.
const IN_THE_WAY: &[&str] = &[
    "already exists",
    "already running",
    "already used",
    "file exists",
    "protection mode enabled",
    "used in ha resources",
    "is running - destroy failed",
    "container is running",
    "vm is running",
    "not running",
    "still in use",
    "can't start a vm if it's a template",
    "is a template",
];

/// Words of what is not there.
const ABSENT: &[&str] = &[
    "does not exist",
    "unable to find configuration file",
    "no such",
    "can't find file",
    "unable to parse worker upid",
];

impl Class {
    /// By the status, where it is about the way and not about what was asked, else by the words.
    pub fn of(status: u16, words: &str) -> Self {
        match status {
            401 | 403 => return Class::Permission,
            // 595 to 599: what PVE's proxy says when it cannot reach the node that has to answer (AnyEvent::HTTP).
            408 | 429 | 502 | 503 | 504 | 595..=599 => return Class::Retryable,
            404 => return Class::Gone,
            _ => {}
        }
        Self::of_words(words, status == 400 || status == 501)
    }

    /// By words alone, as a task's end is told.
    pub fn of_task(words: &str) -> Self {
        Self::of_words(words, false)
    }

    fn of_words(words: &str, wrong: bool) -> Self {
        let words = words.to_lowercase();
        let has = |list: &[&str]| list.iter().any(|part| words.contains(&part.to_lowercase()));
        if has(FORBIDDEN) {
            Class::Permission
        } else if words.contains("no such task") {
            Class::Gone
        } else if wrong {
            Class::Fatal
        } else if has(PASSING) {
            Class::Retryable
        } else if has(IN_THE_WAY) {
            Class::Conflict
        } else if has(ABSENT) {
            Class::Gone
        } else {
            Class::Fatal
        }
    }
}

impl CallError {
    /// PVE answered, and it was no.
    pub(super) fn answered(doing: String, status: u16, message: &str, errors: &BTreeMap<String, String>) -> Self {
        let mut words = message.trim().trim_end_matches('.').to_owned();
        for (parameter, why) in errors {
            words = format!("{words}; {parameter}: {}", why.trim());
        }
        if words.is_empty() {
            words = format!("status {status}");
        }
        Self { class: Class::of(status, &words), doing, message: words, in_doubt: false }
    }

    /// There was no answer.
    pub(super) fn unanswered(doing: String, error: &RequestError) -> Self {
        let (class, in_doubt) = match error {
            RequestError::Unsent(_) => (Class::Retryable, false),
            RequestError::Lost(_) => (Class::Retryable, true),
            // What we know it by has been read anew already.
            RequestError::Untrusted(_) => (Class::Fatal, false),
        };
        Self { doing, message: error.to_string(), class, in_doubt }
    }

    /// There was an answer that nobody understands.
    pub(super) fn garbled(doing: String, what: &str) -> Self {
        let message = format!("the answer is not what PVE 8 or 9 gives: {what}");
        Self { doing, message, class: Class::Fatal, in_doubt: true }
    }

    /// A task ended, and not well.
    pub(crate) fn of_task(doing: String, exit: &str, log: &str) -> Self {
        let class = Class::of_task(exit);
        let told = !log.is_empty() && !log.contains(exit) && !exit.contains(log);
        let message = if told { format!("{exit} (its log: {log})") } else { exit.to_owned() };
        Self { doing, message, class, in_doubt: false }
    }

    /// As it travels, for the phase that it ended.
    pub(crate) fn fault(&self, phase: Code) -> Fault {
        let message = self.to_string();
        let code = match (self.class, phase) {
            (Class::Retryable, Code::Provision) => Code::ProvisionTransient,
            (Class::Conflict, Code::Provision) => Code::Conflict,
            _ => phase,
        };
        Fault { retryable: self.class == Class::Retryable, ..Fault::new(code, message).hint(self.hint()) }
    }

    /// What to do about it.
    fn hint(&self) -> String {
        let words = self.message.to_lowercase();
        let has = |part: &str| words.contains(part);
        let hint = match self.class {
            _ if has("no quorum") || has("cluster not ready") => {
                "the cluster has lost its quorum, so /etc/pve is read-only: bring nodes back (`pvecm status`)"
            }
            _ if has("no space left") || has("not enough space") || has("out of space") => {
                "make room on that storage, or name another one in the agent's settings (`pve: storage`)"
            }
            _ if has("protection mode enabled") => "take the protection off in PVE first, if it may really go",
            _ if has(" is locked (") => {
                "another task has this machine (a backup, a migration); where none runs, `qm unlock` or `pct unlock` frees it"
            }
            _ if has("can't lock file") || has("got timeout") => {
                "another task has it just now; `pvesh get /nodes/NODE/tasks` shows which"
            }
            _ if has("certificate") || has("invalid peer") => {
                "see `pve: fingerprint` or `pve: ca` in the agent's settings; `pvenode cert info` shows what the host has"
            }
            _ if has("no such vmdisk") || has("import-from") || has("wrong type") => {
                "put the image into a storage with the content type `import` (PVE 8.3 and later)"
            }
            Class::Retryable => "the host is busy or out of reach; try again when `pvesh get /version` answers there",
            Class::Permission if has("authentication failure") || has("ticket") => {
                "the API token is unknown, expired or wrong: see `pve: api_token` in the agent's settings"
            }
            // Of snippets: other volumes are asked for by the name of a privilege.
            Class::Permission if has("missing privileges to access") => {
                "give user and token the role of that storage, which docs/proxmox.md lists: `pveum acl modify \
                 /storage/STORAGE --tokens TOKEN --roles HomestakSnippets`"
            }
            Class::Permission => {
                "give the token what docs/proxmox.md lists: `pveum acl modify / --tokens TOKEN --roles Homestak`"
            }
            Class::Conflict => "look at what is there in PVE; it is not touched",
            Class::Gone => "look whether somebody has removed it in PVE meanwhile, and apply again",
            Class::Fatal => "PVE's task log has more (`pvenode task list`); docs/proxmox.md lists what a host needs",
        };
        hint.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_decide_where_the_status_does_not() {
        let cases = [
            (500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout", Class::Retryable),
            (500, "VM is locked (backup)", Class::Retryable),
            (500, "cluster not ready - no quorum?", Class::Retryable),
            (500, "QEMU guest agent is not running", Class::Retryable),
            (595, "No route to host", Class::Retryable),
            (596, "tls_process_server_certificate: certificate verify failed", Class::Retryable),
            (599, "Too many redirections", Class::Retryable),
            (500, "unable to create VM 100 - VM 100 already exists on node 'pve1'", Class::Conflict),
            (500, "VM 100 already running", Class::Conflict),
            (500, "can't remove VM 100 - protection mode enabled", Class::Conflict),
            (500, "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist", Class::Gone),
            (403, "Permission check failed (/vms/100, VM.Allocate)", Class::Permission),
            (401, "authentication failure", Class::Permission),
            (500, "Only root can pass arbitrary filesystem paths.", Class::Permission),
            (500, "missing privileges to access local:snippets/edge-user.yaml", Class::Permission),
            (400, "Parameter verification failed.", Class::Fatal),
            (500, "unable to write to storage 'local': No space left on device", Class::Fatal),
            (500, "something new", Class::Fatal),
        ];
        for (status, words, class) in cases {
            assert_eq!(Class::of(status, words), class, "{status} {words}");
        }
    }

    #[test]
    fn every_error_says_what_to_do() {
        let errors = BTreeMap::from([("memory".to_owned(), "value must be at least 16\n".to_owned())]);
        let error = CallError::answered("creating VM 100".into(), 400, "Parameter verification failed.\n", &errors);
        let fault = error.fault(Code::Provision);
        assert_eq!(fault.message, "creating VM 100: Parameter verification failed; memory: value must be at least 16");
        assert!(fault.hint.is_some() && !fault.retryable);
    }
}
