//! Faults as refusals: which exit code goes with which.

use homestak_protocol::fault::{Code, Fault};

use crate::api::{Exit, Refusal};

/// A refusal with the exit code of its fault.
pub(crate) fn refuse(fault: &Fault) -> Refusal {
    let exit = match fault.code {
        Code::Unreachable | Code::Timeout => Exit::Unreachable,
        Code::NotFound
        | Code::PostureNotFound
        | Code::KeyNotFound
        | Code::SpecInvalid
        | Code::Conflict
        | Code::Busy
        | Code::Behind
        | Code::Stale
        | Code::Version => Exit::Configuration,
        _ => Exit::Failed,
    };
    Refusal::new(exit, fault)
}

/// Something that was named and is not there.
pub(crate) fn not_found(message: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(Exit::Configuration, &Fault::new(Code::NotFound, message).hint(hint))
}
