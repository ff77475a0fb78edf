//! One child's link, from its Hello to its end.
//!
//! The task here owns the connection. It reads the core's commands, so it never waits for the core while a child is
//! joined; what does wait for it (the child's reports, a renewal) runs in tasks of its own, which end with the link. The
//! core hears of the end after the last report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Position;
use homestak_protocol::message::{Greeting, Hello, Reply, Welcome};
use homestak_protocol::version::SUPPORTED;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::refusals::What;
use super::requests;
use super::streams::{self, Child, Step};
use super::unproven::Seat;
use crate::link::{HubEvent, LinkCommand, LinkHandle, LinkId, MAILBOX};
use crate::transport::close::{DONE, EXPIRED, LEAVING, PROTOCOL, REFUSED, close, describe};
use crate::transport::limits::{MAX_HELLO, MAX_REQUESTS};
use crate::transport::wire::{self, WireError};
use crate::trust::subject::Subject;

/// Serves a link from the first byte to the last.
pub(super) async fn serve(
    hub: Arc<Shared>,
    connection: Connection,
    address: SocketAddr,
    seat: Seat,
    cancel: CancellationToken,
) {
    let subject = match subject(&connection) {
        Ok(subject) => subject,
        Err(why) => {
            hub.refused(address, &why);
            return close(&connection, REFUSED, &why);
        }
    };
    // Its certificate has proved who it is.
    drop(seat);
    let path = subject.path.clone();
    let warn = |why: &str| hub.refusals.note(What::Link, address, Some(&path), why);
    let (mut stream, hello) = match timeout(hub.timing.handshake, listen(&connection)).await {
        Ok(Ok(heard)) => heard,
        // It has reached us by another of our addresses first.
        Ok(Err(WireError::Lost(_))) if left_quietly(&connection) => return,
        Ok(Err(error)) => {
            warn(&format!("its hello: {error}"));
            return close(&connection, PROTOCOL, &error.to_string());
        }
        Err(_) => {
            warn("its hello did not come in time");
            return close(&connection, PROTOCOL, "no hello in time");
        }
    };
    let joined = match check(&subject, &hello) {
        Ok(protocol) => join(&hub, &subject, address, protocol, hello).await,
        Err(fault) => Joined::Refused(fault),
    };
    let (commands, id, greeting) = match joined {
        Joined::Refused(fault) => {
            warn(&fault.to_string());
            let reason = fault.to_string();
            let _ = timeout(hub.timing.handshake, greet(&mut stream, &Greeting::Refused(fault), true)).await;
            return close(&connection, REFUSED, &reason);
        }
        Joined::Undecided(id, fault) => {
            warn(&fault.to_string());
            close(&connection, LEAVING, &fault.to_string());
            return left(&hub, &subject, id, fault.to_string()).await;
        }
        Joined::Welcome { id, commands, protocol, seen } => {
            let welcome = Welcome {
                protocol,
                software: hub.software.clone(),
                seen,
                now_ms: hub.ca.clock().now_ms(),
                addresses: hub.addresses.tell(&path, hub.bound, connection.local_ip(), address.ip()),
            };
            (commands, id, Greeting::Welcome(welcome))
        }
    };
    let reason = match timeout(hub.timing.handshake, greet(&mut stream, &greeting, false)).await {
        Ok(Ok(())) => {
            tracing::info!(%address, %path, link = id.0, "a child has joined");
            let child =
                Child { hub: hub.clone(), subject: subject.clone(), address, link: id, met: connection.local_ip() };
            Running::new(child, connection, commands).run(cancel).await
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the welcome could not be delivered in time".to_owned(),
    };
    tracing::info!(%address, %path, link = id.0, reason, "a child's link is gone");
    left(&hub, &subject, id, reason).await;
}

/// Who the peer is by its certificate, which the handshake has verified.
fn subject(connection: &Connection) -> Result<Subject, String> {
    let shown = connection.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let certificate = shown.and_then(|chain| chain.into_iter().next()).ok_or("it shows no certificate")?;
    Subject::read(&certificate).map_err(|error| error.to_string())
}

fn left_quietly(connection: &Connection) -> bool {
    let done = VarInt::from_u32(DONE);
    matches!(connection.close_reason(), Some(ConnectionError::ApplicationClosed(end)) if end.error_code == done)
}

async fn listen(connection: &Connection) -> Result<(SendStream, Hello), WireError> {
    let lost = |error: ConnectionError| WireError::Lost(describe(&error));
    let (send, mut receive) = connection.accept_bi().await.map_err(lost)?;
    Ok((send, wire::receive(&mut receive, MAX_HELLO).await?))
}

/// Writes the greeting; where nothing follows it, waits until the peer has it.
async fn greet(stream: &mut SendStream, greeting: &Greeting, last: bool) -> Result<(), WireError> {
    wire::send(stream, greeting).await?;
    let _ = stream.finish();
    if last {
        let _ = stream.stopped().await;
    }
    Ok(())
}

/// The protocol that both speak, if the child is who its certificate says.
fn check(subject: &Subject, hello: &Hello) -> Result<u16, Fault> {
    if hello.path != subject.path {
        let why = format!("its certificate is for {}, its hello for {}", subject.path, hello.path);
        return Err(Fault::new(Code::Identity, why).at(&subject.path));
    }
    if hello.incarnation != subject.incarnation {
        let why = "its certificate is for another life of its machine than its hello";
        return Err(Fault::new(Code::Identity, why).at(&subject.path));
    }
    hello.versions.common(SUPPORTED).ok_or_else(|| {
        let (theirs, ours) = (hello.versions, SUPPORTED);
        let why = format!(
            "it speaks protocol {} to {}, its parent {} to {}",
            theirs.lowest, theirs.highest, ours.lowest, ours.highest
        );
        Fault::new(Code::Version, why).at(&subject.path).hint("bring agent and parent to versions that overlap")
    })
}

enum Joined {
    Refused(Fault),
    /// The core may yet come to think that the child has joined: it must hear that it has left.
    Undecided(LinkId, Fault),
    Welcome {
        id: LinkId,
        commands: mpsc::Receiver<LinkCommand>,
        protocol: u16,
        seen: Position,
    },
}

/// Asks the core whether the child may join.
async fn join(hub: &Shared, subject: &Subject, address: SocketAddr, protocol: u16, hello: Hello) -> Joined {
    let (sender, commands) = mpsc::channel(MAILBOX);
    let id = hub.next_link();
    let link = LinkHandle { id, commands: sender };
    let (answer, answered) = oneshot::channel();
    let event = HubEvent::Join { key: subject.key, address, protocol, hello: Box::new(hello), link, answer };
    let asked = async {
        hub.events.send(event).await.map_err(|_| None)?;
        answered.await.map_err(|_| None)?.map_err(Some)
    };
    match timeout(hub.timing.decision, asked).await {
        Ok(Ok(seen)) => Joined::Welcome { id, commands, protocol, seen },
        Ok(Err(Some(fault))) => Joined::Refused(fault),
        Ok(Err(None)) => Joined::Undecided(id, super::leaving()),
        Err(_) => Joined::Undecided(id, Fault::new(Code::Timeout, "the parent is too busy to answer")),
    }
}

/// Tells the core that a link is gone.
async fn left(hub: &Shared, subject: &Subject, link: LinkId, reason: String) {
    // If the core is gone as well, nobody needs to know.
    let _ = hub.events.send(HubEvent::Left { path: subject.path.clone(), link, reason }).await;
}

/// A joined child's link.
struct Running {
    child: Arc<Child>,
    connection: Connection,
    commands: mpsc::Receiver<LinkCommand>,
    acks: watch::Sender<Position>,
    not_after_ms: u64,
    streams: JoinSet<Step>,
    requests: JoinSet<Result<(), WireError>>,
    reporting: bool,
}

impl Running {
    fn new(child: Child, connection: Connection, commands: mpsc::Receiver<LinkCommand>) -> Self {
        Self {
            not_after_ms: child.subject.not_after_ms,
            child: Arc::new(child),
            connection,
            commands,
            acks: watch::Sender::new(Position::default()),
            streams: JoinSet::new(),
            requests: JoinSet::new(),
            reporting: false,
        }
    }

    /// Serves until the link ends, and says why it did.
    async fn run(mut self, cancel: CancellationToken) -> String {
        let reason = loop {
            let expiry = self.expiry();
            let next = tokio::select! {
                () = cancel.cancelled() => Err((LEAVING, "the parent is shutting down".to_owned())),
                error = self.connection.closed() => break describe(&error),
                command = self.commands.recv() => self.command(command),
                stream = self.connection.accept_bi() => self.stream(stream),
                Some(step) = self.streams.join_next() => self.step(step),
                Some(done) = self.requests.join_next() => match done {
                    Ok(Err(error)) => Err((PROTOCOL, format!("its answer to a request: {error}"))),
                    _ => Ok(()),
                },
                () = sleep_until(expiry) => Err((EXPIRED, "its certificate has ended".to_owned())),
            };
            if let Err((code, reason)) = next {
                close(&self.connection, code, &reason);
                break reason;
            }
        };
        // Commands are refused from here on, and whoever waits for an answer learns that there will be none.
        self.commands.close();
        self.requests.shutdown().await;
        self.streams.shutdown().await;
        reason
    }

    /// When the certificate ends, and a little later.
    fn expiry(&self) -> Instant {
        let left = self.not_after_ms.saturating_sub(self.child.hub.ca.clock().now_ms());
        Instant::now() + Duration::from_millis(left) + self.child.hub.timing.expiry_leeway
    }

    fn command(&mut self, command: Option<LinkCommand>) -> Result<(), (u32, String)> {
        match command {
            Some(LinkCommand::Request(request, reply)) if self.requests.len() < MAX_REQUESTS => {
                self.requests.spawn(requests::perform(self.connection.clone(), request, reply));
                Ok(())
            }
            Some(LinkCommand::Request(_, reply)) => {
                let why = format!("{MAX_REQUESTS} requests to this agent have no answer yet");
                let _ = reply.send(Reply::Refused(Fault::new(Code::Full, why).at(&self.child.subject.path)));
                Ok(())
            }
            Some(LinkCommand::Ack(upto)) => {
                self.acks.send_if_modified(|acked| upto > std::mem::replace(acked, upto.max(*acked)));
                Ok(())
            }
            Some(LinkCommand::Close(fault)) => Err((REFUSED, fault.to_string())),
            None => Err((LEAVING, "the parent has no more to say".to_owned())),
        }
    }

    fn stream(&mut self, opened: Result<(SendStream, RecvStream), ConnectionError>) -> Result<(), (u32, String)> {
        // An error comes with the end of the connection, which is noticed on its own.
        if let Ok((send, receive)) = opened {
            self.streams.spawn(streams::opening(self.child.clone(), send, receive));
        }
        Ok(())
    }

    fn step(&mut self, step: Result<Step, tokio::task::JoinError>) -> Result<(), (u32, String)> {
        match step {
            Ok(Step::Reports(..)) if self.reporting => Err((PROTOCOL, "it opens a second stream of reports".into())),
            Ok(Step::Reports(send, receive)) => {
                self.reporting = true;
                self.streams.spawn(streams::reports(self.child.clone(), send, receive, self.acks.subscribe()));
                Ok(())
            }
            Ok(Step::Renewed(not_after_ms)) => {
                self.not_after_ms = not_after_ms;
                Ok(())
            }
            Ok(Step::ReportsEnded) => {
                self.reporting = false;
                Ok(())
            }
            Ok(Step::Foul(why)) => Err((PROTOCOL, why)),
            Ok(Step::Nothing) | Err(_) => Ok(()),
        }
    }
}
