//! Fetching this machine's spec from its parent: what passes is tried again, what does not is told at once.
//!
//! Whatever happens is written into `config.log` of the state folder; a failure also leaves `config-failed.json` there, and
//! a spec that is not the one before takes its place.

mod http;

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use homestak_node::https_client::Answer;
use homestak_node::tls::{self, ClientConfig, OTHER_CA, ServerTrust};
use homestak_node::trust::TrustError;
use homestak_node::trust::clock::Clock;
use homestak_node::trust::identity::{Identity, Introduction};
use homestak_node::trust::pin::CaPin;
use homestak_node::world::Task;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::secret::Secret;
use homestak_protocol::token;
use serde_json::Value;
use tokio::time::sleep;

use super::marker::{Failed, KeepError, forget_failure, keep_spec, now};
use super::spec::NodeSpec;
use crate::files::FILE_MODE;
use crate::state::IDENTITY;

/// How long to wait before each attempt, in seconds.
pub const BY_HAND: &[u64] = &[0, 10, 20, 40, 80];
/// The same where a run waits for it and has another spec at hand.
pub const IN_A_RUN: &[u64] = &[0, 1, 2];
/// How long the log may get before it is begun anew.
const MAX_LOG: u64 = 256 * 1024;
/// The log's name.
const LOG: &str = "config.log";

/// By what the server is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Its CA has this pin.
    Pin(CaPin),
    /// Whoever answers is trusted.
    Anybody,
}

/// What is asked, and of whom.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The servers, `host:port` each. Each is asked at every attempt until one answers.
    pub servers: Vec<String>,
    /// The provisioning token; none where the machine's certificate has to do.
    pub token: Option<Secret>,
    /// By what they are known.
    pub trust: Trust,
    /// This node's name.
    pub identity: String,
    /// How long to wait before each attempt.
    pub waits: Vec<Duration>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The spec's name.
    pub spec: String,
    /// The spec, as JSON.
    pub document: String,
    /// Who gave it.
    pub server: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// Why there is no spec.
#[derive(Debug, Clone)]
pub struct NoSpec {
    /// The error, as users see it. It has the server's own code where the server gave one.
    pub code: String,
    /// What was wrong.
    pub message: String,
    /// Whether trying again could have helped.
    pub transient: bool,
    /// Whether no server was reached at all.
    pub unreachable: bool,
}

impl NoSpec {
    /// As a fault of a run.
    pub fn fault(&self) -> Fault {
        let known = Code::ALL.iter().find(|code| code.as_str() == self.code);
        Fault::new(known.copied().unwrap_or(Code::Configure), &self.message).hint(self.hint())
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self.code.as_str() {
            "E200" | "E201" | "E202" => "look at the spec, its posture and its keys in the site",
            "E300" | "E301" => "give the token that was made for this node with the site's present signing key",
            "E302" => "the token is spent or revoked: make another one",
            "E400" => "correct the spec in the site",
            _ if self.message.contains(OTHER_CA) => {
                "HOMESTAK_CA is not the pin of the server that answers: give the one that it prints, or look at the address"
            }
            _ if self.unreachable => {
                "look at the address and the CA pin, and whether the server runs: its log says more"
            }
            _ => "see the server's log for more",
        }
    }
}

/// This machine as the parent with this pin knows it; none where it is not enrolled there.
pub fn enrolled(state: &Path, ca: CaPin, token: Option<&Secret>) -> Option<Identity> {
    let told = Introduction { ca, token: token.cloned() };
    let identity = Identity::load(&state.join(IDENTITY), &told).unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's own certificate cannot be used");
        None
    });
    identity.filter(|identity| identity.enrolled().is_some())
}

/// How a server is known, and what is shown to it besides the token: this machine's certificate, where it has one of that
/// CA. By it the spec is still to be had when the token is used up.
struct Known {
    config: Arc<ClientConfig>,
    by_pin: bool,
}

impl Known {
    fn of(ask: &Ask, state: &Path) -> Result<Self, TrustError> {
        let Trust::Pin(ca) = ask.trust else {
            return Ok(Self { config: tls::https_client_of(&ServerTrust::Insecure)?, by_pin: false });
        };
        let (clock, machine) = (Clock::system(), enrolled(state, ca, ask.token.as_ref()));
        if let Some(machine) = &machine {
            machine.correct(&clock);
        }
        Ok(Self { config: tls::https_client(ca, &clock, machine.as_ref())?, by_pin: true })
    }
}

/// Fetches the spec and keeps it.
pub async fn fetch(ask: &Ask, state: &Path, task: &Task) -> Result<Fetched, NoSpec> {
    let own = |message: String| NoSpec { code: "E903".to_owned(), message, transient: false, unreachable: false };
    let known = Known::of(ask, state).map_err(|error| own(error.to_string()))?;
    let spec = ask.token.as_ref().and_then(|token| token::inspect(token.expose()).ok()).map(|claims| claims.spec);
    let (first, mut attempts, mut last) = (now(), 0, None);
    for wait in &ask.waits {
        tokio::select! {
            () = task.cancel.cancelled() => return Err(own("cancelled".to_owned())),
            () = sleep(*wait) => {}
        }
        attempts += 1;
        let mut reasons = String::new();
        let mut failed = NoSpec { unreachable: true, ..own("no server is known".to_owned()) };
        for server in &ask.servers {
            (task.progress)(format!("fetching the spec from {server}"));
            let path = format!("/spec/{}", ask.identity);
            let got = tokio::select! {
                () = task.cancel.cancelled() => return Err(own("cancelled".to_owned())),
                got = http::get(server, &path, ask.token.as_ref(), &known) => got,
            };
            match understood(server, got) {
                Ok(document) => {
                    log(state, &format!("attempt {attempts}: {server} gave the spec"));
                    keep_spec(&document, state).map_err(|error| match error {
                        KeepError::Document(why) => own(why),
                        KeepError::File(error) => own(format!("{error}: {}", error.source)),
                    })?;
                    if let Err(error) = forget_failure(state) {
                        tracing::warn!(%error, "the word of an earlier failure stays");
                    }
                    let spec = spec.unwrap_or_else(|| ask.identity.clone());
                    return Ok(Fetched { spec, document, server: server.clone(), attempts });
                }
                Err(no) => {
                    log(state, &format!("attempt {attempts}: {}", no.message));
                    let _infallible = write!(reasons, "{}{}", if reasons.is_empty() { "" } else { "; " }, no.message);
                    // One that has answered knows more than one that has not.
                    if !no.transient || !no.unreachable || failed.unreachable {
                        failed = NoSpec { unreachable: no.unreachable && failed.unreachable, ..no };
                    }
                    if !failed.transient {
                        break;
                    }
                }
            }
        }
        if failed.transient {
            failed.message = reasons;
        }
        let over = !failed.transient;
        last = Some(failed);
        if over {
            break;
        }
    }
    let failed = last.unwrap_or_else(|| own("it was not tried".to_owned()));
    let word = Failed {
        error: "fetch",
        code: failed.code.clone(),
        message: failed.message.clone(),
        node: ask.identity.clone(),
        spec,
        server: ask.servers.last().map(|server| format!("https://{server}")),
        attempts,
        first_attempt: first,
        last_attempt: now(),
        log: state.join(LOG).display().to_string(),
    };
    if let Err(error) = word.write(state) {
        tracing::warn!(%error, "no word of the failure can be left");
    }
    Err(failed)
}

/// What an answer means: the spec, or why there is none.
fn understood(server: &str, got: Result<Answer, String>) -> Result<String, NoSpec> {
    let no = |code: &str, message: String, transient: bool, unreachable: bool| NoSpec {
        code: code.to_owned(),
        message: if message.starts_with(server) { message } else { format!("{server}: {message}") },
        transient,
        unreachable,
    };
    let answer = got.map_err(|why| no("E501", why, true, true))?;
    let body: Result<Value, _> = serde_json::from_slice(&answer.body);
    if answer.status == 200 {
        let document = String::from_utf8(answer.body).map_err(|error| no("E400", error.to_string(), false, false))?;
        return match NodeSpec::parse(&document) {
            Ok(_) => Ok(document),
            Err(why) => Err(no("E400", format!("what it gave is no spec: {why}"), false, false)),
        };
    }
    let said = |key: &str| body.as_ref().ok().and_then(|body| body.get("error")?.get(key)?.as_str());
    // A code is passed on into a file and onto a terminal, so it must be one.
    let code = said("code").filter(|code| code.len() <= 8 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let message: String =
        said("message").unwrap_or("no reason given").chars().filter(|c| !c.is_control()).take(300).collect();
    let transient = answer.status >= 500 || answer.status == 429 || answer.status == 408;
    Err(no(code.unwrap_or("E500"), format!("HTTP {}: {message}", answer.status), transient, false))
}

/// Adds a line to the log. A log that is too long is begun anew.
fn log(state: &Path, line: &str) {
    let path = state.join(LOG);
    let long = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG);
    let file = OpenOptions::new().create(true).append(!long).write(true).truncate(long).mode(FILE_MODE).open(&path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{} fetch: {line}", now())) {
        tracing::warn!(%error, "the log cannot be written");
    }
    tracing::info!("{line}");
}
