//! Whether an endpoint answers: one `GET /health`, as anybody else would ask it.

use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;
use crate::trust::ca::HUB_NAME;
use crate::trust::clock::Clock;
use crate::trust::pin::CaPin;

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
const WELL: &[u8] = b"HTTP/1.1 200 ";

/// Asks the endpoint of the hub with this CA. How long that may take is for the caller to say.
pub async fn probe(address: SocketAddr, pin: CaPin) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let config = tls::https_client(pin, &Clock::system(), None).map_err(|error| told(&error))?;
    let name = ServerName::try_from(HUB_NAME).map_err(|error| told(&error))?;
    let stream = TcpStream::connect(address).await.map_err(|error| told(&error))?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| told(&error))?;
    stream.write_all(REQUEST).await.map_err(|error| told(&error))?;
    let mut head = [0; WELL.len()];
    stream.read_exact(&mut head).await.map_err(|error| told(&error))?;
    if head == WELL { Ok(()) } else { Err(String::from_utf8_lossy(&head).into_owned()) }
}
