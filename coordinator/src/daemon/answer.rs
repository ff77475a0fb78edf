//! What each request comes to.

use std::sync::atomic::Ordering;
use std::time::Duration;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::HostName;
use homestak_protocol::path::NodePath;
use homestak_protocol::token::TokenError;
use tokio::sync::mpsc;

use super::{Daemon, backup};
use crate::api::{Answer, BUILD, Document, Exit, Refusal, Request, RunRequest, RunVerb};
use crate::documents::{JoinDocument, ServerDocument};
use crate::manifest;
use crate::runs::{Begun, clock, refuse};
use crate::tokens::{self, TokenDocument};

/// How long the last answer of a daemon that is asked to end has to reach its client.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Answers a request; the last answer says how it ended.
pub(super) async fn answer(daemon: &Daemon, request: Request, sink: mpsc::Sender<Answer>) {
    let ended = match dispatch(daemon, request, &sink).await {
        Ok(Some((exit, document))) => Answer::Done { exit, document: Box::new(document) },
        Ok(None) => return,
        Err(refusal) => Answer::Refused(refusal),
    };
    let _ = sink.send(ended).await;
}

/// The document that a request ends with; none where everything has been sent.
async fn dispatch(
    daemon: &Daemon,
    request: Request,
    sink: &mpsc::Sender<Answer>,
) -> Result<Option<(Exit, Document)>, Refusal> {
    let engine = &daemon.engine;
    if asks_the_site(&request) {
        daemon.look_again().await?;
    }
    let document = match request {
        Request::Run(verb, request) => return run(daemon, verb, request, sink).await,
        Request::Attach { run } => {
            engine.follow(run, Vec::new(), sink).await?;
            return Ok(None);
        }
        Request::Plan(verb, request) => Document::Plan(engine.plan(verb, &request).await?),
        Request::Validate { manifests } => {
            let document = manifest::validate(&engine.site(), &manifests);
            let exit = if document.valid { Exit::Done } else { Exit::Configuration };
            return Ok(Some((exit, Document::Validate(document))));
        }
        Request::Status { manifest, host, watch } => {
            if watch {
                engine.watch_status(manifest.as_ref(), host.as_ref(), sink).await?;
                return Ok(None);
            }
            Document::Status(engine.status(manifest.as_ref(), host.as_ref()).await?)
        }
        Request::Runs { manifest, host, limit } => {
            Document::Runs(engine.runs(manifest.as_ref(), host.as_ref(), limit).await?)
        }
        Request::Logs { run, node, follow } => {
            engine.logs(run, node.as_deref(), follow, sink).await?;
            return Ok(None);
        }
        Request::Cancel { run } => Document::Cancelled(engine.cancel(run).await?),
        Request::Preflight { host } => {
            // A site that cannot be used is what is to be told, and no reason not to look.
            let _ = daemon.look_again().await;
            let broken = daemon.site_problem.borrow().as_ref().map(|broken| broken.message());
            let document = engine.preflight(&host, broken).await?;
            let exit = if document.passed { Exit::Done } else { Exit::Failed };
            return Ok(Some((exit, Document::Preflight(document))));
        }
        Request::Orphans { host, destroy } => {
            let document = engine.orphans(host.as_ref(), destroy.as_deref()).await?;
            let left = document.orphans.iter().any(|orphan| orphan.destroyed == Some(false));
            let exit = if left { Exit::Failed } else { Exit::Done };
            return Ok(Some((exit, Document::Orphans(document))));
        }
        Request::Agents => Document::Agents(engine.agents().await?),
        Request::AgentsJoin { host, replace } => Document::Join(join(daemon, &host, replace).await?),
        Request::AgentsRevoke { path } => {
            engine.revoke(&path).await?;
            Document::Empty
        }
        Request::Describe { at } => Document::PveHost(engine.describe(&at).await?),
        Request::ManifestsList => Document::Manifests(manifest::list(&engine.site())),
        Request::ManifestsShow { manifest, format } => {
            Document::Text(manifest::show(&engine.site(), &manifest, format)?)
        }
        Request::TokenMint { node, spec, issued_at } => {
            let (key, _) = engine.signing_keys().map_err(|fault| refuse(&fault))?;
            let token = tokens::mint(&key, node.as_str(), spec.as_str(), issued_at);
            Document::Text(token.map_err(|error| refuse(&Fault::new(Code::Internal, error.to_string())))?)
        }
        Request::TokenInspect { token } => {
            let (current, previous) = engine.signing_keys().map_err(|fault| refuse(&fault))?;
            let keys: Vec<_> = [current].into_iter().chain(previous).collect();
            let document = TokenDocument::of(&token, Some(&keys));
            let malformed = |error: TokenError| refuse(&Fault::new(Code::TokenMalformed, error.to_string()));
            Document::Token(document.map_err(malformed)?)
        }
        Request::ServerStatus => Document::Server(status(daemon).await),
        Request::RepoToken => {
            let token = daemon.repos.as_ref().map(|repos| repos.token().expose().to_owned());
            Document::Text(token.unwrap_or_default())
        }
        Request::TokenRevoke { node } => {
            daemon.tokens.revoke(node.clone()).await.map_err(|fault| refuse(&fault))?;
            tracing::info!(node, "tokens are revoked on request");
            Document::Empty
        }
        Request::ServerStop => {
            tracing::info!("ending on request");
            let life = daemon.life.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LAST_WORD).await;
                life.ending.cancel();
            });
            Document::Empty
        }
        Request::Adopt { host } => Document::Status(engine.adopt(&host).await?),
        Request::Backup { file } => Document::Backup(backup::write(daemon, file).await?),
        Request::Reload => {
            daemon.reload().await?;
            Document::Empty
        }
        Request::Lend { keys } => {
            daemon.learn(&keys).await;
            Document::Empty
        }
        Request::StayUp => {
            daemon.on_demand.store(false, Ordering::Relaxed);
            Document::Empty
        }
    };
    Ok(Some((Exit::Done, document)))
}

/// Whether a request is answered from the site. What only destroys or shows goes by the record, whatever the site is like.
fn asks_the_site(request: &Request) -> bool {
    match request {
        Request::Run(verb, _) | Request::Plan(verb, _) => *verb != RunVerb::Destroy,
        Request::Validate { .. } | Request::ManifestsList | Request::ManifestsShow { .. } => true,
        Request::TokenMint { .. } | Request::TokenInspect { .. } => true,
        _ => false,
    }
}

async fn run(
    daemon: &Daemon,
    verb: RunVerb,
    request: RunRequest,
    sink: &mpsc::Sender<Answer>,
) -> Result<Option<(Exit, Document)>, Refusal> {
    let detach = request.detach;
    match daemon.engine.begin(verb, request).await? {
        Begun::Nothing { note, document } => {
            let _ = sink.send(Answer::Note(note)).await;
            Ok(Some((Exit::Done, Document::Run(*document))))
        }
        Begun::Run { run, notes } if detach => {
            for note in notes {
                let _ = sink.send(Answer::Note(note)).await;
            }
            Ok(Some((Exit::Done, Document::Detached(daemon.engine.summary(run).await?))))
        }
        Begun::Run { run, notes } => {
            daemon.engine.follow(run, notes, sink).await?;
            Ok(None)
        }
    }
}

/// Lets a host's agent join.
async fn join(daemon: &Daemon, host: &HostName, replace: bool) -> Result<JoinDocument, Refusal> {
    if host.is_local() {
        let fault = Fault::new(Code::Conflict, "the agent of `local` is started by the daemon itself")
            .hint("name another host");
        return Err(refuse(&fault));
    }
    let token = daemon.engine.expect(host, replace).await.map_err(|fault| refuse(&fault))?;
    tracing::info!(%host, replace, "an agent is let in on request");
    let (server, ca) = (daemon.endpoint.server_for(&NodePath::host_root(host)), daemon.endpoint.pin());
    let token = token.expose().to_owned();
    let command =
        format!("HOMESTAK_SERVER={server} HOMESTAK_CA={ca} HOMESTAK_TOKEN={token} homestak-agent run --name {host}");
    Ok(JoinDocument { host: host.to_string(), command, server, token, ca })
}

/// How the daemon is.
async fn status(daemon: &Daemon) -> ServerDocument {
    let mut problems: Vec<String> = Vec::new();
    problems.extend(daemon.endpoint.answers().await.err());
    let mut told = |fault: Fault| problems.push(fault.message);
    let trees = daemon.engine.recorded_trees().await.map_err(&mut told).ok();
    let agents = daemon.engine.connected().await.map_err(&mut told).ok().map(|(agents, _)| agents);
    let healthy = problems.is_empty();
    problems.extend(daemon.troubles.borrow().values().map(|fault| fault.message.clone()));
    let broken = daemon.site_problem.borrow().as_ref().map(|broken| broken.message());
    problems.extend(broken.map(|why| format!("the last good site stays in force: {why}")));
    problems.extend(daemon.repos.iter().flat_map(|repos| repos.troubles()));
    problems.extend(daemon.serving_problem.borrow().clone());
    let settings = &daemon.settings;
    ServerDocument {
        running: true,
        pid: Some(std::process::id()),
        healthy,
        port: Some(daemon.endpoint.port()),
        url: Some(daemon.endpoint.url()),
        ca: Some(daemon.endpoint.pin()),
        fingerprint: daemon.endpoint.fingerprint(),
        repos: settings.serving.repos.as_ref().map(|repos| repos.display().to_string()),
        repo_token: None,
        state_dir: settings.state_dir.display().to_string(),
        socket: settings.socket().display().to_string(),
        log: daemon.logs_to_file.then(|| settings.log_file().display().to_string()),
        site: Some(settings.site.label()),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        build: Some(BUILD.into()),
        started_at: Some(clock::shown(daemon.started_ms)),
        on_demand: Some(daemon.on_demand.load(Ordering::Relaxed)),
        trees,
        agents,
        runs: daemon.engine.running(),
        problems,
    }
}
