//! Why a connection ends: a number for programs and a word for the log on the other side.

use quinn::{Connection, ConnectionError, VarInt};

use super::limits::MAX_REASON;

/// Nothing more to say.
pub(super) const DONE: u32 = 0;
/// The peer may not do what it wants.
pub(super) const REFUSED: u32 = 1;
/// The peer has sent what makes no sense, or too much of it, or nothing in time.
pub(super) const PROTOCOL: u32 = 2;
/// The peer's certificate has ended.
pub(super) const EXPIRED: u32 = 3;
/// This process ends.
pub(super) const LEAVING: u32 = 4;

/// Ends a connection.
pub(super) fn close(connection: &Connection, code: u32, reason: &str) {
    let end = reason.floor_char_boundary(MAX_REASON);
    connection.close(VarInt::from_u32(code), reason.get(..end).unwrap_or_default().as_bytes());
}

/// What ended a connection, for people.
pub(super) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(end) => {
            let reason = String::from_utf8_lossy(&end.reason);
            if reason.is_empty() { format!("closed by the peer ({})", end.error_code) } else { printable(&reason) }
        }
        ConnectionError::ConnectionClosed(end) => printable(&end.to_string()),
        ConnectionError::TimedOut => "no answer in time".to_owned(),
        other => printable(&other.to_string()),
    }
}

/// A peer's words, fit for one line of a log.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(MAX_REASON).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
