//! Counts connections whose peer has not proved who it is, in all and for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transport::limits::{MAX_UNPROVEN, MAX_UNPROVEN_PER_ADDRESS, PROVE_ADDRESS_FROM};

/// The count.
#[derive(Debug, Clone, Default)]
pub(super) struct Unproven(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One of those counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    counts: Unproven,
    address: IpAddr,
}

impl Unproven {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more, unless there are too many; then says of what.
    pub(super) fn enter(&self, address: IpAddr) -> Result<Seat, &'static str> {
        let mut counts = self.counts();
        if counts.all >= MAX_UNPROVEN {
            return Err("too many connections that have not proved who they are");
        }
        let of = counts.of.entry(address).or_default();
        if *of >= MAX_UNPROVEN_PER_ADDRESS {
            return Err("too many connections of this address that have not proved who they are");
        }
        *of += 1;
        counts.all += 1;
        Ok(Seat { counts: self.clone(), address })
    }

    /// Whether there are so many that an address should first prove that it is not forged.
    pub(super) fn is_crowded(&self) -> bool {
        self.counts().all > PROVE_ADDRESS_FROM
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.counts.counts();
        counts.all = counts.all.saturating_sub(1);
        let left = counts.of.get(&self.address).map_or(0, |of| of.saturating_sub(1));
        if left == 0 {
            counts.of.remove(&self.address);
        } else {
            counts.of.insert(self.address, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_seat_and_seats_come_back() {
        let unproven = Unproven::default();
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let mut seats: Vec<_> = (0..MAX_UNPROVEN_PER_ADDRESS).map(|_| unproven.enter(a).unwrap()).collect();
        assert!(unproven.enter(a).is_err() && unproven.is_crowded());
        seats.extend((0..MAX_UNPROVEN - MAX_UNPROVEN_PER_ADDRESS).map(|_| unproven.enter(b).unwrap()));
        assert!(unproven.enter(IpAddr::from([192, 0, 2, 3])).is_err());
        drop(seats);
        assert!(unproven.enter(a).is_ok() && unproven.counts().of.is_empty());
    }
}
