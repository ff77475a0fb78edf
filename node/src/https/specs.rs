//! What machines fetch: `/specs`, `/spec/{identity}` and `/agent/{arch}`. What is asked and shown is read here; whether it
//! is answered, and with what, the [`SpecSource`] says.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::message::Fetch;
use homestak_protocol::secret::Secret;

use super::reply::{refusal, stream, unknown};
use super::{ErrorCode, PeerAddress, PeerMachine, error};
use crate::source::{Asker, Found, Program, SpecSource};

/// The digest of a program, as RFC 9530 and its predecessor RFC 3230 write it, and as `sha256sum` does.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const SHA256: HeaderName = HeaderName::from_static("x-checksum-sha256");

type Source = Arc<dyn SpecSource>;
type Segment = Result<Path<String>, PathRejection>;

/// The routes of a source.
pub fn specs(source: Source) -> Router {
    Router::new()
        .route("/specs", get(names))
        .route("/spec/{identity}", get(spec))
        .route("/agent/{arch}", get(agent))
        .with_state(source)
}

async fn names(State(source): State<Source>, Extension(peer): Extension<PeerAddress>) -> Response {
    told(source.fetch(Asker::Stranger(peer.ip()), Fetch::Specs).await)
}

async fn spec(
    State(source): State<Source>,
    Extension(peer): Extension<PeerAddress>,
    machine: Option<Extension<PeerMachine>>,
    identity: Segment,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(identity)) = identity else { return unknown() };
    let token = bearer(&headers);
    let machine = machine.map(|Extension(machine)| machine).filter(|machine| machine.path.name() == identity);
    let by_token = match token {
        None if machine.is_none() => return no_token(),
        None => None,
        Some(token) => Some(source.fetch(Asker::Stranger(peer.ip()), Fetch::Spec { identity, token }).await),
    };
    match (by_token, machine) {
        // What its token is no longer good for, its certificate is.
        (None, Some(PeerMachine { path, key })) => {
            told(source.fetch(Asker::Machine(path.clone(), key), Fetch::Own { path }).await)
        }
        (Some(Err(fault)), Some(PeerMachine { path, key })) if fault.code == Code::TokenSpent => {
            told(source.fetch(Asker::Machine(path.clone(), key), Fetch::Own { path }).await)
        }
        (Some(answered), _) => told(answered),
        (None, None) => no_token(),
    }
}

async fn agent(
    State(source): State<Source>,
    Extension(peer): Extension<PeerAddress>,
    arch: Segment,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(arch)) = arch else { return unknown() };
    let Some(token) = bearer(&headers) else { return no_token() };
    told(source.fetch(Asker::Stranger(peer.ip()), Fetch::Program { arch, token }).await)
}

fn no_token() -> Response {
    error(ErrorCode::TokenMalformed, "a provisioning token is required, as `Authorization: Bearer TOKEN`")
}

fn told(answered: Result<Found, Fault>) -> Response {
    match answered {
        Ok(Found::Document(bytes)) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
                // It may hold secrets, and is another one when the site has changed.
                (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            ];
            (headers, bytes).into_response()
        }
        // Images are carried over links only.
        Ok(Found::Image(image)) => refusal(&Fault::new(Code::NotFound, format!("{} is not given here", image.file))),
        Ok(Found::Program(program)) => download(program).unwrap_or_else(|error| {
            refusal(&Fault::new(Code::Internal, format!("a program's headers cannot be written: {error}")))
        }),
        Err(fault) => refusal(&fault),
    }
}

fn download(program: Program) -> Result<Response, BoxError> {
    let Program { length, sha256, bytes } = program;
    let hex = sha256.iter().fold(String::with_capacity(64), |hex, byte| format!("{hex}{byte:02x}"));
    let base64 = STANDARD.encode(sha256);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (CONTENT_LENGTH, HeaderValue::from(length)),
        (ETAG, HeaderValue::from_str(&format!("\"{hex}\""))?),
        (CONTENT_DIGEST, HeaderValue::from_str(&format!("sha-256=:{base64}:"))?),
        (DIGEST, HeaderValue::from_str(&format!("sha-256={base64}"))?),
        (SHA256, HeaderValue::from_str(&hex)?),
    ];
    Ok((headers, stream(bytes)).into_response())
}

/// The token of the one `Authorization: Bearer …` that there is. The scheme is matched without regard to case (RFC 9110,
/// 11.1).
pub fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let only = given.next().filter(|_| given.next().is_none())?;
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::new(token.to_owned()))
}
