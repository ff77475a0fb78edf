//! The shell's timers: which is due next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::step::TimerKey;

/// Timers by the moment at which they run out.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, TimerKey)>>,
    count: u64,
}

impl Timers {
    /// Adds one.
    pub(super) fn arm(&mut self, key: TimerKey, after: Duration) {
        self.count += 1;
        self.heap.push(Reverse((Instant::now() + after, self.count, key)));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// One that is due by now.
    pub(super) fn due(&mut self) -> Option<TimerKey> {
        if self.next()? > Instant::now() {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, key))| key)
    }
}
