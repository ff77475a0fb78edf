//! The side of a process that dials its parent.
//!
//! One task ([`Uplink::run`]): it sees to a certificate ([`enrol`]), finds the parent at one of its addresses ([`dial`]),
//! keeps the link for as long as it lives ([`link`]) and begins again. It tells the core what comes from above through
//! [`UplinkEvent`]s, and whoever is interested how it stands through a watch ([`status`]).

mod backoff;
mod dial;
mod enrol;
mod fetch;
mod link;
pub mod status;

use std::net::IpAddr;

use homestak_protocol::fault::{Code, Fault};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::backoff::Backoff;
use self::dial::Dialler;
pub use self::fetch::Fetcher;
use self::status::{UplinkPhase, UplinkStatus};
use super::limits::Timing;
use crate::link::UplinkEvent;
use crate::trust::TrustError;
use crate::trust::clock::Clock;
use crate::trust::identity::{Enrolled, Identity, Introduction, Standing, Update};

/// How an uplink is to be.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// `HOMESTAK_SERVER`, as `host:port` each; see [`super::addresses::parse_servers`]. They are tried before the addresses
    /// that the parent told of itself.
    pub servers: Vec<String>,
    /// How parent and child know each other.
    pub told: Introduction,
    /// The address to dial from, if it matters.
    pub bind: Option<IpAddr>,
    /// Our software version.
    pub software: String,
    /// Time limits.
    pub timing: Timing,
}

/// Why the parent was not reached, or turned us away.
#[derive(Debug, thiserror::Error)]
pub enum UplinkError {
    /// The parent has said no.
    #[error("the parent refuses us: {0}")]
    Refused(#[source] Fault),
    /// The parent does not take our certificate.
    #[error("the parent does not take our certificate: {0}")]
    CertificateRefused(String),
    /// Whoever answers is not the parent that we were told of.
    #[error("it is not our parent that answers: {0}")]
    NotOurParent(String),
    /// Nobody answers.
    #[error("the parent cannot be reached: {0}")]
    Unreachable(String),
    /// TCP answers where UDP does not.
    #[error("{0} answers on TCP but not on UDP: something between us and our parent drops UDP, which QUIC needs")]
    UdpBlocked(String),
    /// The parent says what makes no sense.
    #[error("the parent breaks the protocol: {0}")]
    Protocol(String),
    /// The link was lost before it was one.
    #[error("the link was lost: {0}")]
    Lost(String),
    /// There is nobody to dial.
    #[error("no address of a parent is known; give one as HOMESTAK_SERVER")]
    NoServer,
    /// There is nothing to enrol with.
    #[error(
        "this node is not enrolled with the parent that it was told of, and it has no HOMESTAK_TOKEN to enrol with"
    )]
    NoToken,
    /// Our own files or keys.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl UplinkError {
    /// Whether only a person, or another generation, can make it go away.
    pub fn is_permanent(&self) -> bool {
        match self {
            UplinkError::Refused(fault) => !fault.retryable,
            UplinkError::NotOurParent(_) | UplinkError::NoServer | UplinkError::NoToken => true,
            UplinkError::CertificateRefused(_)
            | UplinkError::Unreachable(_)
            | UplinkError::UdpBlocked(_)
            | UplinkError::Protocol(_)
            | UplinkError::Lost(_)
            | UplinkError::Trust(_) => false,
        }
    }

    /// As an error that travels and that users see.
    pub fn fault(&self) -> Fault {
        if let UplinkError::Refused(fault) = self {
            return fault.clone();
        }
        let (code, hint) = match self {
            UplinkError::CertificateRefused(_) | UplinkError::NotOurParent(_) => (
                Code::Identity,
                Some("check HOMESTAK_SERVER and HOMESTAK_CA; the pin is the one that the parent prints"),
            ),
            UplinkError::UdpBlocked(_) => {
                (Code::Unreachable, Some("let UDP through to the port that TCP reaches (firewall, VLAN, NAT)"))
            }
            UplinkError::Protocol(_) => (Code::Protocol, None),
            UplinkError::Trust(_) => (Code::Storage, None),
            UplinkError::NoToken => {
                (Code::TokenMalformed, Some("give the token that the parent made for this machine"))
            }
            _ => (Code::Unreachable, None),
        };
        let fault = Fault::new(code, self.to_string());
        if let Some(hint) = hint { fault.hint(hint) } else { fault }
    }
}

/// What to try next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A link, with the certificate that we have.
    Link,
    /// Another certificate for a key that the parent should know.
    Renew,
    /// First contact, with the token.
    First,
}

/// An uplink.
#[derive(Debug)]
pub struct Uplink {
    options: UplinkOptions,
    identity: Identity,
    clock: Clock,
    dialler: Dialler,
    status: watch::Sender<UplinkStatus>,
    /// The link, while it can be asked over.
    current: watch::Sender<Option<fetch::Line>>,
    next: Next,
}

impl Uplink {
    /// An uplink for this identity. The clock is corrected by what the parent last said.
    pub fn new(options: UplinkOptions, identity: Identity, clock: Clock) -> Self {
        identity.correct(&clock);
        let next = match identity.standing() {
            Standing::Enrolled(_) => Next::Link,
            Standing::New | Standing::Outdated(_) => Next::First,
        };
        let dialler = Dialler::new(options.bind, options.timing.clone());
        let status = watch::Sender::new(UplinkStatus::new(clock.now_ms()));
        let current = watch::Sender::new(None);
        Self { options, identity, clock, dialler, status, current, next }
    }

    /// Who we are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How it stands, now and later.
    pub fn status(&self) -> watch::Receiver<UplinkStatus> {
        self.status.subscribe()
    }

    /// Asks the parent's endpoint, over whatever link there is.
    pub fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.current.subscribe())
    }

    /// Makes sure that we are enrolled, in one attempt.
    pub async fn enrol(&mut self) -> Result<&Enrolled, UplinkError> {
        if self.identity.enrolled().is_none() {
            self.first_contact().await?;
            self.next = Next::Link;
        }
        self.identity.enrolled().ok_or(UplinkError::NoToken)
    }

    /// Makes sure that we are enrolled, however long it takes; none if it is cancelled first.
    pub async fn enrolled(&mut self, cancel: &CancellationToken) -> Option<Enrolled> {
        let mut backoff = Backoff::new(&self.options.timing);
        loop {
            self.stand(UplinkPhase::Enrolling);
            let error = tokio::select! {
                () = cancel.cancelled() => return None,
                enrolled = self.enrol() => match enrolled {
                    Ok(enrolled) => return Some(enrolled.clone()),
                    Err(error) => error,
                },
            };
            self.pause(&mut backoff, error, cancel).await;
        }
    }

    /// Keeps a link to the parent until it is cancelled or the core is gone.
    pub async fn run(mut self, events: mpsc::Sender<UplinkEvent>, cancel: CancellationToken) {
        let mut backoff = Backoff::new(&self.options.timing);
        while !cancel.is_cancelled() && !events.is_closed() {
            let begun = Instant::now();
            let attempt = tokio::select! {
                () = cancel.cancelled() => break,
                attempt = self.certified() => attempt,
            };
            let result = match attempt {
                Ok(()) => self.link(&events, &cancel).await,
                Err(error) => Err(error),
            };
            match result {
                // The link has held: its end is news, and dialling again at once is right.
                Ok(reason) if begun.elapsed() >= self.options.timing.proven => {
                    backoff.reset();
                    self.lost(reason);
                }
                Ok(reason) => self.pause(&mut backoff, UplinkError::Lost(reason), &cancel).await,
                Err(error) => {
                    self.next = self.after(&error);
                    self.pause(&mut backoff, error, &cancel).await;
                }
            }
        }
        self.dialler.leave().await;
    }

    /// Makes sure that there is a certificate worth dialling with.
    async fn certified(&mut self) -> Result<(), UplinkError> {
        if self.next == Next::Link && self.identity.enrolled().is_some_and(|enrolled| !enrolled.is_in_time(&self.clock))
        {
            self.next = Next::Renew;
        }
        match self.next {
            Next::Link => return Ok(()),
            Next::Renew => {
                self.stand(UplinkPhase::Enrolling);
                self.renew_expired().await?;
            }
            Next::First => {
                self.stand(UplinkPhase::Enrolling);
                self.first_contact().await?;
            }
        }
        self.next = Next::Link;
        Ok(())
    }

    /// What to try after a failure. A parent that does not know our certificate may know our key; one that does not know
    /// our key, because it has lost its own memory of us, may still know the token that it gave us.
    fn after(&self, error: &UplinkError) -> Next {
        if self.identity.enrolled().is_none() {
            return Next::First;
        }
        match (self.next, error) {
            (Next::Link, UplinkError::CertificateRefused(_) | UplinkError::NotOurParent(_)) => Next::Renew,
            (Next::Link, UplinkError::Refused(fault)) if fault.code == Code::Identity => Next::Renew,
            (Next::Renew, UplinkError::Refused(_)) if self.options.told.token.is_some() => Next::First,
            (Next::First, UplinkError::Refused(_)) => Next::Link,
            (Next::Renew, UplinkError::Refused(_) | UplinkError::NotOurParent(_)) => Next::Link,
            (next, _) => next,
        }
    }

    /// Writes a change of the identity to disk, without holding up anything else, and then goes by it.
    async fn persist(&mut self, update: Update) -> Result<(), UplinkError> {
        let written = tokio::task::spawn_blocking(move || update.persist()).await;
        let persisted = written.map_err(|error| UplinkError::Lost(error.to_string()))??;
        self.identity.adopt(persisted);
        Ok(())
    }

    /// Where the parent may be: as configured, then as it said itself.
    fn targets(&self) -> Vec<String> {
        let learned = self.identity.enrolled().map(|enrolled| enrolled.addresses.as_slice()).unwrap_or_default();
        let mut targets = self.options.servers.clone();
        targets.extend(learned.iter().filter(|address| !self.options.servers.contains(address)).cloned());
        targets
    }

    fn stand(&self, phase: UplinkPhase) {
        self.status.send_modify(|status| status.enter(phase, self.clock.now_ms()));
    }

    fn lost(&self, reason: String) {
        tracing::info!(reason, "the link to the parent is gone");
        self.status.send_modify(|status| {
            status.last_error = Some(reason);
            status.enter(UplinkPhase::Connecting, self.clock.now_ms());
        });
    }

    /// Notes a failure and waits before the next attempt.
    async fn pause(&self, backoff: &mut Backoff, error: UplinkError, cancel: &CancellationToken) {
        let pause = backoff.next(error.is_permanent());
        let phase = match error.is_permanent() {
            true => UplinkPhase::Refused(error.fault()),
            false => UplinkPhase::Connecting,
        };
        tracing::warn!(%error, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "no link to the parent");
        self.status.send_modify(|status| {
            status.last_error = Some(error.to_string());
            status.enter(phase, self.clock.now_ms());
        });
        tokio::select! {
            () = cancel.cancelled() => {}
            () = sleep(pause) => {}
        }
    }
}
