//! Errors as the endpoint says them: `{"error":{"code":"E…","message":"…"}}` with the status that belongs to the code.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use homestak_protocol::fault::{Code, Fault};
use serde_json::json;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

/// Bytes of a body that are read at once.
const PIECE: usize = 64 * 1024;

/// The codes that the endpoint answers with: those of [`Code`] that have an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// E100: unknown endpoint or path.
    UnknownEndpoint,
    /// E200: spec, repo or file not found.
    NotFound,
    /// E201: posture not found.
    PostureNotFound,
    /// E202: SSH key not found.
    KeyNotFound,
    /// E300: token missing, malformed or of another version.
    TokenMalformed,
    /// E301: signature or identity wrong, or expired.
    TokenRefused,
    /// E302: token used up or revoked.
    TokenSpent,
    /// E400: a spec fails its schema.
    SpecInvalid,
    /// E429: too many requests.
    TooMany,
    /// E500: internal. Its message never tells an internal detail.
    Internal,
}

impl ErrorCode {
    /// The stable code.
    pub const fn code(self) -> Code {
        match self {
            ErrorCode::UnknownEndpoint => Code::UnknownEndpoint,
            ErrorCode::NotFound => Code::NotFound,
            ErrorCode::PostureNotFound => Code::PostureNotFound,
            ErrorCode::KeyNotFound => Code::KeyNotFound,
            ErrorCode::TokenMalformed => Code::TokenMalformed,
            ErrorCode::TokenRefused => Code::TokenRefused,
            ErrorCode::TokenSpent => Code::TokenSpent,
            ErrorCode::SpecInvalid => Code::SpecInvalid,
            ErrorCode::TooMany => Code::TooMany,
            ErrorCode::Internal => Code::Internal,
        }
    }

    /// The code of an answer that tells a fault: everything that has no status of its own is internal.
    pub const fn of(code: Code) -> Self {
        match code {
            Code::UnknownEndpoint => ErrorCode::UnknownEndpoint,
            Code::NotFound => ErrorCode::NotFound,
            Code::PostureNotFound => ErrorCode::PostureNotFound,
            Code::KeyNotFound => ErrorCode::KeyNotFound,
            Code::TokenMalformed => ErrorCode::TokenMalformed,
            Code::TokenRefused => ErrorCode::TokenRefused,
            Code::TokenSpent => ErrorCode::TokenSpent,
            Code::SpecInvalid => ErrorCode::SpecInvalid,
            Code::TooMany => ErrorCode::TooMany,
            _ => ErrorCode::Internal,
        }
    }

    /// The status that goes with it.
    pub const fn status(self) -> StatusCode {
        match self {
            ErrorCode::UnknownEndpoint | ErrorCode::TokenMalformed => StatusCode::BAD_REQUEST,
            ErrorCode::NotFound | ErrorCode::PostureNotFound | ErrorCode::KeyNotFound => StatusCode::NOT_FOUND,
            ErrorCode::TokenRefused => StatusCode::UNAUTHORIZED,
            ErrorCode::TokenSpent => StatusCode::FORBIDDEN,
            ErrorCode::SpecInvalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::TooMany => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A fault as an answer. What is internal stays in the log.
pub fn refusal(fault: &Fault) -> Response {
    let code = ErrorCode::of(fault.code);
    match (code, fault.code) {
        (ErrorCode::Internal, Code::Unreachable) => error(code, "nobody who could answer this can be reached just now"),
        (ErrorCode::Internal, _) => {
            tracing::error!(code = fault.code.as_str(), why = %fault.message, "a request could not be answered");
            error(code, "this could not be answered; the log of the server says why")
        }
        _ => error(code, &fault.message),
    }
}

/// The answer to what there is not.
pub fn unknown() -> Response {
    error(ErrorCode::UnknownEndpoint, "there is nothing at this path")
}

/// Bytes as the body of an answer, sent as they are read.
pub fn stream(bytes: Box<dyn AsyncRead + Send + Unpin>) -> Body {
    Body::from_stream(ReaderStream::with_capacity(bytes, PIECE))
}

/// An error as an answer.
pub fn error(code: ErrorCode, message: &str) -> Response {
    error_as(code.status(), code, message)
}

/// An error as an answer with a status that the same code does not have elsewhere.
pub fn error_as(status: StatusCode, code: ErrorCode, message: &str) -> Response {
    let body = json!({ "error": { "code": code.code().as_str(), "message": message } });
    (status, Json(body)).into_response()
}
