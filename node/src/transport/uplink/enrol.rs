//! Gets a certificate: by the token at first contact, by the key when the old one has ended.
//!
//! The token leaves this process only after the handshake has shown that it is our parent who listens.

use homestak_protocol::frame::MAX_FRAME_UNPROVEN;
use homestak_protocol::message::{EnrolReply, EnrolRequest};
use tokio::time::timeout;

use super::dial::lost;
use super::{Uplink, UplinkError};
use crate::tls;
use crate::transport::close::{DONE, close, describe};
use crate::transport::quic;
use crate::transport::wire::{self, WireError};

/// The largest answer: a certificate, and up to 64 addresses with names of DNS length.
const MAX_REPLY: usize = 2 * MAX_FRAME_UNPROVEN;

impl Uplink {
    pub(super) async fn first_contact(&mut self) -> Result<(), UplinkError> {
        let token = self.options.told.token.clone().ok_or(UplinkError::NoToken)?;
        let csr = self.identity.key().request()?;
        self.exchange(EnrolRequest::First { token, csr }).await
    }

    pub(super) async fn renew_expired(&mut self) -> Result<(), UplinkError> {
        let path = self.identity.enrolled().ok_or(UplinkError::NoToken)?.path.clone();
        let csr = self.identity.key().request()?;
        self.exchange(EnrolRequest::Renew { path, csr }).await
    }

    async fn exchange(&mut self, question: EnrolRequest) -> Result<(), UplinkError> {
        let tls = tls::enrol(self.options.told.ca)?;
        let config = quic::client(tls, &self.options.timing)?;
        let targets = self.targets();
        let connection = self.dialler.dial(&targets, config).await?;
        let limit = self.options.timing.handshake + self.options.timing.decision;
        let reply = match timeout(limit, ask(&connection, &question)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => return Err(lost(&connection, error.to_string())),
            Err(_) => return Err(UplinkError::Lost("no answer in time".into())),
        };
        close(&connection, DONE, "");
        match reply {
            EnrolReply::Issued(issued) => {
                let update = self.identity.renewed(issued, &self.options.told, &self.clock)?;
                self.persist(update).await?;
                let path = self.identity.enrolled().map(|enrolled| tracing::field::display(&enrolled.path));
                tracing::info!(path, "the parent has issued a certificate");
                Ok(())
            }
            EnrolReply::Refused(fault) => Err(UplinkError::Refused(fault)),
        }
    }
}

async fn ask(connection: &quinn::Connection, question: &EnrolRequest) -> Result<EnrolReply, WireError> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| WireError::Lost(describe(&error)))?;
    wire::send(&mut send, question).await?;
    let _ = send.finish();
    wire::receive(&mut receive, MAX_REPLY).await
}
