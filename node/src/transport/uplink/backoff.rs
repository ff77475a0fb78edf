//! Pauses between attempts: each about twice the one before, up to a bound, and never quite the same for two nodes.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use crate::transport::limits::Timing;

/// After this many doublings every bound has long been reached.
const MAX_DOUBLINGS: u32 = 20;

/// The pauses.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    refused_max: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(timing: &Timing) -> Self {
        Self { min: timing.backoff_min, max: timing.backoff_max, refused_max: timing.refused_max, failures: 0 }
    }

    /// Begins anew.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after another failure: between half and the whole of the doubled one before.
    pub(super) fn next(&mut self, permanent: bool) -> Duration {
        let bound = if permanent { self.refused_max } else { self.max };
        let whole = self.min.saturating_mul(1 << self.failures).min(bound);
        self.failures = (self.failures + 1).min(MAX_DOUBLINGS);
        let mut random = [0; 2];
        // Without random numbers there is no jitter, which is no reason to fail.
        let _ = SystemRandom::new().fill(&mut random);
        whole / 2 + (whole / 2).mul_f64(f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_their_bounds_and_begin_anew() {
        let timing = Timing::default();
        let mut backoff = Backoff::new(&timing);
        let mut whole = timing.backoff_min;
        for _ in 0..64 {
            let pause = backoff.next(false);
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(timing.backoff_max);
        }
        assert!(backoff.next(true) > timing.backoff_max);
        backoff.reset();
        assert!(backoff.next(false) <= timing.backoff_min);
    }
}
