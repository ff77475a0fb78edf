//! The HTTPS endpoint of a process that has children: HTTP/1.1 over TLS, under the hub's CA.
//!
//! One task accepts; each connection has one of its own, which ends on its own, at its time limit, or when the process
//! drains. What is served is an axum router; [`endpoint`] gives one the errors of `interfaces.md`, [`health`] is the first
//! thing that everybody serves.

mod program;
mod relay;
mod reply;
mod specs;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, Uri};
use axum::routing::get;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::program::{ARCH, OwnProgram};
pub use self::relay::Relay;
pub use self::reply::{ErrorCode, error};
pub use self::specs::specs;

/// Connections at once. Each costs some 40 KiB; those beyond wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// The largest head of a request: a token has under 1 KiB, a path no more.
const MAX_HEAD: usize = 16 * 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, the first byte included: a connection that is kept for a next request is
/// closed after this.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may live. The largest thing served is the agent's own program, which takes a minute at 2 Mbit/s.
const LIFE: Duration = Duration::from_secs(600);
/// How long an answer may go on when the process ends.
const DRAIN: Duration = Duration::from_millis(500);
/// How long to wait when the system has no more file descriptors: until some connection has ended.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Where a request came from: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// Serves a router until it is cancelled.
pub fn serve(
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    tracker: &TaskTracker,
    cancel: CancellationToken,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let tasks = tracker.clone();
    tracker.spawn(accept(listener, TlsAcceptor::from(tls), router, tasks, cancel));
    Ok(())
}

/// A router whose unknown paths and methods are answered as `interfaces.md` says.
pub fn endpoint(routes: Router) -> Router {
    let unknown = || async { reply::unknown() };
    routes.fallback(unknown).method_not_allowed_fallback(unknown)
}

/// `GET /health`: `{"status":"ok",…}` with what else the process wants to say about itself.
pub fn health<F>(about: F) -> Router
where
    F: Fn() -> serde_json::Map<String, serde_json::Value> + Clone + Send + Sync + 'static,
{
    let answer = move || async move {
        let mut body = serde_json::Map::from_iter([("status".to_owned(), "ok".into())]);
        body.extend(about());
        axum::Json(body)
    };
    Router::new().route("/health", get(answer))
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let next = async || {
        let seat = seats.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        io::Result::Ok((seat, stream, address))
    };
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Ok((seat, stream, address)) => {
                let (acceptor, front) = (acceptor.clone(), Front::new(router.clone(), address));
                tasks.spawn(connection(stream, acceptor, front, seat, cancel.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTPS connection cannot be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    front: Front,
    seat: OwnedSemaphorePermit,
    cancel: CancellationToken,
) {
    let address = front.peer.0;
    // Answers are small; they should not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "an HTTPS handshake failed"),
        Err(_) => return tracing::debug!(%address, "an HTTPS handshake was not complete in time"),
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), front));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = sleep(LIFE) => return tracing::debug!(%address, "an HTTPS connection has lived for too long"),
        () = cancel.cancelled() => {
            served.as_mut().graceful_shutdown();
            timeout(DRAIN, served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "an HTTPS connection has ended");
    }
    drop(seat);
}

/// What a request passes before it is routed.
struct Front {
    router: TowerToHyperService<Router>,
    peer: PeerAddress,
}

impl Front {
    fn new(router: Router, address: SocketAddr) -> Self {
        Self { router: TowerToHyperService::new(router), peer: PeerAddress(address) }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        if let Some(plain) = without_trailing_slash(request.uri()) {
            *request.uri_mut() = plain;
        }
        self.router.call(request)
    }
}

/// A trailing slash says nothing: `/health/` is `/health`.
fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let plain = uri.path().trim_end_matches('/');
    if plain.len() == uri.path().len() || plain.is_empty() {
        return None;
    }
    let text = uri.query().map_or_else(|| plain.to_owned(), |query| format!("{plain}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests;
