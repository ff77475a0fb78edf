//! What an endpoint counts, and how it tells it: the text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use homestak_protocol::secret::Secret;

use super::reply::error_as;
use super::seats::Seats;
use super::specs::bearer;
use super::{ErrorCode, PeerAddress};

/// Kinds of requests; others have the last one.
const ROUTES: [&str; 7] = ["health", "specs", "spec", "agent", "metrics", "repo", "other"];
/// Statuses that we answer with; others have 0.
const STATUSES: [u16; 11] = [200, 400, 401, 403, 404, 405, 422, 429, 431, 500, 0];
/// Upper ends of the histogram's buckets, in microseconds.
const BUCKETS: [u64; 10] = [100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// What an endpoint counts.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; STATUSES.len()]; ROUTES.len()],
    within: [AtomicU64; BUCKETS.len()],
    answered: AtomicU64,
    took_us: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) rate_limited: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Which kind of request a path is.
pub(super) fn route_of(path: &str) -> usize {
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let first = segments.next().unwrap_or_default();
    let name = if first.ends_with(".git") { "repo" } else { first };
    ROUTES.iter().position(|route| *route == name).unwrap_or(ROUTES.len() - 1)
}

impl Metrics {
    pub(super) fn answered(&self, route: usize, status: StatusCode, took: Duration) {
        let place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        if let Some(counter) = self.requests.get(route).and_then(|row| row.get(place)) {
            count(counter);
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS.iter().position(|end| took <= *end).and_then(|place| self.within.get(place)) {
            count(bucket);
        }
        count(&self.answered);
        self.took_us.fetch_add(took, Ordering::Relaxed);
    }

    fn text(&self, seats: &Seats) -> String {
        let mut text = Text::default();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        text.family("homestak_http_requests_total", "counter", "Requests that were answered.");
        for (route, row) in ROUTES.iter().zip(&self.requests) {
            for (status, counter) in STATUSES.iter().zip(row).filter(|(_, counter)| get(counter) > 0) {
                let labels = format!("route=\"{route}\",status=\"{status}\"");
                text.sample("homestak_http_requests_total", &labels, get(counter));
            }
        }
        let name = "homestak_http_request_duration_seconds";
        text.family(name, "histogram", "From the head of a request to the head of its answer.");
        let mut below = 0;
        for (end, counter) in BUCKETS.iter().zip(&self.within) {
            below += get(counter);
            let end = Duration::from_micros(*end).as_secs_f64();
            text.sample(&format!("{name}_bucket"), &format!("le=\"{end}\""), below);
        }
        text.sample(&format!("{name}_bucket"), "le=\"+Inf\"", get(&self.answered));
        let sum = Duration::from_micros(get(&self.took_us)).as_secs_f64();
        text.sample(&format!("{name}_sum"), "", sum);
        text.sample(&format!("{name}_count"), "", get(&self.answered));
        let open = u64::try_from(seats.count()).unwrap_or(u64::MAX);
        text.gauge("homestak_http_connections", "Connections that are open.", open);
        let totals = [
            ("homestak_http_connections_total", "Connections that were accepted.", &self.accepted),
            ("homestak_http_connections_refused_total", "Connections for which there was no room.", &self.turned_away),
            ("homestak_tls_handshakes_failed_total", "Handshakes that came to nothing.", &self.handshakes_failed),
            ("homestak_http_rate_limited_total", "Requests that came too often.", &self.rate_limited),
        ];
        totals.into_iter().for_each(|(name, help, counter)| text.counter(name, help, get(counter)));
        text.0
    }
}

/// Metrics as text.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a sample. Labels are as they are written, without braces.
    pub fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }
}

/// What else a process tells.
pub type More = Arc<dyn Fn(Text) -> Pin<Box<dyn Future<Output = Text> + Send>> + Send + Sync>;

/// `GET /metrics`: to everybody on this machine, and to whoever shows this token.
pub(super) fn route(metrics: Arc<Metrics>, seats: Arc<Seats>, token: Option<Secret>, more: More) -> Router {
    let answer = move |Extension(peer): Extension<PeerAddress>, headers: HeaderMap| async move {
        if let Some(refused) = refused(peer, &headers, token.as_ref()) {
            return refused;
        }
        let text = more(Text(metrics.text(&seats))).await;
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response()
    };
    Router::new().route("/metrics", get(answer))
}

fn refused(peer: PeerAddress, headers: &HeaderMap, token: Option<&Secret>) -> Option<Response> {
    if peer.ip().is_loopback() {
        return None;
    }
    match (bearer(headers), token) {
        (Some(shown), Some(token)) if token.matches(shown.expose()) => None,
        (Some(_), _) => Some(error_as(StatusCode::FORBIDDEN, ErrorCode::TokenRefused, "the repo token is wrong")),
        (None, _) => Some(error_as(StatusCode::UNAUTHORIZED, ErrorCode::TokenMalformed, "a repo token is required")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_told_as_prometheus_reads_it() {
        let metrics = Metrics::default();
        metrics.answered(route_of("/spec/edge"), StatusCode::OK, Duration::from_micros(300));
        metrics.answered(route_of("/x.git/HEAD"), StatusCode::FORBIDDEN, Duration::from_secs(9));
        let text = metrics.text(&Seats::new(1, 1));
        for line in [
            "homestak_http_requests_total{route=\"spec\",status=\"200\"} 1",
            "homestak_http_requests_total{route=\"repo\",status=\"403\"} 1",
            "homestak_http_request_duration_seconds_bucket{le=\"0.0001\"} 0",
            "homestak_http_request_duration_seconds_bucket{le=\"0.0005\"} 1",
            "homestak_http_request_duration_seconds_bucket{le=\"+Inf\"} 2",
            "homestak_http_request_duration_seconds_count 2",
            "# TYPE homestak_http_connections gauge",
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
    }
}
