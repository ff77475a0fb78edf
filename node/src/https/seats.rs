//! Who may be connected: a bound for all, one for each address, and who goes when somebody new comes and there is no room.
//!
//! A connection that waits for its client holds up nobody: when all seats are taken, the one that has waited longest gives
//! its seat up. Machines on this host itself are not counted by address: behind one loopback address are many.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Everybody who is connected.
#[derive(Debug)]
pub(super) struct Seats {
    all: usize,
    of_one: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    number: u64,
    seats: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Those that wait for their client, the longest first, and how to make them leave.
    waiting: BTreeMap<u64, CancellationToken>,
}

/// A place. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    /// Under which it waits; none while it is served.
    waits: Mutex<Option<u64>>,
    /// Set when somebody else needs the place.
    pub(super) leave: CancellationToken,
}

impl Seats {
    pub(super) fn new(all: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self { all, of_one, taken: Mutex::default() })
    }

    /// A place for somebody from this address; none where that address has too many, or nobody can be made to leave.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.seats >= self.all {
            let (_, longest) = taken.waiting.pop_first()?;
            longest.cancel();
        }
        if !address.is_loopback() {
            let of_one = taken.by_address.entry(address).or_default();
            if *of_one >= self.of_one {
                return None;
            }
            *of_one += 1;
        }
        taken.seats += 1;
        drop(taken);
        let seat = Seat { seats: Arc::clone(self), address, waits: Mutex::new(None), leave: CancellationToken::new() };
        seat.wait();
        Some(seat)
    }

    pub(super) fn count(&self) -> usize {
        self.taken().seats
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// It waits for its client from here on.
    pub(super) fn wait(&self) {
        let mut taken = self.seats.taken();
        taken.number += 1;
        let number = taken.number;
        taken.waiting.insert(number, self.leave.clone());
        let before = self.waits().replace(number);
        before.map(|before| taken.waiting.remove(&before));
    }

    /// It has a request, and is served.
    pub(super) fn served(&self) {
        let number = self.waits().take();
        number.map(|number| self.seats.taken().waiting.remove(&number));
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.waits().is_some()
    }

    fn waits(&self) -> MutexGuard<'_, Option<u64>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.served();
        let mut taken = self.seats.taken();
        taken.seats = taken.seats.saturating_sub(1);
        if let Some(of_one) = taken.by_address.get_mut(&self.address) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longest_gives_way_and_who_is_served_does_not() {
        let seats = Seats::new(2, 8);
        let address = IpAddr::from([192, 0, 2, 1]);
        let first = seats.take(address).unwrap();
        let second = seats.take(address).unwrap();
        first.served();
        let third = seats.take(address).unwrap();
        assert!(!first.leave.is_cancelled() && second.leave.is_cancelled() && !third.leave.is_cancelled());
        drop(second);
        third.served();
        assert!(seats.take(address).is_none(), "everybody is served");
        first.wait();
        assert!(seats.take(address).is_some() && first.leave.is_cancelled());
    }

    #[test]
    fn one_address_leaves_room_for_others_and_gives_its_seats_back() {
        let seats = Seats::new(100, 2);
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held: Vec<_> = (0..2).map(|_| seats.take(one).unwrap()).collect();
        assert!(seats.take(one).is_none() && seats.take(other).is_some());
        drop(held);
        assert!(seats.take(one).is_some());
        let here = IpAddr::from([127, 0, 0, 1]);
        let local: Vec<_> = (0..50).map(|_| seats.take(here).unwrap()).collect();
        assert_eq!(seats.count(), local.len());
    }
}
