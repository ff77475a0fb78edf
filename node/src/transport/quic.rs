//! QUIC as both sides use it: windows, streams, keep-alive, sockets.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt};

use super::limits::{CONNECTION_WINDOW, MAX_STREAMS_DOWN, MAX_STREAMS_UP, MAX_UNPROVEN, STREAM_WINDOW, Timing};
use crate::trust::TrustError;

/// First packets of connections that wait to be looked at, in bytes: a ClientHello with room to spare.
const INCOMING_BUFFER: u64 = 16 * 1024;

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

/// An endpoint on this socket.
pub(super) fn endpoint(socket: UdpSocket, server: Option<ServerConfig>) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))
}

/// An endpoint that only dials, from this address.
pub(super) fn dialler(from: SocketAddr) -> io::Result<Endpoint> {
    endpoint(UdpSocket::bind(from)?, None)
}
