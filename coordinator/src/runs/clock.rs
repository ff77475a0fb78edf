//! The time of day, for what people read. Nothing is decided by it but how much of a run's time is left after a restart.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn shown(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| "unknown".into(), |time| format!("{time:.3}"))
}

/// Seconds with three digits after the point.
pub(crate) fn seconds(ms: u64) -> f64 {
    // Below 2^53 ms, which is 285,000 years, this loses nothing.
    #[expect(clippy::cast_precision_loss, reason = "see above")]
    let ms = ms as f64;
    ms / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_programs_read_them() {
        assert_eq!(shown(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(shown(u64::MAX), "unknown");
        assert!((seconds(1_840) - 1.84).abs() < f64::EPSILON);
    }
}
