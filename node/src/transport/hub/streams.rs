//! The streams that a joined child opens: its reports, renewals of its certificate, and what it fetches ([`fetch`]).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::frame::{MAX_FRAME, MAX_FRAME_UNPROVEN};
use homestak_protocol::ids::Position;
use homestak_protocol::message::{Ack, EnrolReply, Issued, Opening, Report};
use quinn::{RecvStream, SendStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Shared;
use super::enrol::renewal;
use super::fetch;
use super::refusals::What;
use crate::link::{HubEvent, LinkId};
use crate::transport::wire::{self, WireError};
use crate::trust::ca::Request;
use crate::trust::subject::Subject;

/// A joined child.
pub(super) struct Child {
    pub(super) hub: Arc<Shared>,
    pub(super) subject: Subject,
    pub(super) address: SocketAddr,
    pub(super) link: LinkId,
    /// Our address that it has reached us by.
    pub(super) met: Option<IpAddr>,
}

/// What became of a stream.
pub(super) enum Step {
    /// It is for reports.
    Reports(SendStream, RecvStream),
    /// Its reports have ended.
    ReportsEnded,
    /// The child has another certificate, which ends then.
    Renewed(u64),
    /// The child has sent what it must not.
    Foul(String),
    /// It is over.
    Nothing,
}

/// Finds out what a stream is for; a renewal is served at once.
pub(super) async fn opening(child: Arc<Child>, mut send: SendStream, mut receive: RecvStream) -> Step {
    let opening = wire::receive(&mut receive, MAX_FRAME_UNPROVEN);
    match timeout(child.hub.timing.handshake, opening).await {
        Ok(Ok(Opening::Reports)) => {
            // Acknowledgements let the child forget; they go before requests.
            let _ = send.set_priority(1);
            Step::Reports(send, receive)
        }
        Ok(Ok(Opening::Renew { csr })) => renew(&child, &csr, &mut send).await,
        Ok(Ok(Opening::Fetch(what))) => {
            fetch::answer(&child, what, send).await;
            Step::Nothing
        }
        Ok(Err(error)) => foul("a stream's opening", &error),
        Err(_) => Step::Foul("a stream's opening did not come in time".into()),
    }
}

fn foul(what: &str, error: &WireError) -> Step {
    if error.is_foul() { Step::Foul(format!("{what}: {error}")) } else { Step::Nothing }
}

async fn renew(child: &Child, csr: &[u8], send: &mut SendStream) -> Step {
    let path = &child.subject.path;
    let (reply, step) = match grant(child, csr).await {
        Ok(issued) => {
            tracing::debug!(address = %child.address, %path, "a certificate was renewed");
            let step = Step::Renewed(issued.not_after_ms);
            (EnrolReply::Issued(issued), step)
        }
        Err(fault) => {
            child.hub.refusals.note(What::Renewal, child.address, Some(path), &fault.to_string());
            (EnrolReply::Refused(fault), Step::Nothing)
        }
    };
    // If the answer is lost with the link, the child asks again on the next.
    if wire::send(send, &reply).await.is_ok() {
        let _ = send.finish();
    }
    step
}

async fn grant(child: &Child, csr: &[u8]) -> Result<Issued, Fault> {
    let path = &child.subject.path;
    let request = Request::read(csr).map_err(|error| Fault::new(Code::Protocol, error.to_string()).at(path))?;
    if request.key() != child.subject.key {
        return Err(Fault::new(Code::Identity, "a renewal is for the key that the link was made with").at(path));
    }
    let grant = renewal(&child.hub, path, &request, child.address).await?;
    let told = child.hub.addresses.tell(path, child.hub.bound, child.met, child.address.ip());
    child.hub.issue(&request, &grant, told)
}

/// Hands reports to the core as fast as it takes them, and acknowledgements back.
pub(super) async fn reports(
    child: Arc<Child>,
    mut send: SendStream,
    mut receive: RecvStream,
    mut acks: watch::Receiver<Position>,
) -> Step {
    let inward = async {
        loop {
            let report: Report = match wire::receive_or_end(&mut receive, MAX_FRAME).await {
                Ok(Some(report)) => report,
                Ok(None) => return Step::ReportsEnded,
                Err(error) if error.is_foul() => return Step::Foul(format!("a report: {error}")),
                Err(_) => return Step::ReportsEnded,
            };
            let event = HubEvent::Report { path: child.subject.path.clone(), link: child.link, report };
            if child.hub.events.send(event).await.is_err() {
                return Step::Nothing;
            }
        }
    };
    // One that came before this stream counts as well.
    acks.mark_changed();
    let outward = async {
        while acks.changed().await.is_ok() {
            let upto = *acks.borrow_and_update();
            if upto > Position::default() && wire::send(&mut send, &Ack { upto }).await.is_err() {
                break;
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        step = inward => step,
        step = outward => step,
    }
}
