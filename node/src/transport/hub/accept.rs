//! Takes connections in, as many as there is room for, and finds out what each is for.

use std::net::SocketAddr;
use std::sync::Arc;

use homestak_protocol::version::{ALPN_ENROL, ALPN_LINK};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Endpoint, Incoming, VarInt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::unproven::Seat;
use super::{Shared, enrol, link};
use crate::transport::close::{DONE, LEAVING, describe};

/// Accepts until it is cancelled, then ends what is left.
pub(super) async fn run(endpoint: Endpoint, hub: Arc<Shared>, tasks: TaskTracker, cancel: CancellationToken) {
    loop {
        let incoming = tokio::select! {
            () = cancel.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        let address = incoming.remote_address();
        match hub.unproven.enter(address.ip()) {
            Err(why) => {
                refused(address, why);
                incoming.refuse();
            }
            Ok(_) if hub.unproven.is_crowded() && incoming.may_retry() => {
                // It says no only to those that may not, which was asked.
                let _ = incoming.retry();
            }
            Ok(seat) => {
                tasks.spawn(connection(hub.clone(), incoming, seat, cancel.clone()));
            }
        }
    }
    endpoint.close(VarInt::from_u32(LEAVING), b"the parent is shutting down");
    let _ = timeout(hub.timing.farewell, endpoint.wait_idle()).await;
}

async fn connection(hub: Arc<Shared>, incoming: Incoming, seat: Seat, cancel: CancellationToken) {
    let address = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return refused(address, &describe(&error)),
    };
    let connection = match timeout(hub.timing.handshake, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(ConnectionError::ApplicationClosed(end))) if end.error_code == VarInt::from_u32(DONE) => return,
        Ok(Err(error)) => return refused(address, &describe(&error)),
        Err(_) => return refused(address, "its handshake was not complete in time"),
    };
    match protocol(&connection).as_deref() {
        Some(ALPN_LINK) => link::serve(hub, connection, address, seat, cancel).await,
        Some(ALPN_ENROL) => enrol::serve(hub, connection, address, seat).await,
        _ => refused(address, "it speaks no protocol of ours"),
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// Says in the log who was turned away at the door, and why.
pub(super) fn refused(address: SocketAddr, why: &str) {
    tracing::warn!(%address, why, "a connection is refused");
}
