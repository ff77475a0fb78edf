//! Bytes over TLS, as no well-behaved client sends them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::peer::Trusting;

/// The limit of one read.
const LIMIT: Duration = Duration::from_secs(30);

/// A connection over TLS that takes any certificate.
pub struct Raw(StreamOwned<ClientConnection, TcpStream>);

/// An answer: its status, and the code of its error, if it is one.
pub type Told = (u16, String);

impl Raw {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting::default()))
            .with_no_client_auth();
        let name = ServerName::try_from("hub.homestak.internal").expect("a name");
        let stream = TcpStream::connect(address).expect("the endpoint listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit can be set");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection can be made");
        Self(StreamOwned::new(connection, stream))
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        // Whoever has heard enough may have closed.
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
    }

    /// Sends bytes one by one, with a pause after each.
    pub fn drip(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(&[*byte]);
            thread::sleep(pause);
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // An end without a goodbye is one as well.
        let _ = self.0.read_to_end(&mut all);
        all
    }

    /// The next answer, with the connection kept.
    pub fn one(&mut self) -> Told {
        let mut all = Vec::new();
        let mut byte = [0];
        loop {
            if self.0.read(&mut byte).unwrap_or(0) == 0 {
                break;
            }
            all.push(byte[0]);
            if let Some(head) = all.windows(4).position(|end| end == b"\r\n\r\n") {
                let length = String::from_utf8_lossy(&all[..head]).to_lowercase();
                let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                if all.len() >= head + 4 + length.unwrap_or(0) {
                    break;
                }
            }
        }
        answers(&all).into_iter().next().unwrap_or_default()
    }
}

/// The answers in what came back, in order.
pub fn answers(bytes: &[u8]) -> Vec<Told> {
    let text = String::from_utf8_lossy(bytes);
    let mut found = Vec::new();
    for part in text.split("HTTP/1.").skip(1) {
        let status = part.get(2..5).and_then(|status| status.parse().ok());
        let code = part.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        found.extend(status.map(|status| (status, code.to_owned())));
    }
    found
}
