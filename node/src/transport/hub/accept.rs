//! Takes connections in, as many as there is room for, and finds out what each is for.

use std::sync::Arc;

use homestak_protocol::version::{ALPN_ENROL, ALPN_LINK};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, Endpoint, Incoming, VarInt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::door::{Door, Place};
use super::unproven::Seat;
use super::{Shared, enrol, link};
use crate::transport::close::{DONE, LEAVING, describe};

/// Accepts until it is cancelled, then ends what is left.
pub(super) async fn run(endpoint: Endpoint, hub: Arc<Shared>, tasks: TaskTracker, cancel: CancellationToken) {
    let mut door = Door::new();
    let telling = hub.refusals.tell();
    tokio::pin!(telling);
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => admit(&hub, &mut door, incoming),
                None => break,
            },
            (incoming, seat, place) = door.next() => {
                tasks.spawn(connection(hub.clone(), incoming, seat, place, cancel.clone()));
            }
            () = &mut telling => {}
        }
    }
    endpoint.close(VarInt::from_u32(LEAVING), b"the parent is shutting down");
    hub.refusals.close();
    let _ = timeout(hub.timing.farewell, endpoint.wait_idle()).await;
}

/// Lets somebody queue, sends them back to prove their address first, or turns them away.
fn admit(hub: &Shared, door: &mut Door, incoming: Incoming) {
    let address = incoming.remote_address();
    hub.callers.note(address.ip());
    let enter = || hub.unproven.enter(address.ip());
    match enter().or_else(|why| if door.make_way() { enter() } else { Err(why) }) {
        Err(why) => {
            hub.refused(address, why);
            incoming.refuse();
        }
        Ok(_) if (door.is_crowded() || hub.unproven.is_crowded()) && incoming.may_retry() => {
            // It says no only to those that may not, which was asked.
            let _ = incoming.retry();
        }
        Ok(seat) => door.queue(incoming, seat),
    }
}

async fn connection(hub: Arc<Shared>, incoming: Incoming, seat: Seat, place: Place, cancel: CancellationToken) {
    let address = incoming.remote_address();
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return hub.refused(address, &describe(&error)),
    };
    let connection = match timeout(hub.timing.handshake, place.during(connecting)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(ConnectionError::ApplicationClosed(end))) if end.error_code == VarInt::from_u32(DONE) => return,
        Ok(Err(error)) => return hub.refused(address, &describe(&error)),
        Err(_) => return hub.refused(address, "its handshake was not complete in time"),
    };
    match protocol(&connection).as_deref() {
        Some(ALPN_LINK) => link::serve(hub, connection, address, seat, cancel).await,
        Some(ALPN_ENROL) => enrol::serve(hub, connection, address, seat).await,
        _ => hub.refused(address, "it speaks no protocol of ours"),
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}
