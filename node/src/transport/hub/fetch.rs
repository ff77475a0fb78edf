//! What a child fetches through us: one stream each, answered by the same source as our own endpoint.

use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::{Fetch, Fetched};
use quinn::SendStream;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

use super::streams::Child;
use crate::source::{Asker, Found, Image, Program, nobody_answers};
use crate::transport::wire::{self, WireError};

/// How long an answer may take to be found: whoever asked has given up long before.
const FIND: Duration = Duration::from_secs(10);

/// How long the child may take for each piece of an answer.
const PIECE_LIMIT: Duration = Duration::from_secs(20);

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;

/// Answers one question.
pub(super) async fn answer(child: &Child, what: Fetch, mut send: SendStream) {
    let found = async {
        let Some(source) = child.hub.source.get() else { return Err(nobody_answers()) };
        let asker = Asker::Child(child.subject.path.clone());
        timeout(FIND, source.fetch(asker, what)).await.unwrap_or_else(|_| Err(nobody_answers()))
    };
    let found = tokio::select! {
        found = found => found,
        // The child no longer wants to know.
        _ = send.stopped() => return,
    };
    // Reports and acknowledgements go first.
    let _ = send.set_priority(-1);
    let sent = match found {
        Err(fault) => tell(&mut send, &Fetched::Refused(fault)).await,
        Ok(Found::Document(bytes)) => {
            let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            match tell(&mut send, &Fetched::Document { length }).await {
                Ok(()) => piece(&mut send, &bytes).await,
                Err(error) => Err(error),
            }
        }
        Ok(Found::Program(program)) => {
            let Program { length, sha256, bytes } = program;
            carry(&mut send, &Fetched::Program { length, sha256 }, length, bytes).await
        }
        Ok(Found::Image(image)) => {
            // Gigabytes: everything else goes first, orders and small answers too.
            let _ = send.set_priority(-2);
            let Image { file, length, sha256, from, bytes } = image;
            let head = Fetched::Image { file, length, sha256, from };
            carry(&mut send, &head, length.saturating_sub(from), bytes).await
        }
    };
    match sent {
        Ok(()) => drop(send.finish()),
        Err(error) => {
            tracing::debug!(path = %child.subject.path, %error, "an answer was not carried to its end");
            let _ = send.reset(quinn::VarInt::from_u32(crate::transport::close::LEAVING));
        }
    }
}

async fn tell(send: &mut SendStream, head: &Fetched) -> Result<(), WireError> {
    match wire::send(send, head).await {
        Err(WireError::Frame(error)) => {
            tracing::warn!(%error, "an answer does not fit into a frame");
            let short = Fault::new(Code::Internal, "the answer is too long to be carried");
            wire::send(send, &Fetched::Refused(short)).await
        }
        other => other,
    }
}

async fn carry(
    send: &mut SendStream,
    head: &Fetched,
    length: u64,
    mut bytes: impl AsyncRead + Unpin,
) -> Result<(), WireError> {
    tell(send, head).await?;
    let mut buffer = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let read = bytes.read(&mut buffer).await.map_err(|error| WireError::Lost(error.to_string()))?;
        let part = buffer.get(..read).filter(|part| !part.is_empty()).ok_or(WireError::Truncated)?;
        piece(send, part).await?;
        left = left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX)).ok_or(WireError::Truncated)?;
    }
    Ok(())
}

async fn piece(send: &mut SendStream, bytes: &[u8]) -> Result<(), WireError> {
    match timeout(PIECE_LIMIT, send.write_all(bytes)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(WireError::Lost("the child does not take it".into())),
    }
}
