//! Waiting for what must come true, with a limit and never for longer than it takes.

use std::thread;
use std::time::{Duration, Instant};

/// The limit of a wait: generous, since a test machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until there is something; panics with `what` after [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Waits until there is something; panics with `what` after `limit`.
pub fn within<T>(limit: Duration, what: &str, look: impl FnMut() -> Option<T>) -> T {
    attempt(limit, look).unwrap_or_else(|| panic!("not within {} s: {what}", limit.as_secs()))
}

/// Waits until there is something; none after `limit`.
pub fn attempt<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(GLANCE);
    }
}
