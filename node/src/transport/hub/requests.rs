//! Requests of the core to a child: a stream each.

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::frame::MAX_FRAME;
use homestak_protocol::message::{Reply, Request};
use quinn::Connection;
use tokio::sync::oneshot;

use crate::transport::wire::{self, WireError};

/// Asks, and hands the answer over. Where the link is lost or the core no longer wants to know, there is none.
///
/// The error is the child's fault; the link should not go on.
pub(super) async fn perform(
    connection: Connection,
    request: Request,
    mut reply: oneshot::Sender<Reply>,
) -> Result<(), WireError> {
    let answer = tokio::select! {
        () = reply.closed() => return Ok(()),
        answer = ask(&connection, &request) => answer,
    };
    match answer {
        Ok(answer) => {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(answer);
            Ok(())
        }
        Err(Asked::Unsendable(error)) => {
            let mut fault = Fault::new(Code::Full, format!("the request cannot be sent: {error}"));
            fault.retryable = false;
            let _ = reply.send(Reply::Refused(fault));
            Ok(())
        }
        Err(Asked::Unanswered(error)) if error.is_foul() => Err(error),
        Err(Asked::Unanswered(_)) => Ok(()),
    }
}

enum Asked {
    Unsendable(WireError),
    Unanswered(WireError),
}

async fn ask(connection: &Connection, request: &Request) -> Result<Reply, Asked> {
    let lost = |error: quinn::ConnectionError| Asked::Unanswered(WireError::Lost(error.to_string()));
    let (mut send, mut receive) = connection.open_bi().await.map_err(lost)?;
    match wire::send(&mut send, request).await {
        Ok(()) => {}
        Err(error @ WireError::Frame(_)) => return Err(Asked::Unsendable(error)),
        Err(error) => return Err(Asked::Unanswered(error)),
    }
    let _ = send.finish();
    wire::receive(&mut receive, MAX_FRAME).await.map_err(Asked::Unanswered)
}
