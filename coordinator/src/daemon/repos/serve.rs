//! The answers of the repo server.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use homestak_node::https::{ErrorCode, FileReader, bearer, error, error_as, refusal, stream, unknown};
use homestak_protocol::fault::{Code, Fault};
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::Repos;
use super::git::done;
use super::mirror::{Mirror, WORKING};
use super::path::{RepoPath, Wanted, is_repo, parse};

/// How long git may take to find a file.
const FIND: Duration = Duration::from_secs(10);

/// The longest answer of git that says what a file is.
const MAX_FOUND: usize = 4096;

/// Answers what no other route does.
pub(in crate::daemon) async fn fallback(repos: Option<Arc<Repos>>, request: Request) -> Response {
    let path = request.uri().path();
    let Some(repos) = repos.filter(|_| is_repo(path)) else { return unknown() };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return unknown();
    }
    match bearer(request.headers()) {
        None => return error_as(StatusCode::UNAUTHORIZED, ErrorCode::TokenMalformed, "a repo token is required"),
        Some(token) if !repos.token().matches(token.expose()) => {
            return error_as(StatusCode::FORBIDDEN, ErrorCode::TokenRefused, "the repo token is wrong");
        }
        Some(_) => {}
    }
    let Some(RepoPath { repo, what }) = parse(path) else {
        return error(ErrorCode::UnknownEndpoint, "there is nothing at this path");
    };
    let found = match what {
        Wanted::Nothing => missing(&repo),
        // What was found by refs that are looked at is there.
        Wanted::Git(file) => match repos.mirror(&repo) {
            Some(mirror) => git_file(&mirror, &file),
            None => missing(&repo),
        },
        Wanted::Refs => match repos.follow(&repo).await {
            Ok(mirror) => git_file(&mirror, "info/refs"),
            Err(fault) => Err(fault),
        },
        Wanted::Ref(name) => one_ref(&repos, &repo, &name).await,
        Wanted::File(file) => raw(&repos, &repo, &file).await,
    };
    found.unwrap_or_else(|fault| refusal(&fault))
}

fn missing<T>(repo: &str) -> Result<T, Fault> {
    Err(Fault::new(Code::NotFound, format!("there is no such file in {repo}.git")))
}

/// A file of our copy, whose path was made of nothing but what git names its files with.
fn git_file(mirror: &Mirror, file: &str) -> Result<Response, Fault> {
    let gone = |_| Fault::new(Code::NotFound, format!("there is no {file}"));
    let flags = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(flags).open(mirror.bare().join(file)).map_err(gone)?;
    let meta = opened.metadata().map_err(gone)?;
    if !meta.is_file() {
        return Err(Fault::new(Code::NotFound, format!("there is no {file}")));
    }
    let kind = match Path::new(file).extension().and_then(|kind| kind.to_str()) {
        Some("pack") => "application/x-git-packed-objects",
        Some("idx") => "application/x-git-packed-objects-toc",
        _ if file.starts_with("objects/") && !file.starts_with("objects/info") => "application/x-git-loose-object",
        _ => "text/plain; charset=utf-8",
    };
    let reader = FileReader::new(Arc::new(opened), meta.len());
    Ok(sent(kind, meta.len(), stream(Box::new(reader))))
}

/// One ref, from the list of all of them.
async fn one_ref(repos: &Repos, repo: &str, name: &str) -> Result<Response, Fault> {
    let mirror = repos.follow(repo).await?;
    let refs = std::fs::read_to_string(mirror.bare().join("info/refs")).unwrap_or_default();
    let id = refs.lines().find_map(|line| line.split_once('\t').filter(|(_, of)| *of == name));
    let Some((id, _)) = id else { return missing(repo) };
    let text = format!("{id}\n");
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-cache")], text).into_response())
}

/// A file as it lies in the work tree. Links are followed within it, and nowhere else.
async fn raw(repos: &Repos, repo: &str, file: &str) -> Result<Response, Fault> {
    let mirror = repos.follow(repo).await?;
    let internal = |error: &dyn std::error::Error| Fault::new(Code::Internal, crate::daemon::chain(error));
    let closed = |_| Fault::new(Code::Internal, "git is not run any more");
    let _reader = repos.readers.acquire().await.map_err(closed)?;
    let call = ["cat-file", "--batch-check=%(objecttype) %(objectname) %(objectsize)", "--follow-symlinks"];
    let find =
        done(repos.git.on(mirror.bare(), mirror.tree(), &call), Some(format!("{WORKING}:{file}\n").into_bytes()));
    let found = match timeout(FIND, find).await {
        Ok(found) => found.map_err(|error| internal(&error))?,
        Err(_) => return Err(Fault::new(Code::Internal, "git did not find a file in time")),
    };
    let found = String::from_utf8_lossy(found.get(..found.len().min(MAX_FOUND)).unwrap_or_default()).into_owned();
    let mut words = found.split_whitespace();
    let (Some("blob"), Some(id), Some(size)) = (words.next(), words.next(), words.next()) else {
        return missing(repo);
    };
    let length: u64 = size.parse().map_err(|_| Fault::new(Code::Internal, "git says no size"))?;
    let mut command = repos.git.on(mirror.bare(), mirror.tree(), &["cat-file", "blob", id]);
    command.stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| internal(&error))?;
    let bytes = child.stdout.take().ok_or_else(|| Fault::new(Code::Internal, "git has no output"))?;
    // Who stops reading closes the pipe, which ends it; its exit is collected by the runtime.
    drop(child.stdin.take());
    let body = stream(Box::new(Held { bytes, _child: child }.bytes_of(length)));
    Ok(sent(kind_of(file), length, body))
}

/// Output of a process that is ended when nobody reads it any more.
struct Held {
    bytes: tokio::process::ChildStdout,
    _child: tokio::process::Child,
}

impl Held {
    fn bytes_of(self, length: u64) -> impl tokio::io::AsyncRead + Send + Unpin {
        self.take(length)
    }
}

impl tokio::io::AsyncRead for Held {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.bytes).poll_read(cx, buffer)
    }
}

fn sent(kind: &'static str, length: u64, body: Body) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CONTENT_LENGTH, HeaderValue::from(length)),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}

/// The content type of a file of the work tree, by its name.
fn kind_of(file: &str) -> &'static str {
    match Path::new(file).extension().and_then(|kind| kind.to_str()) {
        Some("sh") => "text/x-sh",
        Some("py") => "text/x-python",
        Some("yaml" | "yml") => "text/yaml",
        _ => "application/octet-stream",
    }
}
