//! The link to the parent, from our Hello to its end.
//!
//! The connection is owned by the uplink's task. Tasks of the link's own, which end with it: one sends reports and hears
//! acknowledgements; one for each request of the parent waits for the core's answer; one asks for the next certificate.

use std::time::Duration;

use homestak_protocol::frame::{MAX_FRAME, MAX_FRAME_UNPROVEN};
use homestak_protocol::message::{Ack, EnrolReply, Greeting, Hello, Issued, Opening, Report, Request, Welcome};
use homestak_protocol::order::ORDER_VERSION;
use homestak_protocol::version::{FETCH, SUPPORTED};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::dial::lost;
use super::fetch::Line;
use super::status::UplinkPhase;
use super::{Uplink, UplinkError};
use crate::link::{HelloParts, UplinkEvent};
use crate::tls;
use crate::transport::close::{DONE, LEAVING, PROTOCOL, close, describe};
use crate::transport::limits::{MAX_HELLO, REPORTS};
use crate::transport::quic;
use crate::transport::wire::{self, WireError};

/// The shortest pause between attempts to renew over a link that holds.
const RENEW_AGAIN: Duration = Duration::from_millis(100);

/// What a task of the link has come to.
enum Step {
    /// Nothing that matters to the link.
    Nothing,
    /// The link cannot go on.
    Broken(String),
    /// The parent has answered to a renewal, or not.
    Renewal(Result<EnrolReply, WireError>),
}

impl Uplink {
    /// Makes a link and keeps it; says why it ended, or why there was none.
    pub(super) async fn link(
        &mut self,
        events: &mpsc::Sender<UplinkEvent>,
        cancel: &CancellationToken,
    ) -> Result<String, UplinkError> {
        self.stand(UplinkPhase::Connecting);
        let made = tokio::select! {
            () = cancel.cancelled() => return Ok("cancelled".into()),
            made = self.make(events) => made,
        };
        let (connection, welcome) = made?;
        let address = connection.remote_address();
        tracing::info!(%address, protocol = welcome.protocol, "the link to the parent is up");
        self.stand(UplinkPhase::Connected {
            address: address.to_string(),
            software: welcome.software.clone(),
            protocol: welcome.protocol,
        });
        if welcome.protocol >= FETCH {
            self.current.send_replace(Some(Line { connection: connection.clone(), protocol: welcome.protocol }));
        }
        let (reports, queue) = mpsc::channel(REPORTS);
        let mut tasks = JoinSet::new();
        tasks.spawn(report(connection.clone(), queue, events.clone()));
        let reason = if events.send(UplinkEvent::Up { welcome: Box::new(welcome), reports }).await.is_ok() {
            self.keep(&connection, events, cancel, &mut tasks).await
        } else {
            close(&connection, LEAVING, "the agent is shutting down");
            "the core is gone".to_owned()
        };
        self.current.send_replace(None);
        tasks.shutdown().await;
        // A core that is gone needs no telling.
        let _ = events.send(UplinkEvent::Down { reason: reason.clone() }).await;
        Ok(reason)
    }

    /// Dials, says hello and is welcomed.
    async fn make(&mut self, events: &mpsc::Sender<UplinkEvent>) -> Result<(Connection, Welcome), UplinkError> {
        let enrolled = self.identity.enrolled().ok_or(UplinkError::NoToken)?.clone();
        let tls = tls::link(self.options.told.ca, &self.identity, &enrolled, &self.clock)?;
        let config = quic::client(tls, &self.options.timing)?;
        let targets = self.targets();
        let connection = self.dialler.dial(&targets, config).await?;
        let (answer, answered) = oneshot::channel();
        let gone = |_| UplinkError::Lost("the core is gone".into());
        events.send(UplinkEvent::Dialling { answer }).await.map_err(|_| gone(()))?;
        let HelloParts { journal, generations, facts } = answered.await.map_err(|_| gone(()))?;
        let hello = Hello {
            versions: SUPPORTED,
            order_version: ORDER_VERSION,
            software: self.options.software.clone(),
            path: enrolled.path,
            incarnation: enrolled.incarnation,
            journal,
            generations,
            facts,
        };
        let limit = self.options.timing.handshake + self.options.timing.decision;
        let greeting = match timeout(limit, greet(&connection, &hello)).await {
            Ok(Ok(greeting)) => greeting,
            Ok(Err(error)) => return Err(lost(&connection, error.to_string())),
            Err(_) => return Err(UplinkError::Lost("no welcome in time".into())),
        };
        match greeting {
            Greeting::Refused(fault) => {
                close(&connection, DONE, "");
                Err(UplinkError::Refused(fault))
            }
            Greeting::Welcome(welcome) if !(SUPPORTED.lowest..=SUPPORTED.highest).contains(&welcome.protocol) => {
                close(&connection, PROTOCOL, "the welcome names a protocol that was not offered");
                Err(UplinkError::Protocol(format!("it chose protocol {}, which was not offered", welcome.protocol)))
            }
            Greeting::Welcome(welcome) => {
                let told = &self.options.told;
                let news = self.identity.heard(&welcome.addresses, welcome.now_ms, told, &self.clock)?;
                if let Some(news) = news {
                    self.persist(news).await?;
                }
                Ok((connection, welcome))
            }
        }
    }

    /// Serves the link until it ends.
    async fn keep(
        &mut self,
        connection: &Connection,
        events: &mpsc::Sender<UplinkEvent>,
        cancel: &CancellationToken,
        tasks: &mut JoinSet<Step>,
    ) -> String {
        let mut renewal = Some(self.renewal_due());
        loop {
            let due = async {
                match renewal {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let step = tokio::select! {
                () = cancel.cancelled() => {
                    close(connection, LEAVING, "the agent is shutting down");
                    return "this process ends".to_owned();
                }
                error = connection.closed() => return describe(&error),
                Ok((send, receive)) = connection.accept_bi() => {
                    tasks.spawn(answer(events.clone(), send, receive));
                    Step::Nothing
                }
                () = due => {
                    renewal = None;
                    match self.identity.key().request() {
                        Ok(csr) => drop(tasks.spawn(renew(connection.clone(), csr))),
                        Err(error) => tracing::error!(%error, "a certificate cannot be asked for"),
                    }
                    Step::Nothing
                }
                Some(step) = tasks.join_next() => step.unwrap_or(Step::Nothing),
            };
            match step {
                Step::Nothing => {}
                Step::Broken(why) => {
                    // Streams break with their connection, whose end says why.
                    if let Some(error) = connection.close_reason() {
                        return describe(&error);
                    }
                    close(connection, PROTOCOL, &why);
                    return why;
                }
                Step::Renewal(answer) => renewal = self.renewed(answer).await,
            }
        }
    }

    /// Takes the answer to a renewal over, and says when the next is due.
    async fn renewed(&mut self, answer: Result<EnrolReply, WireError>) -> Option<Instant> {
        let taken = match answer {
            Ok(EnrolReply::Issued(issued)) => self.take(issued).await.map_err(|error| error.to_string()),
            Ok(EnrolReply::Refused(fault)) => Err(fault.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let Err(error) = taken else {
            tracing::debug!("the certificate was renewed");
            return Some(self.renewal_due());
        };
        tracing::warn!(error, "the certificate could not be renewed");
        // Again after a quarter of what is left of it. Once nothing is left the parent ends the link, and the way to
        // another certificate is that of an expired one.
        let left = self.identity.enrolled()?.not_after_ms.saturating_sub(self.clock.now_ms());
        (left > 0).then(|| Instant::now() + Duration::from_millis(left / 4).max(RENEW_AGAIN))
    }

    async fn take(&mut self, issued: Issued) -> Result<(), UplinkError> {
        let update = self.identity.renewed(issued, &self.options.told, &self.clock)?;
        self.persist(update).await
    }

    fn renewal_due(&self) -> Instant {
        let at = self.identity.enrolled().map_or(0, |enrolled| enrolled.renew_ms());
        Instant::now() + Duration::from_millis(at.saturating_sub(self.clock.now_ms()))
    }
}

async fn open(connection: &Connection) -> Result<(SendStream, RecvStream), WireError> {
    connection.open_bi().await.map_err(|error| WireError::Lost(describe(&error)))
}

async fn greet(connection: &Connection, hello: &Hello) -> Result<Greeting, WireError> {
    let (mut send, mut receive) = open(connection).await?;
    wire::send(&mut send, hello).await?;
    let _ = send.finish();
    wire::receive(&mut receive, MAX_HELLO).await
}

/// Sends reports in their order, and tells the core how far the parent has them on disk.
async fn report(connection: Connection, mut queue: mpsc::Receiver<Report>, events: mpsc::Sender<UplinkEvent>) -> Step {
    let (mut send, mut receive) = match open(&connection).await {
        Ok(stream) => stream,
        Err(_) => return Step::Nothing,
    };
    // What has happened should be known above before long answers are read.
    let _ = send.set_priority(1);
    let outward = async {
        wire::send(&mut send, &Opening::Reports).await?;
        while let Some(report) = queue.recv().await {
            wire::send(&mut send, &report).await?;
        }
        // The core has no more to report on this link; it may still be told what has arrived.
        std::future::pending::<Result<(), WireError>>().await
    };
    let inward = async {
        loop {
            let Ack { upto } = wire::receive(&mut receive, MAX_FRAME_UNPROVEN).await?;
            if events.send(UplinkEvent::Acked(upto)).await.is_err() {
                return Ok(());
            }
        }
    };
    let result: Result<(), WireError> = tokio::select! {
        result = outward => result,
        result = inward => result,
    };
    match result {
        Err(error) => Step::Broken(format!("reports: {error}")),
        Ok(()) => Step::Nothing,
    }
}

/// Has the core answer a request of the parent.
async fn answer(events: mpsc::Sender<UplinkEvent>, mut send: SendStream, mut receive: RecvStream) -> Step {
    let request: Request = match wire::receive(&mut receive, MAX_FRAME).await {
        Ok(request) => request,
        Err(error) if error.is_foul() => return Step::Broken(format!("a request: {error}")),
        Err(_) => return Step::Nothing,
    };
    let (answer, answered) = oneshot::channel();
    if events.send(UplinkEvent::Request { request, answer }).await.is_err() {
        return Step::Nothing;
    }
    let reply = tokio::select! {
        reply = answered => reply,
        // The parent no longer wants to know.
        _ = send.stopped() => return Step::Nothing,
    };
    match reply {
        Ok(reply) => match wire::send(&mut send, &reply).await {
            Err(error @ WireError::Frame(_)) => {
                tracing::error!(%error, "an answer cannot be sent");
                let _ = send.reset(VarInt::from_u32(PROTOCOL));
            }
            Ok(()) => drop(send.finish()),
            Err(_) => {}
        },
        Err(_) => drop(send.reset(VarInt::from_u32(DONE))),
    }
    Step::Nothing
}

async fn renew(connection: Connection, csr: Vec<u8>) -> Step {
    let asked = async {
        let (mut send, mut receive) = open(&connection).await?;
        wire::send(&mut send, &Opening::Renew { csr }).await?;
        let _ = send.finish();
        wire::receive(&mut receive, 2 * MAX_FRAME_UNPROVEN).await
    };
    Step::Renewal(asked.await)
}
