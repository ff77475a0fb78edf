//! Messages on QUIC streams.

use homestak_protocol::frame::{self, FrameError, HEADER};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::READ_AHEAD;

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The peer has sent what is no message, or is too large for one.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream ended within a message.
    #[error("the stream ends within a message")]
    Truncated,
    /// The stream ended where a message was due.
    #[error("the stream ends where a message is due")]
    Missing,
    /// The stream or its connection is lost.
    #[error("the stream is lost: {0}")]
    Lost(String),
}

impl WireError {
    /// Whether the peer is to blame, and not the network.
    pub(super) fn is_foul(&self) -> bool {
        !matches!(self, WireError::Lost(_))
    }
}

impl From<WriteError> for WireError {
    fn from(error: WriteError) -> Self {
        WireError::Lost(error.to_string())
    }
}

/// Writes one message.
pub(super) async fn send<T: Serialize>(stream: &mut SendStream, message: &T) -> Result<(), WireError> {
    let frame = frame::seal(message)?;
    Ok(stream.write_all(&frame).await?)
}

/// Reads one message of at most `limit` bytes; none if the stream ends before it.
pub(super) async fn receive_or_end<T: DeserializeOwned>(
    stream: &mut RecvStream,
    limit: usize,
) -> Result<Option<T>, WireError> {
    let mut header = [0; HEADER];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(WireError::Truncated),
        Err(ReadExactError::ReadError(error)) => return Err(WireError::Lost(error.to_string())),
    }
    let length = frame::body_length(header, limit)?;
    let mut body = Vec::with_capacity(length.min(READ_AHEAD));
    while body.len() < length {
        let chunk = stream.read_chunk(length - body.len(), true).await;
        match chunk.map_err(|error| WireError::Lost(error.to_string()))? {
            Some(chunk) => body.extend_from_slice(&chunk.bytes),
            None => return Err(WireError::Truncated),
        }
    }
    Ok(Some(frame::open(&body)?))
}

/// Reads one message of at most `limit` bytes.
pub(super) async fn receive<T: DeserializeOwned>(stream: &mut RecvStream, limit: usize) -> Result<T, WireError> {
    receive_or_end(stream, limit).await?.ok_or(WireError::Missing)
}
