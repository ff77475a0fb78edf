//! A client of one HTTPS server: HTTP/1.1, connections kept for a next request, a limit for everything.
//!
//! What it says about a failure is what whoever asked has to know: whether the server can have seen the request. It knows
//! nothing of what is asked. Each connection has a task of its own, which ends with the connection.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::ext::ReasonPhrase;
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, OtherError};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::lifecycle::Lifecycle;
use crate::trust::ca::HUB_NAME;

/// Requests at once to one server. PVE's proxy has three workers; more than some at each only wait there.
const MAX_REQUESTS: usize = 24;
/// How long connecting and the handshake may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The server.
#[derive(Clone)]
pub struct Server {
    /// Its name or address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How its certificate is known.
    pub tls: Arc<ClientConfig>,
    /// A connection that was idle for longer is not used again: below what the server waits before it closes it.
    pub idle: Duration,
    /// The largest answer that is read.
    pub max_answer: usize,
}

/// A client. Cheap to clone.
#[derive(Clone)]
pub struct HttpsClient {
    inner: Arc<Inner>,
}

struct Inner {
    server: Server,
    authority: String,
    name: ServerName<'static>,
    idle: Mutex<Vec<Kept>>,
    room: Semaphore,
    life: Lifecycle,
}

struct Kept {
    connection: SendRequest<Full<Bytes>>,
    since: Instant,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The words beside it.
    pub reason: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server has not seen the request.
    #[error("{0}")]
    Unsent(String),
    /// The server has not seen the request, since its certificate is not one that is trusted.
    #[error("{0}")]
    Untrusted(String),
    /// It may have seen it, and may have done what was asked.
    #[error("{0}")]
    Lost(String),
}

impl HttpsClient {
    /// A client of this server, whose connections end with this life. Connects when it is first asked.
    pub fn new(server: Server, life: &Lifecycle) -> Result<Self, String> {
        let name = server.host.clone();
        Self::asking_for(name, server, life)
    }

    /// The same of a hub's endpoint, which is asked for the hub's own certificate, whatever else it may show to others.
    pub fn of_hub(server: Server, life: &Lifecycle) -> Result<Self, String> {
        Self::asking_for(HUB_NAME.to_owned(), server, life)
    }

    fn asking_for(name: String, server: Server, life: &Lifecycle) -> Result<Self, String> {
        let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
        let name = ServerName::try_from(name).map_err(|error| format!("{}: {error}", server.host))?;
        let inner = Inner {
            authority: format!("{host}:{}", server.port),
            name,
            server,
            idle: Mutex::default(),
            room: Semaphore::new(MAX_REQUESTS),
            life: life.clone(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// `host:port` of the server.
    pub fn authority(&self) -> &str {
        &self.inner.authority
    }

    /// Asks once. `path` begins with a slash and holds the query.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer, RequestError> {
        let inner = &*self.inner;
        let unsent = |error: &dyn std::fmt::Display| RequestError::Unsent(error.to_string());
        let uri: Uri = path.parse().map_err(|error| unsent(&error))?;
        let _room = inner.room.acquire().await.map_err(|error| unsent(&error))?;
        let mut connection = inner.connection().await?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let host = inner.authority.parse().map_err(|error| unsent(&error))?;
        request.headers_mut().insert(HOST, host);
        let answered = timeout(limit, async {
            let answer = connection.send_request(request).await.map_err(|error| {
                let text = whole(&error);
                if error.is_canceled() { RequestError::Unsent(text) } else { RequestError::Lost(text) }
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, inner.server.max_answer).collect().await.map_err(|error| {
                let what =
                    if error.is::<LengthLimitError>() { "the answer is too large" } else { "the answer broke off" };
                RequestError::Lost(format!("{what}: {error}"))
            })?;
            let reason =
                head.extensions.get::<ReasonPhrase>().map(|text| String::from_utf8_lossy(text.as_ref()).into());
            Ok(Answer {
                status: head.status.as_u16(),
                reason: reason.unwrap_or_else(|| head.status.canonical_reason().unwrap_or_default().to_owned()),
                body: body.to_bytes().to_vec(),
            })
        });
        let answer = answered.await.map_err(|_| {
            RequestError::Lost(format!("{} has not answered within {} s", inner.authority, limit.as_secs()))
        })??;
        inner.keep(connection);
        Ok(answer)
    }
}

impl Inner {
    /// A connection that is ready: one that was kept, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, RequestError> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let late = || self.unreached(&io::Error::new(io::ErrorKind::TimedOut, "no connection in time"));
        timeout(CONNECT, self.open()).await.unwrap_or_else(|_| Err(late()))
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < self.server.idle && kept.connection.is_ready());
        idle.pop().map(|kept| kept.connection)
    }

    fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        if !connection.is_closed() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(Kept { connection, since: Instant::now() });
        }
    }

    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, RequestError> {
        let secured = async {
            let stream = TcpStream::connect((self.server.host.as_str(), self.server.port)).await?;
            stream.set_nodelay(true)?;
            let connector = TlsConnector::from(Arc::clone(&self.server.tls));
            connector.connect(self.name.clone(), stream).await
        };
        let stream = secured.await.map_err(|error| self.unreached(&error))?;
        let greeted = handshake(TokioIo::new(stream)).await;
        let (sender, connection) = greeted.map_err(|error| self.unreached(&io::Error::other(error)))?;
        let ending = self.life.ending.clone();
        self.life.tracker.spawn(async move {
            // Whoever waits for an answer hears of its end.
            let _ = ending.run_until_cancelled(connection).await;
        });
        Ok(sender)
    }

    /// Why there is no connection.
    fn unreached(&self, error: &io::Error) -> RequestError {
        let text = |why: &dyn std::error::Error| format!("{} cannot be reached: {}", self.authority, whole(why));
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            // In the words of whoever refused it, without what rustls puts around them.
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => {
                RequestError::Untrusted(text(why.as_ref()))
            }
            Some(rustls::Error::InvalidCertificate(_)) => RequestError::Untrusted(text(error)),
            _ => RequestError::Unsent(text(error)),
        }
    }
}

/// An error with what caused it.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
