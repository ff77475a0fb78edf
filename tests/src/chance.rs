//! Chance that can be had again: everything random in a test comes from a seed, which the test prints.

use std::time::{SystemTime, UNIX_EPOCH};

/// SplitMix64: small, and good enough to choose which packet is lost.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same sequence.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// True in `percent` of a hundred cases.
    pub fn hits(&mut self, percent: u8) -> bool {
        self.draw() % 100 < u64::from(percent)
    }

    /// `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.draw().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// `HOMESTAK_TEST_SEED`, or one from the clock. Printed, so that a failure can be had again.
pub fn seed(what: &str) -> u64 {
    let given = std::env::var("HOMESTAK_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs() << 20
    });
    crate::needs::say(&format!("{what}: HOMESTAK_TEST_SEED={seed}"));
    seed
}
