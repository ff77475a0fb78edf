//! Questions to the parent's endpoint, over the link that we have anyway: they get through wherever the link does.
//!
//! No task of its own: whoever asks opens a stream and waits for it, within [`HEAD`] for the first word and [`STALL`] for
//! each further piece.

use std::time::Duration;

use axum::body::Bytes;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::frame::MAX_FRAME_UNPROVEN;
use homestak_protocol::message::{Fetch, Fetched, Opening};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::source::{Found, Image, MAX_DOCUMENT, MAX_PROGRAM, Program, Stock, nobody_answers};
use crate::transport::wire::{self, WireError};

/// How long the parent may take for its first word: past this the subtree that we hold has to do.
const HEAD: Duration = Duration::from_secs(2);

/// How long it may take to say where an image begins: its parent may have to look for it first.
const IMAGE_HEAD: Duration = Duration::from_secs(12);

/// How long a document may take once it has begun to come: a megabyte at 1 Mbit/s.
const DOCUMENT: Duration = Duration::from_secs(8);

/// Asks the parent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    link: watch::Receiver<Option<Line>>,
}

/// A link, and the protocol that is spoken on it.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) protocol: u16,
}

impl Fetcher {
    pub(super) fn new(link: watch::Receiver<Option<Line>>) -> Self {
        Self { link }
    }

    /// Asks, and waits for the answer. [`Code::Unreachable`] where there is no link, or no answer in time.
    pub async fn fetch(&self, what: Fetch) -> Result<Found, Fault> {
        let Some(Line { connection, protocol }) = self.link.borrow().clone() else { return Err(nobody_answers()) };
        let limit = match Stock::asked(&what) {
            Some((stock, since)) if protocol < since => return Err(stock.absent()),
            Some(_) => IMAGE_HEAD,
            None => HEAD,
        };
        let asked = timeout(limit, ask(&connection, what)).await;
        let (mut receive, head) = match asked {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the parent does not answer a question");
                return Err(nobody_answers());
            }
            Err(_) => return Err(nobody_answers()),
        };
        match head {
            Fetched::Refused(fault) => Err(fault),
            Fetched::Document { length } if length <= MAX_DOCUMENT => {
                let limit = usize::try_from(length).unwrap_or(usize::MAX);
                let document = timeout(DOCUMENT, receive.read_to_end(limit)).await;
                match document {
                    Ok(Ok(bytes)) if bytes.len() == limit => Ok(Found::Document(Bytes::from(bytes))),
                    _ => Err(nobody_answers()),
                }
            }
            Fetched::Program { length, sha256 } if length <= MAX_PROGRAM => {
                Ok(Found::Program(Program { length, sha256, bytes: Box::new(receive) }))
            }
            Fetched::Image { file, length, sha256, from } => {
                Ok(Found::Image(Image { file, length, sha256, from, bytes: Box::new(receive) }))
            }
            Fetched::Document { length } | Fetched::Program { length, .. } => {
                let why = format!("the parent answers with {length} bytes, which is more than is carried");
                Err(Fault::new(Code::Internal, why))
            }
        }
    }
}

async fn ask(connection: &Connection, what: Fetch) -> Result<(RecvStream, Fetched), WireError> {
    let lost = |error: quinn::ConnectionError| WireError::Lost(error.to_string());
    let (mut send, mut receive): (SendStream, RecvStream) = connection.open_bi().await.map_err(lost)?;
    wire::send(&mut send, &Opening::Fetch(what)).await?;
    let _ = send.finish();
    let head = wire::receive(&mut receive, MAX_FRAME_UNPROVEN).await?;
    Ok((receive, head))
}
