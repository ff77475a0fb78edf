//! Finds the parent at one of its addresses.
//!
//! Every name is resolved and every address tried, each a little after the one before; the first whose handshake is
//! complete is taken. What the others said is told only if none is.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::UplinkError;
use crate::transport::close::{LEAVING, describe};
use crate::transport::limits::{MAX_ADDRESSES, Timing};
use crate::transport::quic;
use crate::trust::ca::HUB_NAME;

/// After how many silent attempts in a row it is worth asking whether TCP gets through where UDP does not.
const SUSPICIOUS: u32 = 3;

/// How often the time for an attempt is doubled while nobody answers; it ends with the idle timeout at the latest. QUIC
/// repeats its first packet after 1, 3 and 7 s, so that a network that comes back is still noticed soon.
const MAX_DOUBLINGS: u32 = 3;

/// TLS alerts travel in QUIC as 0x100 and the alert's number (RFC 9001, 4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;

/// The sockets that an uplink dials from, one for each address family, made when they are first needed.
#[derive(Debug)]
pub(super) struct Dialler {
    bind: Option<IpAddr>,
    timing: Timing,
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
    silent: u32,
}

/// Why one address was not it.
enum Miss {
    Silent,
    Foreign(String),
    Other(String),
}

impl Dialler {
    pub(super) fn new(bind: Option<IpAddr>, timing: Timing) -> Self {
        Self { bind, timing, v4: None, v6: None, silent: 0 }
    }

    /// A connection to the first of these that answers as our parent.
    pub(super) async fn dial(&mut self, targets: &[String], config: ClientConfig) -> Result<Connection, UplinkError> {
        if targets.is_empty() {
            return Err(UplinkError::NoServer);
        }
        let mut misses = Vec::new();
        let addresses = self.resolve(targets, &mut misses).await;
        let mut waiting = addresses.iter().copied();
        let mut attempts = JoinSet::new();
        loop {
            let next = waiting.next();
            if let Some(address) = next {
                match self.attempt(address, &config) {
                    Ok(attempt) => drop(attempts.spawn(attempt)),
                    Err(error) => misses.push((address.to_string(), Miss::Other(error.to_string()))),
                }
            } else if attempts.is_empty() {
                return Err(self.missed(&addresses, misses).await);
            }
            let stagger = async {
                match next {
                    Some(_) => sleep(self.timing.stagger).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = attempts.join_next() => match done {
                    Ok((_, Ok(connection))) => {
                        self.silent = 0;
                        return Ok(connection);
                    }
                    Ok((address, Err(miss))) => misses.push((address.to_string(), miss)),
                    Err(_) => {}
                },
                () = stagger => {}
            }
        }
    }

    async fn resolve(&self, targets: &[String], misses: &mut Vec<(String, Miss)>) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for target in targets {
            match timeout(self.timing.connect, lookup_host(target.as_str())).await {
                Ok(Ok(found)) => addresses.extend(found),
                Ok(Err(error)) => misses.push((target.clone(), Miss::Other(error.to_string()))),
                Err(_) => misses.push((target.clone(), Miss::Other("its name is not resolved in time".into()))),
            }
        }
        let mut seen = std::collections::HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses.truncate(MAX_ADDRESSES);
        addresses
    }

    fn attempt(
        &mut self,
        address: SocketAddr,
        config: &ClientConfig,
    ) -> io::Result<impl Future<Output = (SocketAddr, Result<Connection, Miss>)> + use<>> {
        let endpoint = self.endpoint(address)?;
        let connecting = endpoint.connect_with(config.clone(), address, HUB_NAME).map_err(io::Error::other)?;
        // A parent that has not answered may have more to do than it can: who comes again sooner than it can answer only
        // makes that worse.
        let limit = self.timing.connect.saturating_mul(1 << self.silent.min(MAX_DOUBLINGS));
        Ok(async move {
            let result = match timeout(limit, connecting).await {
                Ok(Ok(connection)) => Ok(connection),
                Err(_) | Ok(Err(ConnectionError::TimedOut)) => Err(Miss::Silent),
                Ok(Err(ConnectionError::TransportError(error))) if CRYPTO_ERRORS.contains(&u64::from(error.code)) => {
                    Err(Miss::Foreign(error.reason))
                }
                Ok(Err(error)) => Err(Miss::Other(describe(&error))),
            };
            (address, result)
        })
    }

    fn endpoint(&mut self, address: SocketAddr) -> io::Result<Endpoint> {
        let (slot, any) = match address {
            SocketAddr::V4(_) => (&mut self.v4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            SocketAddr::V6(_) => (&mut self.v6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        };
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let from = self.bind.unwrap_or(any);
        if from.is_ipv4() != any.is_ipv4() {
            return Err(io::Error::other(format!("it cannot be reached from {from}")));
        }
        Ok(slot.insert(quic::dialler(SocketAddr::new(from, 0))?).clone())
    }

    /// Says why nobody was reached.
    async fn missed(&mut self, addresses: &[SocketAddr], misses: Vec<(String, Miss)>) -> UplinkError {
        let silent = !addresses.is_empty() && misses.iter().all(|(_, miss)| matches!(miss, Miss::Silent));
        self.silent = if silent { self.silent.saturating_add(1) } else { 0 };
        if self.silent >= SUSPICIOUS {
            for address in addresses {
                if matches!(timeout(self.timing.connect, TcpStream::connect(address)).await, Ok(Ok(_))) {
                    return UplinkError::UdpBlocked(address.to_string());
                }
            }
        }
        let foreign = misses.iter().any(|(_, miss)| matches!(miss, Miss::Foreign(_)));
        let each = misses.into_iter().map(|(target, miss)| match miss {
            Miss::Silent => format!("{target}: no answer"),
            Miss::Foreign(why) | Miss::Other(why) => format!("{target}: {why}"),
        });
        let text = each.collect::<Vec<_>>().join("; ");
        if foreign { UplinkError::NotOurParent(text) } else { UplinkError::Unreachable(text) }
    }

    /// Says goodbye to whoever is still connected.
    pub(super) async fn leave(&mut self) {
        for endpoint in self.v4.take().into_iter().chain(self.v6.take()) {
            endpoint.close(VarInt::from_u32(LEAVING), b"the agent is shutting down");
            let _ = timeout(self.timing.farewell, endpoint.wait_idle()).await;
        }
    }
}

/// Why an exchange on a fresh connection failed: the parent may have turned our certificate away, which it can only do
/// after our side of the handshake is complete.
pub(super) fn lost(connection: &Connection, why: String) -> UplinkError {
    match connection.close_reason() {
        Some(ConnectionError::ConnectionClosed(end)) if CRYPTO_ERRORS.contains(&u64::from(end.error_code)) => {
            UplinkError::CertificateRefused(crate::transport::close::printable(&String::from_utf8_lossy(&end.reason)))
        }
        Some(error) => UplinkError::Lost(describe(&error)),
        None => UplinkError::Lost(why),
    }
}
