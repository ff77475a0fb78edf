//! How an uplink stands, for people and for whoever waits for it.

use homestak_protocol::fault::Fault;

/// How an uplink stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkStatus {
    /// What it is doing.
    pub phase: UplinkPhase,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why the last attempt failed or the last link ended.
    pub last_error: Option<String>,
}

/// What an uplink is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkPhase {
    /// It is getting a certificate.
    Enrolling,
    /// It is looking for its parent.
    Connecting,
    /// It has a link.
    Connected {
        /// To this address.
        address: String,
        /// The parent's software version.
        software: String,
        /// The protocol that both speak.
        protocol: u16,
    },
    /// The parent, or what we know of it, says no. It goes on asking, at longer intervals.
    Refused(Fault),
}

impl UplinkStatus {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { phase: UplinkPhase::Connecting, since_ms: now_ms, last_error: None }
    }

    /// Enters a phase; staying in it does not change since when.
    pub(super) fn enter(&mut self, phase: UplinkPhase, now_ms: u64) {
        if self.phase != phase {
            self.phase = phase;
            self.since_ms = now_ms;
        }
    }

    /// Whether there is a link.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, UplinkPhase::Connected { .. })
    }
}
