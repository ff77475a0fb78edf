//! QUIC as both sides use it: windows, streams, keep-alive, sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::net::sockopt;

use super::limits::{CONNECTION_WINDOW, MAX_STREAMS_DOWN, MAX_STREAMS_UP, MAX_UNPROVEN, STREAM_WINDOW, Timing};
use crate::trust::TrustError;

/// First packets of connections that wait to be looked at, in bytes: a ClientHello with room to spare.
const INCOMING_BUFFER: u64 = 16 * 1024;

/// Bytes of a hub's socket buffer: a first packet of each of some 1,000 children, at 2.3 KiB as Linux counts them. Only
/// what waits is really used.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Bytes of a connection id, as many as quinn's own have.
const CONNECTION_ID: usize = 8;

fn transport(timing: &Timing, streams: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(IdleTimeout::try_from(timing.idle).ok());
    config
}

/// For a hub.
pub(super) fn server(tls: rustls::ServerConfig, timing: &Timing) -> Result<ServerConfig, TrustError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TrustError::Refused(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(timing, MAX_STREAMS_UP)))
        .max_incoming(MAX_UNPROVEN)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * u64::try_from(MAX_UNPROVEN).unwrap_or(u64::MAX));
    Ok(config)
}

/// For an uplink. The child keeps the link alive, so that its own silence is what its parent notices.
pub(super) fn client(tls: rustls::ClientConfig, timing: &Timing) -> Result<ClientConfig, TrustError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| TrustError::Refused(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(timing, MAX_STREAMS_DOWN);
    transport.keep_alive_interval(Some(timing.keep_alive));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A hub's endpoint on this socket.
///
/// `lasting` is the same in every process of one hub: with it, one that was killed and runs again tells its children by
/// stateless resets (RFC 9000, 10.3) that their connections are gone, so that they need not wait for the idle timeout.
pub(super) fn listener(socket: UdpSocket, server: ServerConfig, lasting: &[u8; 32]) -> io::Result<Endpoint> {
    make_room(&socket);
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, lasting)));
    config.cid_generator(|| Box::new(AnyId));
    Endpoint::new(config, Some(server), socket, Arc::new(TokioRuntime))
}

/// Asks for room for first packets. What the system allows without asking (net.core.rmem_default, 208 KiB) holds some
/// ninety of them: if more children come at once than that, the rest are lost and come again a second later. Past
/// net.core.rmem_max one must be root; then the most that is allowed is taken.
fn make_room(socket: &UdpSocket) {
    let most = sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER);
    if let Err(error) = most.or_else(|_| sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER)) {
        tracing::debug!(%error, "the hub's socket keeps its buffer");
    }
}

/// Connection ids that any process of a hub takes for its hub's: quinn's own are marked by the process that made them, and
/// packets with others' are not answered. There is a limit on how many resets quinn sends a second.
struct AnyId;

impl ConnectionIdGenerator for AnyId {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID];
        // Without chance there is no handshake either.
        let _ = SystemRandom::new().fill(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// An endpoint that only dials, from this address.
pub(super) fn dialler(from: SocketAddr) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), None, UdpSocket::bind(from)?, Arc::new(TokioRuntime))
}
