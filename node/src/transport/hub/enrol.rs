//! First contact, and the renewal of a certificate that has ended: one question, one answer.
//!
//! The peer is a stranger until the answer: it gets little room and little time.

use std::net::SocketAddr;
use std::sync::Arc;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::frame::MAX_FRAME_UNPROVEN;
use homestak_protocol::message::{EnrolReply, EnrolRequest, Issued};
use homestak_protocol::path::NodePath;
use quinn::{Connection, SendStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Shared;
use super::refusals::What;
use super::unproven::Seat;
use crate::link::{Grant, HubEvent};
use crate::transport::close::{DONE, PROTOCOL, close};
use crate::transport::wire::{self, WireError};
use crate::trust::TrustError;
use crate::trust::ca::Request;

pub(super) async fn serve(hub: Arc<Shared>, connection: Connection, address: SocketAddr, seat: Seat) {
    let (mut stream, question) = match timeout(hub.timing.handshake, listen(&connection)).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => {
            hub.refused(address, &format!("its request to enrol: {error}"));
            return close(&connection, PROTOCOL, &error.to_string());
        }
        Err(_) => {
            hub.refused(address, "its request to enrol did not come in time");
            return close(&connection, PROTOCOL, "no request in time");
        }
    };
    let met = connection.local_ip();
    let tell = |path: &NodePath| hub.addresses.tell(path, hub.bound, met, address.ip());
    let reply = match decide(&hub, question, address, tell).await {
        Ok(issued) => {
            tracing::info!(%address, path = %issued.path, "a certificate was issued");
            EnrolReply::Issued(issued)
        }
        Err((path, fault)) => {
            hub.refusals.note(What::Enrolment, address, path.as_ref(), &fault.to_string());
            EnrolReply::Refused(fault)
        }
    };
    let _ = timeout(hub.timing.handshake, answer(&mut stream, &reply)).await;
    close(&connection, DONE, "");
    drop(seat);
}

async fn listen(connection: &Connection) -> Result<(SendStream, EnrolRequest), WireError> {
    let lost = |error: quinn::ConnectionError| WireError::Lost(error.to_string());
    let (send, mut receive) = connection.accept_bi().await.map_err(lost)?;
    Ok((send, wire::receive(&mut receive, MAX_FRAME_UNPROVEN).await?))
}

/// Writes the answer and waits until the peer has it.
async fn answer(stream: &mut SendStream, reply: &EnrolReply) -> Result<(), WireError> {
    wire::send(stream, reply).await?;
    let _ = stream.finish();
    let _ = stream.stopped().await;
    Ok(())
}

/// Asks the core and signs. A refusal names the path, where the peer has named one.
async fn decide(
    hub: &Shared,
    question: EnrolRequest,
    address: SocketAddr,
    tell: impl Fn(&NodePath) -> Vec<String>,
) -> Result<Issued, (Option<NodePath>, Fault)> {
    let foul = |error: TrustError| Fault::new(Code::Protocol, error.to_string());
    let (granted, path, request) = match question {
        EnrolRequest::First { token, csr } => {
            let request = Request::read(&csr).map_err(|error| (None, foul(error)))?;
            let (answer, answered) = oneshot::channel();
            let event = HubEvent::Enrol { token, key: request.key(), address, answer };
            (hub.ask(event, answered).await, None, request)
        }
        EnrolRequest::Renew { path, csr } => {
            let request = Request::read(&csr).map_err(|error| (Some(path.clone()), foul(error)))?;
            (renewal(hub, &path, &request, address).await, Some(path), request)
        }
    };
    let refused = |fault: Fault| (fault.node.clone().or(path), fault);
    let signed = granted.and_then(|grant| hub.issue(&request, &grant, tell(&grant.path)));
    signed.map_err(refused)
}

/// Asks the core for another certificate of the same key and place.
pub(super) async fn renewal(
    hub: &Shared,
    path: &NodePath,
    request: &Request,
    address: SocketAddr,
) -> Result<Grant, Fault> {
    let (answer, answered) = oneshot::channel();
    let event = HubEvent::Renew { path: path.clone(), key: request.key(), address, answer };
    let grant = hub.ask(event, answered).await?;
    if grant.path == *path {
        Ok(grant)
    } else {
        Err(Fault::new(Code::Identity, "the key belongs to another place").at(path))
    }
}
