//! The HTTPS endpoint of a process that has children: HTTP/1.1 over TLS, under the hub's CA.
//!
//! One task accepts; each connection has one of its own ([`connection`]), which ends on its own, when it is silent, when
//! somebody else needs its seat ([`seats`]), or when the process drains. What is served is an axum router: [`endpoint`]
//! gives one the errors of `interfaces.md`, [`health`] and [`specs()`] are what everybody serves. What everybody counts is
//! in [`metrics`], how often one may ask in [`rate`].

mod connection;
mod file;
mod metrics;
mod probe;
mod program;
mod rate;
mod relay;
mod reply;
mod seats;
mod specs;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use homestak_protocol::path::NodePath;
use homestak_protocol::secret::Secret;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::file::FileReader;
use self::metrics::count;
pub use self::metrics::{Metrics, More, Text};
pub use self::probe::probe;
pub use self::program::{ARCH, OwnProgram};
use self::rate::Limiter;
pub use self::rate::{Rate, Rates};
pub use self::relay::Relay;
pub use self::reply::{ErrorCode, error, error_as, refusal, stream, unknown};
use self::seats::Seats;
pub use self::specs::{bearer, specs};
use crate::link::KeyId;

/// Connections at once. Each costs some 40 KiB.
const MAX_CONNECTIONS: usize = 2048;
/// Connections of one address that is not this machine's own: a NAT may hide as many machines.
const MAX_CONNECTIONS_OF_ONE: usize = 512;
/// How long to wait when the system has no more file descriptors: until some connection has ended.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Where a request came from: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

impl PeerAddress {
    /// The address alone; a socket for both families shows IPv4 peers as mapped addresses.
    pub fn ip(&self) -> IpAddr {
        self.0.ip().to_canonical()
    }
}

/// Which child of this hub has shown its certificate: an extension of requests that came with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerMachine {
    /// Its place.
    pub path: NodePath,
    /// Its key.
    pub key: KeyId,
}

/// How an endpoint is to be.
pub struct Options {
    /// Where it listens.
    pub listener: std::net::TcpListener,
    /// How it shows itself; another one counts for connections from then on.
    pub tls: watch::Receiver<Arc<ServerConfig>>,
    /// What it serves; see [`endpoint`].
    pub router: Router,
    /// How often one may ask.
    pub rates: Rates,
    /// Who may read `/metrics` from elsewhere.
    pub metrics_token: Option<Secret>,
    /// What the process adds to `/metrics`.
    pub more: More,
}

/// What all connections have in common.
struct Shared {
    router: Router,
    metrics: Arc<Metrics>,
    limiter: Limiter,
}

/// Serves until it is cancelled.
pub fn serve(options: Options, tracker: &TaskTracker, cancel: CancellationToken) -> io::Result<()> {
    let Options { listener, tls, router, rates, metrics_token, more } = options;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (metrics, seats) = (Arc::new(Metrics::default()), Seats::new(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ONE));
    let router = router.merge(metrics::route(Arc::clone(&metrics), Arc::clone(&seats), metrics_token, more));
    let shared = Arc::new(Shared { router: endpoint(router), metrics, limiter: Limiter::new(rates) });
    tracker.spawn(accept(listener, tls, shared, seats, tracker.clone(), cancel));
    Ok(())
}

/// A router whose unknown methods are answered as `interfaces.md` says.
fn endpoint(routes: Router) -> Router {
    routes.method_not_allowed_fallback(|| async { unknown() })
}

/// A router whose unknown paths are answered as `interfaces.md` says.
pub fn routes(routes: Router) -> Router {
    routes.fallback(|| async { unknown() })
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
    tls: watch::Receiver<Arc<ServerConfig>>,
    shared: Arc<Shared>,
    seats: Arc<Seats>,
    tasks: TaskTracker,
    cancel: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                count(&shared.metrics.accepted);
                let Some(seat) = seats.take(address.ip().to_canonical()) else {
                    count(&shared.metrics.turned_away);
                    continue;
                };
                let config = tls.borrow().clone();
                tasks.spawn(connection::serve(stream, address, config, seat, Arc::clone(&shared), cancel.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTPS connection cannot be accepted");
                sleep(EXHAUSTED).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
