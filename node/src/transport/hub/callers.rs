//! Who has knocked: the addresses from which a packet has come that wants to begin a connection, and when the last did.
//! It says whether a machine that does not join is heard at all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// How many addresses are kept: all machines of a large host. Beyond that the one that was quiet for longest is forgotten.
const KEPT: usize = 4096;

/// The addresses. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Callers(Arc<Mutex<HashMap<IpAddr, Instant>>>);

impl Callers {
    /// A packet has come from there.
    pub(super) fn note(&self, ip: IpAddr) {
        // Whoever panicked with it has added one entry or none.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ip = ip.to_canonical();
        if known.len() >= KEPT && !known.contains_key(&ip) {
            let oldest = known.iter().min_by_key(|(_, heard)| **heard).map(|(ip, _)| *ip);
            oldest.map(|ip| known.remove(&ip));
        }
        known.insert(ip, Instant::now());
    }

    /// Whether any of these has been heard since then.
    pub fn have_called(&self, any: &[IpAddr], since: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        any.iter().any(|ip| known.get(&ip.to_canonical()).is_some_and(|heard| *heard >= since))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_called_is_known_whatever_socket_it_came_by_and_the_quietest_is_forgotten_first() {
        let callers = Callers::default();
        let begun = Instant::now();
        let first = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        callers.note(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()));
        assert!(callers.have_called(&[first], begun));
        assert!(!callers.have_called(&[first], begun + Duration::from_secs(1)));
        advance(Duration::from_secs(2)).await;
        let other = |n: usize| IpAddr::from(Ipv6Addr::from_bits(u128::try_from(n).unwrap() + (1 << 120)));
        (0..KEPT).for_each(|n| callers.note(other(n)));
        assert!(!callers.have_called(&[first], begun), "it was quiet for longest");
        assert!(callers.have_called(&[first, other(7)], begun));
    }
}
