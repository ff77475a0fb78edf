//! One connection: its handshake, its requests, and its end.
//!
//! A client may be as slow as one byte a second, for as long as [`LIFE`]; one that is silent for [`SILENCE`] while it is its
//! turn is gone. Neither holds up anybody: see [`super::seats`].

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::header::RETRY_AFTER;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Uri};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::metrics::{count, route_of};
use super::seats::Seat;
use super::{ErrorCode, PeerAddress, PeerMachine, Shared, error};
use crate::trust::subject::Subject;

/// The largest head of a request: a token has under 1 KiB, a path no more.
const MAX_HEAD: usize = 16 * 1024;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may be silent when it is its turn: to begin its next request, to go on with one, to read on.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection may live. The largest thing served is the agent's own program, which takes a minute at 2 Mbit/s;
/// the slowest client that we know of sends one byte a second.
const LIFE: Duration = Duration::from_secs(600);
/// How long an answer may go on when its connection is to end.
const DRAIN: Duration = Duration::from_millis(500);
/// How often it is read on, 4 KiB at a time, from a client that has its answer and still sends.
const LINGER: usize = 256;

/// Serves one from its first byte to its last.
pub(super) async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    seat: Seat,
    shared: Arc<Shared>,
    cancel: CancellationToken,
) {
    // Answers are small; they should not wait for more.
    let _ = stream.set_nodelay(true);
    let leave = seat.leave.clone();
    let shaken = tokio::select! {
        () = leave.cancelled() => return,
        shaken = timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)) => shaken,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        other => {
            count(&shared.metrics.handshakes_failed);
            let error = match other {
                Ok(Err(error)) => error.to_string(),
                _ => "it was not complete in time".to_owned(),
            };
            return tracing::debug!(%address, error, "an HTTPS handshake failed");
        }
    };
    // The handshake has verified it.
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let machine = shown.and_then(|certificate| Subject::read(certificate).ok()).map(|subject| {
        let Subject { path, key, .. } = subject;
        PeerMachine { path, key }
    });
    let begun = Instant::now();
    let heard = Arc::new(AtomicU64::new(0));
    let seat = Arc::new(seat);
    let mut watched = Watched { stream, begun, heard: Arc::clone(&heard) };
    let front = Front::new(shared, address, machine, Arc::clone(&seat));
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(MAX_HEAD);
    let ended = {
        let mut served = pin!(builder.serve_connection(TokioIo::new(&mut watched), front));
        loop {
            let silent_at = begun + Duration::from_millis(heard.load(Ordering::Relaxed)) + SILENCE;
            tokio::select! {
                ended = served.as_mut() => break ended,
                () = leave.cancelled() => return tracing::debug!(%address, "a silent connection gives way to another"),
                () = sleep_until(silent_at) => {
                    let since = begun + Duration::from_millis(heard.load(Ordering::Relaxed));
                    if since + SILENCE <= Instant::now() && seat.is_waiting() {
                        return tracing::debug!(%address, "an HTTPS client is silent");
                    }
                    // It waits for us; look again later.
                    heard.store(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                () = sleep_until(begun + LIFE) => {
                    served.as_mut().graceful_shutdown();
                    break timeout(DRAIN, served).await.unwrap_or(Ok(()));
                }
                () = cancel.cancelled() => {
                    served.as_mut().graceful_shutdown();
                    break timeout(DRAIN, served).await.unwrap_or(Ok(()));
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "an HTTPS connection has ended");
    }
    tokio::select! {
        () = leave.cancelled() => {}
        () = cancel.cancelled() => {}
        () = linger(&mut watched) => {}
    }
}

/// Reads on for a moment: to a client that is still sending, closing is a reset, in which the answer may be lost.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = [0; 4096];
    let rest = async {
        for _ in 0..LINGER {
            if !matches!(stream.read(&mut rest).await, Ok(1..)) {
                return;
            }
        }
    };
    // It has its moment, whatever comes.
    let _ = timeout(DRAIN, rest).await;
}

/// A stream that notes when something last went through it, in milliseconds since it began.
struct Watched<S> {
    stream: S,
    begun: Instant,
    heard: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(result, Poll::Ready(Ok(_))) {
            let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.heard.store(now, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// What a request passes before it is routed.
struct Front {
    router: TowerToHyperService<Router>,
    peer: PeerAddress,
    machine: Option<PeerMachine>,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
}

impl Front {
    fn new(shared: Arc<Shared>, address: SocketAddr, machine: Option<PeerMachine>, seat: Arc<Seat>) -> Self {
        let router = TowerToHyperService::new(shared.router.clone());
        Self { router, peer: PeerAddress(address), machine, shared, seat }
    }
}

type Answered = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Answered;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Answered>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let begun = Instant::now();
        self.seat.served();
        let route = route_of(request.uri().path());
        let (shared, seat) = (Arc::clone(&self.shared), Arc::clone(&self.seat));
        let passed = self.shared.limiter.pass(self.peer.0.ip().to_canonical(), begun);
        let answer = passed.map(|()| {
            request.extensions_mut().insert(self.peer);
            if let Some(machine) = &self.machine {
                request.extensions_mut().insert(machine.clone());
            }
            if let Some(plain) = without_trailing_slash(request.uri()) {
                *request.uri_mut() = plain;
            }
            self.router.call(request)
        });
        Box::pin(async move {
            let answer = match answer {
                Ok(answer) => answer.await,
                Err(after) => {
                    count(&shared.metrics.rate_limited);
                    Ok(too_many(after))
                }
            };
            if let Ok(answer) = &answer {
                shared.metrics.answered(route, answer.status(), begun.elapsed());
            }
            seat.wait();
            answer
        })
    }
}

fn too_many(after: Duration) -> Response {
    let mut response = error(ErrorCode::TooMany, "too many requests; come again a little later");
    let seconds = after.as_secs().saturating_add(u64::from(after.subsec_nanos() > 0)).max(1);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
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
