//! The endpoint over real sockets, asked by a client that knows its CA by the pin.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::tls;
use crate::transport::pair::bind_pair;
use crate::trust::ca::{Ca, HUB_NAME};
use crate::trust::clock::Clock;
use crate::trust::pin::CaPin;

const DEADLINE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    ca: Arc<Ca>,
    cancel: CancellationToken,
    tracker: TaskTracker,
    folder: std::path::PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        Self::start_at(name, Rates::default())
    }

    fn start_at(name: &str, rates: Rates) -> Self {
        let folder = std::env::temp_dir().join(format!("homestak-https-{}-{name}", std::process::id()));
        let ca = Arc::new(Ca::load_or_create(&folder, Clock::system()).unwrap());
        let (_, tcp) = bind_pair("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = tcp.local_addr().unwrap();
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        let whoami = get(|peer: axum::Extension<PeerAddress>| async move { peer.0.0.ip().to_string() });
        let slow = get(|| async {
            sleep(Duration::from_millis(200)).await;
            "late"
        });
        let about = || serde_json::Map::from_iter([("children".to_owned(), 3.into())]);
        let routes = health(about).route("/whoami", whoami).route("/slow", slow);
        let tls = watch::Sender::new(tls::https(&ca, &["127.0.0.1".to_owned()], None).unwrap()).subscribe();
        let more: More = Arc::new(|text| Box::pin(std::future::ready(text)));
        let router = super::routes(routes);
        let options = Options { listener: tcp, tls, router, rates, metrics_token: None, more };
        serve(options, &tracker, cancel.clone()).unwrap();
        Self { address, ca, cancel, tracker, folder }
    }

    async fn connect(&self, pin: CaPin, name: &str) -> io::Result<TlsStream<TcpStream>> {
        let config = tls::https_client(pin, &Clock::system(), None).unwrap();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(config).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
    }

    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect(self.ca.pin(), HUB_NAME).await.unwrap();
        stream
            .write_all(format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        read(&mut stream).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn read(stream: &mut TlsStream<TcpStream>) -> String {
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn health_is_answered_and_everything_unknown_is_e100() {
    let server = Server::start("health");
    for path in ["/health", "/health/", "/health?x=1", "/health//"] {
        let answer = server.ask(&format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
        assert!(answer.ends_with(r#"{"children":3,"status":"ok"}"#), "{path}: {answer}");
    }
    let head = server.ask("HEAD /health").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    for request in ["GET /", "GET /nowhere", "GET /../health", "POST /health", "GET /health/x"] {
        let answer = server.ask(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request}: {answer}");
        let body = r#"{"error":{"code":"E100","message":"there is nothing at this path"}}"#;
        assert!(answer.ends_with(body), "{request}: {answer}");
    }
    assert!(server.ask("GET /whoami").await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn the_certificate_is_for_the_pinned_ca_and_its_names_only() {
    let server = Server::start("pin");
    assert!(server.connect(server.ca.pin(), "127.0.0.1").await.is_ok());
    assert!(server.connect(server.ca.pin(), "other.example").await.is_err());
    let other = CaPin::parse(&format!("sha256:{}", "0".repeat(64))).unwrap();
    assert!(server.connect(other, HUB_NAME).await.is_err());
}

#[tokio::test]
async fn what_is_being_answered_is_answered_before_the_process_ends() {
    let server = Server::start("drain");
    let mut asked = server.connect(server.ca.pin(), HUB_NAME).await.unwrap();
    let mut silent = server.connect(server.ca.pin(), HUB_NAME).await.unwrap();
    asked.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    asked.flush().await.unwrap();
    // The handler has begun once another request that was sent later is answered.
    server.ask("GET /health").await;
    server.cancel.cancel();
    server.tracker.close();
    assert!(read(&mut asked).await.ends_with("late"));
    assert_eq!(read(&mut silent).await, "");
    timeout(DEADLINE, server.tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let one = Rate { per_second: 0.1, burst: 2.0 };
    let server = Server::start_at("rate", Rates { one, loopback: true, ..Rates::default() });
    for _ in 0..2 {
        assert!(server.ask("GET /health").await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let answer = server.ask("GET /health").await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 10\r\n") && answer.contains("\"E429\""), "{answer}");
}

#[tokio::test]
async fn what_was_answered_is_counted() {
    let server = Server::start("count");
    server.ask("GET /health").await;
    server.ask("GET /nowhere").await;
    let told = server.ask("GET /metrics").await;
    for line in [
        "homestak_http_requests_total{route=\"health\",status=\"200\"} 1",
        "homestak_http_requests_total{route=\"other\",status=\"400\"} 1",
        "homestak_http_connections_total 3",
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
}
