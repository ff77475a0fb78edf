//! Sending a call and reading its answer.
//!
//! Reading is tried again by itself: a `GET` changes nothing. What changes something is sent once; whoever sends it knows
//! how to look whether it was done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homestak_node::https_client::{HttpsClient, RequestError, Server};
use homestak_node::lifecycle::Lifecycle;
use homestak_node::tls::{ServerTrust, https_client_of};
use homestak_protocol::secret::Secret;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::error::CallError;
use super::{Class, Form};
use crate::settings::{PveSettings, TokenSource, TrustSource};

/// Below the 5 s after which PVE's proxy closes a connection on which nothing is asked (pve-http-server, `keep_alive`).
const IDLE: Duration = Duration::from_secs(3);
/// How long an answer may take. PVE's own proxy gives a call 30 s; a call that takes longer is a task.
pub(crate) const ANSWER: Duration = Duration::from_secs(35);
/// From when on it is worth a word that it does not answer.
const SILENT: Duration = Duration::from_secs(3);
/// The largest answer: the resources of a cluster of 10,000 machines take some 4 MB.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// How often reading is tried, and how long it waits in between, the first time.
const READS: u32 = 4;
const BETWEEN_READS: Duration = Duration::from_millis(200);

/// The API of one host. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    settings: PveSettings,
    answer: Duration,
    life: Lifecycle,
    silence: Mutex<Silence>,
    /// Made when it is first needed: a host that is about to become one has no API yet.
    ready: Mutex<Option<Ready>>,
}

/// What it has been asked and has not answered.
#[derive(Default)]
struct Silence {
    /// How many requests are open.
    open: usize,
    /// Since when none of them was answered.
    since: Option<Instant>,
}

/// A request that is open for as long as this lives.
struct Waiting<'a>(&'a Mutex<Silence>);

impl<'a> Waiting<'a> {
    fn begin(silence: &'a Mutex<Silence>) -> Self {
        let mut inner = lock(silence);
        inner.open = inner.open.saturating_add(1);
        inner.since.get_or_insert_with(Instant::now);
        drop(inner);
        Self(silence)
    }

    fn answered(&self) {
        lock(self.0).since = Some(Instant::now());
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inner = lock(self.0);
        inner.open = inner.open.saturating_sub(1);
        if inner.open == 0 {
            inner.since = None;
        }
    }
}

fn lock(silence: &Mutex<Silence>) -> MutexGuard<'_, Silence> {
    // Whoever panicked with it has changed a number or not.
    silence.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that came to nothing.
struct Unmade {
    error: CallError,
    /// Whether it may be because of a token or certificate that has been replaced; nothing was done then.
    stale: bool,
}

#[derive(Clone)]
struct Ready {
    client: HttpsClient,
    authorization: HeaderValue,
}

/// What an API says to whoever greets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// It takes the token, and is of this version.
    Version(String),
    /// It does not take the token, in its own words.
    Refused(String),
}

/// What PVE wraps its answers in.
#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// What it says when it says no.
#[derive(Deserialize, Default)]
struct Refusal {
    message: Option<String>,
    #[serde(default)]
    errors: BTreeMap<String, String>,
}

impl Api {
    /// The API that these settings speak of.
    pub(crate) fn new(settings: PveSettings, life: &Lifecycle) -> Self {
        Self::answering_within(ANSWER, settings, life)
    }

    /// The same, where an answer may take so long.
    pub(crate) fn answering_within(answer: Duration, settings: PveSettings, life: &Lifecycle) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                answer,
                life: life.clone(),
                silence: Mutex::default(),
                ready: Mutex::default(),
            }),
        }
    }

    /// Asks once which version answers.
    pub(crate) async fn greet(&self) -> Result<Greeting, CallError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let doing = "asking for the version";
        let ready = self.ready(doing)?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, ready.authorization)]);
        let answer = ready.client.ask(Method::GET, "/api2/json/version", headers, Vec::new(), self.inner.answer).await;
        let answer = answer.map_err(|error| CallError::unanswered(doing.to_owned(), &error))?;
        match answer.status {
            200 => {
                let read: Result<Envelope<Version>, _> = serde_json::from_slice(&answer.body);
                let read = read.map_err(|error| CallError::garbled(doing.to_owned(), &error.to_string()))?;
                Ok(Greeting::Version(read.data.version))
            }
            401 => Ok(Greeting::Refused(answer.reason)),
            status => Err(CallError::answered(doing.to_owned(), status, &answer.reason, &BTreeMap::new())),
        }
    }

    /// Reads token and trust anew at the next call.
    pub(crate) fn forget(&self) {
        *self.slot() = None;
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, doing: &str, path: &str, query: &Form) -> Result<T, CallError> {
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.as_str()) };
        let mut pause = BETWEEN_READS;
        for _ in 1..READS {
            match self.once(Method::GET, doing, &path, &Form::new()).await {
                Err(error) if error.class == Class::Retryable && !error.message.contains("guest agent") => {
                    tracing::debug!(%error, "reading again");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2);
                }
                other => return other,
            }
        }
        self.once(Method::GET, doing, &path, &Form::new()).await
    }

    /// Makes something.
    pub(crate) async fn post<T: DeserializeOwned>(&self, doing: &str, path: &str, form: &Form) -> Result<T, CallError> {
        self.once(Method::POST, doing, path, form).await
    }

    /// Changes something.
    pub(crate) async fn put<T: DeserializeOwned>(&self, doing: &str, path: &str, form: &Form) -> Result<T, CallError> {
        self.once(Method::PUT, doing, path, form).await
    }

    /// Removes something. PVE takes the parameters of a `DELETE` from its query.
    pub(crate) async fn delete<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        form: &Form,
    ) -> Result<T, CallError> {
        let path = if form.is_empty() { path.to_owned() } else { format!("{path}?{}", form.as_str()) };
        self.once(Method::DELETE, doing, &path, &Form::new()).await
    }

    /// Sends it, and once more where what we know the host by, or it us, has been replaced meanwhile: it has done nothing then.
    async fn once<T: DeserializeOwned>(
        &self,
        method: Method,
        doing: &str,
        path: &str,
        form: &Form,
    ) -> Result<T, CallError> {
        let kept = self.slot().is_some();
        match self.attempt(method.clone(), doing, path, form).await {
            Err(Unmade { stale: true, .. }) if kept => {
                self.forget();
                let again = self.attempt(method, doing, path, form).await;
                if again.as_ref().is_err_and(|unmade| unmade.stale) {
                    self.forget();
                }
                again.map_err(|unmade| unmade.error)
            }
            Err(unmade) => {
                if unmade.stale {
                    self.forget();
                }
                Err(unmade.error)
            }
            Ok(answer) => Ok(answer),
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        method: Method,
        doing: &str,
        path: &str,
        form: &Form,
    ) -> Result<T, Unmade> {
        let known = |error: CallError| Unmade { error, stale: false };
        let ready = self.ready(doing).map_err(known)?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, ready.authorization);
        let body = if form.is_empty() { Vec::new() } else { form.as_str().as_bytes().to_vec() };
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let path = format!("/api2/json{path}");
        let waiting = Waiting::begin(&self.inner.silence);
        let answer = ready.client.ask(method, &path, headers, body, self.inner.answer).await;
        if answer.is_ok() {
            waiting.answered();
        }
        let answer = answer.map_err(|error| Unmade {
            stale: matches!(error, RequestError::Untrusted(_)),
            error: CallError::unanswered(doing.to_owned(), &error),
        })?;
        if answer.status != 200 {
            // Older versions say it only beside the status, newer ones in the body too.
            let told: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
            let message = told.message.filter(|text| !text.trim().is_empty()).unwrap_or(answer.reason);
            let error = CallError::answered(doing.to_owned(), answer.status, &message, &told.errors);
            return Err(Unmade { error, stale: answer.status == 401 });
        }
        let read: Result<Envelope<T>, _> = serde_json::from_slice(&answer.body);
        read.map(|read| read.data).map_err(|error| known(CallError::garbled(doing.to_owned(), &error.to_string())))
    }

    /// That it answers nothing of what it is asked now, where that is so.
    pub(crate) fn silence(&self) -> Option<String> {
        let since = lock(&self.inner.silence).since.filter(|since| since.elapsed() >= SILENT)?;
        let endpoint = &self.inner.settings.endpoint;
        Some(format!("{}:{} has not answered for {} s", endpoint.host, endpoint.port, since.elapsed().as_secs()))
    }

    fn slot(&self) -> MutexGuard<'_, Option<Ready>> {
        // Whoever panicked with it has replaced it or not.
        self.inner.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self, doing: &str) -> Result<Ready, CallError> {
        let mut slot = self.slot();
        if let Some(ready) = &*slot {
            return Ok(ready.clone());
        }
        let made = self.inner.make().map_err(|message| CallError {
            doing: doing.to_owned(),
            message,
            class: Class::Permission,
            in_doubt: false,
        })?;
        *slot = Some(made.clone());
        Ok(made)
    }
}

impl Inner {
    fn make(&self) -> Result<Ready, String> {
        let settings = &self.settings;
        let tls = https_client_of(&trust(&settings.trust)?).map_err(|error| error.to_string())?;
        let server = Server {
            host: settings.endpoint.host.clone(),
            port: settings.endpoint.port,
            tls,
            idle: IDLE,
            max_answer: MAX_ANSWER,
        };
        let client = HttpsClient::new(server, &self.life)?;
        let token = token(&settings.token)?;
        let text = format!("PVEAPIToken={}", token.expose().trim());
        let mut authorization =
            HeaderValue::from_str(&text).map_err(|_| "the API token holds what no header can".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Ready { client, authorization })
    }
}

fn trust(source: &TrustSource) -> Result<ServerTrust, String> {
    Ok(match source {
        TrustSource::Ca(file) => ServerTrust::Ca(read(file, "the CA")?),
        TrustSource::Fingerprint(print) => ServerTrust::Fingerprint(*print),
        TrustSource::Insecure => ServerTrust::Insecure,
    })
}

/// The token, from wherever it comes.
pub(crate) fn token(source: &TokenSource) -> Result<Secret, String> {
    let token = match source {
        TokenSource::Given(token) => token.clone(),
        TokenSource::File(file) => {
            let bytes = read(file, "the API token")?;
            Secret::new(String::from_utf8(bytes).map_err(|_| format!("{} holds no text", file.display()))?)
        }
    };
    let shaped = token.expose().trim().split_once('=').is_some_and(|(id, value)| id.contains('!') && !value.is_empty());
    if shaped { Ok(token) } else { Err("an API token is USER@REALM!NAME=VALUE".to_owned()) }
}

fn read(file: &PathBuf, what: &str) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{what} cannot be read from {}: {error}", file.display()))
}
