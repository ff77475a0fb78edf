//! How often one may ask: a bucket of requests for each address, refilled over time, and one for all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses that are kept in mind. Past this those whose buckets are full are forgotten: forgetting them changes nothing.
const MAX_ADDRESSES: usize = 10_000;

/// How often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: f64,
    /// Requests at once.
    pub burst: f64,
}

/// Who may ask how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// One address. A machine fetches a few documents in its life; a NAT may hide some hundred of them.
    pub one: Rate,
    /// All of them: more than two cores can answer, so that this is met only by a flood.
    pub all: Rate,
    /// Whether addresses of this machine itself count as one as well. Behind one loopback address are many machines.
    pub loopback: bool,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            one: Rate { per_second: 100.0, burst: 400.0 },
            all: Rate { per_second: 100_000.0, burst: 100_000.0 },
            loopback: false,
        }
    }
}

#[derive(Debug)]
pub(super) struct Limiter {
    rates: Rates,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    one: HashMap<IpAddr, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { left: rate.burst, at: now }
    }

    /// Takes one, or says how long until there is one.
    fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * rate.per_second).min(rate.burst);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - self.left) / rate.per_second).unwrap_or(Duration::from_secs(60)))
    }

    fn is_full(&self, rate: Rate, now: Instant) -> bool {
        self.left + now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second >= rate.burst
    }
}

impl Limiter {
    pub(super) fn new(rates: Rates) -> Self {
        let buckets = Buckets { all: Bucket::full(rates.all, Instant::now()), one: HashMap::new() };
        Self { rates, buckets: Mutex::new(buckets) }
    }

    /// Lets a request pass, or says after how long to come again.
    pub(super) fn pass(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let Rates { one, all, loopback } = self.rates;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if loopback || !address.is_loopback() {
            if buckets.one.len() >= MAX_ADDRESSES && !buckets.one.contains_key(&address) {
                buckets.one.retain(|_, bucket| !bucket.is_full(one, now));
                if buckets.one.len() >= MAX_ADDRESSES {
                    return Err(Duration::from_secs(1));
                }
            }
            buckets.one.entry(address).or_insert_with(|| Bucket::full(one, now)).take(one, now)?;
        }
        buckets.all.take(all, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_and_nobody_pays_for_others() {
        let rates = Rates {
            one: Rate { per_second: 2.0, burst: 3.0 },
            all: Rate { per_second: 100.0, burst: 100.0 },
            loopback: false,
        };
        let limiter = Limiter::new(rates);
        let now = Instant::now();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        (0..3).for_each(|_| limiter.pass(one, now).unwrap());
        assert_eq!(limiter.pass(one, now), Err(Duration::from_millis(500)));
        limiter.pass(other, now).unwrap();
        limiter.pass(one, now + Duration::from_millis(500)).unwrap();
        assert!(limiter.pass(one, now + Duration::from_millis(500)).is_err());
        let here = IpAddr::from([127, 0, 0, 1]);
        let passed = (0..200).filter(|_| limiter.pass(here, now).is_ok()).count();
        assert!((90..=100).contains(&passed), "only the bound for all counts here: {passed}");
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let limiter = Limiter::new(Rates { all: Rate { per_second: 1e9, burst: 1e9 }, ..Rates::default() });
        let now = Instant::now();
        let address = |n: usize| IpAddr::from(u32::try_from(n + (198 << 24)).unwrap().to_be_bytes());
        (0..MAX_ADDRESSES).for_each(|n| limiter.pass(address(n), now).unwrap());
        assert!(limiter.pass(address(MAX_ADDRESSES), now).is_err());
        limiter.pass(address(MAX_ADDRESSES), now + Duration::from_secs(60)).unwrap();
    }
}
