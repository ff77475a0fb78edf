//! Who is let in next, where more come than can be looked at: nothing expensive is done for whoever may be gone already.
//!
//! A handshake costs some milliseconds of a processor. If all children come at once and each is begun with as it comes,
//! each takes as long as all of them: they give up, come again, and the hub spends its time on those who have left. So few
//! are looked at at a time. Whoever else comes is first asked to prove its address (QUIC Retry: one packet, nothing kept),
//! which shows as well that it is there, and then waits. Who came last is looked at first: it is the one that has most of
//! its patience left. Whoever has waited for too long is passed over without a word: if it is still there, it repeats its
//! packet and is in the queue anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use quinn::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::unproven::Seat;

/// Handshakes that go on at a time: enough to keep every processor busy while packets are on their way, few enough that
/// each is done long before its child gives up, at 10 ms for each on a slow machine.
const PLACES: usize = 32;

/// How long a handshake keeps its place: some round trips to somewhere near. One that takes longer goes on without, so that
/// peers who only begin do not keep out those who mean it.
const PLACE_LIMIT: Duration = Duration::from_millis(500);

/// How long one waits in the queue at most: by then it has given up.
const STALE: Duration = Duration::from_secs(5);

/// How long one waits at least before it makes way for others. QUIC repeats a first packet after a second.
const REPEATS: Duration = Duration::from_secs(1);

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    places: Arc<Semaphore>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    incoming: Incoming,
    seat: Seat,
    since: Instant,
}

/// A place for one handshake, until it is dropped or [`PLACE_LIMIT`] is over.
#[derive(Debug)]
pub(super) struct Place(OwnedSemaphorePermit);

impl Door {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), waiting: VecDeque::new() }
    }

    /// Whether somebody waits, or would have to.
    pub(super) fn is_crowded(&self) -> bool {
        !self.waiting.is_empty() || self.places.available_permits() == 0
    }

    /// Somebody is at the door.
    pub(super) fn queue(&mut self, incoming: Incoming, seat: Seat) {
        self.waiting.push_back(Waiting { incoming, seat, since: Instant::now() });
    }

    /// Passes over whoever has waited longest, if that is long enough. Says whether somebody has made way.
    pub(super) fn make_way(&mut self) -> bool {
        let oldest = self.waiting.pop_front_if(|oldest| oldest.since.elapsed() >= REPEATS);
        let Some(Waiting { incoming, .. }) = oldest else { return false };
        incoming.ignore();
        true
    }

    /// Waits until there is a place for one of those who wait.
    pub(super) async fn next(&mut self) -> (Incoming, Seat, Place) {
        let place = match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) if !self.waiting.is_empty() => place,
            // Nobody closes the semaphore.
            _ => return std::future::pending().await,
        };
        while let Some(Waiting { incoming, seat, since }) = self.waiting.pop_back() {
            if since.elapsed() < STALE {
                return (incoming, seat, Place(place));
            }
            incoming.ignore();
        }
        drop(place);
        std::future::pending().await
    }
}

impl Place {
    /// Does something, and gives the place back when it is done or has taken too long for that.
    pub(super) async fn during<T>(self, work: impl Future<Output = T>) -> T {
        let Self(permit) = self;
        tokio::pin!(work);
        tokio::select! {
            done = &mut work => return done,
            () = sleep(PLACE_LIMIT) => drop(permit),
        }
        work.await
    }
}
