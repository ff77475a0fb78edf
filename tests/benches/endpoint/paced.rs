//! Requests at a fixed pace over connections that are kept. Each is due at a time of its own; one that has to wait for the
//! answer to another has waited.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use homestak_tests::peer::Trusting;
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

use super::server::Server;

/// Connections.
const CONNECTIONS: u32 = 64;

/// How long answers took.
pub(crate) struct Delays {
    pub(crate) p99: Duration,
    p50: Duration,
    most: Duration,
    answered: usize,
    per_second: f64,
}

/// Asks so often a second, for so long.
pub(crate) fn load(server: &Server, pace: u32, time: Duration) -> Delays {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut delays = runtime.block_on(async {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting::default()))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let between = Duration::from_secs(1) * CONNECTIONS / pace;
        let begin = Instant::now() + Duration::from_secs(1);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..CONNECTIONS {
            let (connector, address, request) = (connector.clone(), server.address, server.request());
            tasks.spawn(async move {
                let tcp = TcpStream::connect(address).await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let name = ServerName::try_from("hub.homestak.internal").unwrap();
                let mut stream = connector.connect(name, tcp).await.unwrap();
                let mut due = begin + between * number / CONNECTIONS;
                let mut delays = Vec::new();
                let mut answer = Vec::new();
                while due < begin + time {
                    sleep_until(due).await;
                    stream.write_all(&request).await.unwrap();
                    answer.clear();
                    while !is_whole(&answer) {
                        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server has closed");
                    }
                    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                    delays.push(due.elapsed());
                    due += between;
                }
                delays
            });
        }
        let mut all = Vec::new();
        while let Some(delays) = tasks.join_next().await {
            all.extend(delays.unwrap());
        }
        all
    });
    delays.sort_unstable();
    let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
    Delays {
        p50: at(50),
        p99: at(99),
        most: at(100),
        answered: delays.len(),
        per_second: delays.len() as f64 / time.as_secs_f64(),
    }
}

/// Whether this is an answer to its end.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    answer.len() >= head + 4 + length.expect("an answer has a length")
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, most, answered, per_second } = self;
        write!(f, "{answered} answered, {per_second:.0}/s, p50 {p50:.2?}, p99 {p99:.2?}, most {most:.2?}")
    }
}
