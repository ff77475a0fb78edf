//! The time that certificates are dated and checked by: this machine's clock, corrected by its parent's.
//!
//! A machine fresh from an image may live in 1970. Its parent tells it the time; the difference is kept and added until
//! the machine's own clock agrees.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// How far the own clock may be from the parent's and still be taken as right. Certificates are backdated by an hour and
/// live for a day, so half a minute harms nothing; a corrected clock is usually within milliseconds.
pub const AGREES_MS: u64 = 30_000;

/// A source of time and what is to be added to it. Cheap to clone; clones share the correction.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Fn() -> u64 + Send + Sync>,
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// This machine's clock.
    pub fn system() -> Self {
        Self::from_fn(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// A clock that reads milliseconds since 1970 from `source`.
    pub fn from_fn(source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { source: Arc::new(source), offset_ms: Arc::default() }
    }

    /// The corrected time, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.own_ms().saturating_add_signed(self.offset_ms())
    }

    /// What the source says, in milliseconds since 1970.
    pub fn own_ms(&self) -> u64 {
        (self.source)()
    }

    /// What is added to the source, in milliseconds.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Sets what is added to the source, in milliseconds.
    pub fn set_offset_ms(&self, offset: i64) {
        self.offset_ms.store(offset, Ordering::Relaxed);
    }

    /// Hears the parent's time, and returns the correction from now on: none where the own clock agrees.
    pub fn hear(&self, parent_ms: u64) -> i64 {
        let own = self.own_ms();
        let offset = match parent_ms.abs_diff(own) {
            ..=AGREES_MS => 0,
            apart => {
                let apart = i64::try_from(apart).unwrap_or(i64::MAX);
                if parent_ms > own { apart } else { -apart }
            }
        };
        self.set_offset_ms(offset);
        offset
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({} ms, offset {} ms)", self.now_ms(), self.offset_ms())
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now_ms()))
    }
}

/// Milliseconds since 1970, as rustls wants them.
pub(crate) fn unix_time(ms: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_is_corrected_until_it_agrees() {
        let own = Arc::new(std::sync::atomic::AtomicU64::new(5_000));
        let clock = Clock::from_fn({
            let own = own.clone();
            move || own.load(Ordering::Relaxed)
        });
        clock.hear(1_700_000_000_000);
        assert_eq!(clock.now_ms(), 1_700_000_000_000);
        own.store(1_700_000_060_000, Ordering::Relaxed);
        clock.hear(1_700_000_061_000);
        assert_eq!((clock.offset_ms(), clock.now_ms()), (0, 1_700_000_060_000));
        clock.hear(1_600_000_000_000);
        assert_eq!(clock.now_ms(), 1_600_000_000_000);
    }
}
