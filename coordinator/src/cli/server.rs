//! `server`: the daemon itself.

use homestak_coord::api::{Document, Exit, Refusal, Request};
use homestak_coord::client::{self, Found, Mode};
use homestak_coord::daemon;
use homestak_coord::documents::{BackupDocument, ServerDocument};
use homestak_coord::settings::{Serving, Settings};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::secret::Secret;
use serde::Serialize;
use std::path::PathBuf;

use super::Outcome;
use super::args::{Adopt, Backup, Listen, Restore, Run, Start};
use super::context::{Context, beside_the_point};
use crate::show::trees;

/// `server start`: returns once it answers.
pub(super) async fn start(context: &Context, given: &Start) -> Outcome {
    let settings = listening(&context.settings, &given.listen);
    if given.foreground {
        return serve(context, settings, Mode::Foreground).await;
    }
    client::start(&settings).await?;
    let mut server = look(&context.settings).await?;
    server.repo_token = repo_token(&settings).await?;
    let wanted = settings.serving.repos.as_ref().map(|repos| repos.display().to_string());
    if wanted.is_some() && wanted != server.repos {
        let stop = context.commands.line(&["server", "stop"]);
        let text = format!("it ran already, without these repositories; to change that, end it first: {stop}");
        context.printer.note(&[text]);
    }
    if let (Some(wanted @ 1..), Some(port)) = (settings.port, server.port)
        && wanted != port
    {
        let stop = context.commands.line(&["server", "stop"]);
        context.printer.note(&[format!("it ran already, on port {port}; to change that, end it first: {stop}")]);
    }
    Ok(tell(context, &server))
}

/// What clients of its repositories show; none where it serves none.
async fn repo_token(settings: &Settings) -> Result<Option<String>, Refusal> {
    let Found::Ours(client) = client::find(settings).await? else { return Ok(None) };
    match client.ask(&Request::RepoToken).await?.last().await? {
        (_, Document::Text(token)) => Ok(Some(token).filter(|token| !token.is_empty())),
        _ => Err(beside_the_point()),
    }
}

/// `server run`: be the daemon.
pub(super) async fn run(context: &Context, given: &Run) -> Outcome {
    serve(context, listening(&context.settings, &given.listen), given.mode).await
}

fn listening(settings: &Settings, listen: &Listen) -> Settings {
    let log = listen.log.as_ref().map(|log| std::path::absolute(log).unwrap_or_else(|_| log.clone()));
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let serving = Serving {
        repos: listen.repos.as_ref().map(absolute),
        repo_token: listen.repo_token.clone().filter(|token| !token.is_empty()).map(Secret::new),
        certificate: listen.cert.as_ref().map(absolute).zip(listen.key.as_ref().map(absolute)),
    };
    Settings { bind: listen.bind, log, serving, ..settings.clone() }
}

#[derive(Serialize)]
struct Stopped {
    running: bool,
    stopped: bool,
}

/// `server stop`.
pub(super) async fn stop(context: &Context) -> Outcome {
    let stopped = client::stop(&context.settings).await?;
    context.printer.document(&Stopped { running: false, stopped });
    let text = if stopped { "Server: stopped" } else { "Server: not running" };
    context.printer.data(&[text.to_owned()]);
    Ok(Exit::Done)
}

/// `server status`, with exit codes of its own: 0 healthy, 1 not running, 2 running but not healthy.
pub(super) async fn status(context: &Context) -> Outcome {
    let server = look(&context.settings).await?;
    Ok(tell(context, &server))
}

async fn look(settings: &Settings) -> Result<ServerDocument, Refusal> {
    Ok(match client::find(settings).await {
        Ok(Found::Nobody) => absent(settings),
        Ok(Found::Ours(client)) => match client.ask(&Request::ServerStatus).await?.last().await? {
            (_, Document::Server(server)) => server,
            _ => return Err(beside_the_point()),
        },
        Ok(Found::OtherBuild(greeting)) => ServerDocument {
            running: true,
            pid: greeting.pid.parse().ok(),
            site: Some(greeting.site),
            version: Some(greeting.version),
            build: Some(greeting.build),
            problems: vec![
                "it is of another build than this program; the next command replaces it when it is idle".into(),
            ],
            ..absent(settings)
        },
        Err(refusal) => ServerDocument { running: true, problems: vec![refusal.error.message], ..absent(settings) },
    })
}

fn tell(context: &Context, server: &ServerDocument) -> Exit {
    context.printer.document(server);
    context.printer.data(&lines(server));
    match (server.running, server.healthy) {
        (false, _) => Exit::Failed,
        (true, true) => Exit::Done,
        (true, false) => Exit::Usage,
    }
}

fn absent(settings: &Settings) -> ServerDocument {
    ServerDocument {
        state_dir: settings.state_dir.display().to_string(),
        socket: settings.socket().display().to_string(),
        ..ServerDocument::default()
    }
}

/// The first line is the older system's own.
fn lines(server: &ServerDocument) -> Vec<String> {
    let mut lines = Vec::new();
    let port = server.port.map(|port| format!("port {port}"));
    if server.running {
        let pid = server.pid.map(|pid| format!("PID {pid}"));
        let health = if server.healthy { "healthy" } else { "unhealthy" };
        let parts: Vec<String> = [pid, port, Some(health.to_owned())].into_iter().flatten().collect();
        lines.push(format!("Server: running ({})", parts.join(", ")));
    } else {
        lines.push("Server: not running".to_owned());
    }
    let count = |count: Option<u32>| count.map(|count| count.to_string());
    let runs: Vec<String> = server.runs.iter().map(ToString::to_string).collect();
    let ends = server.on_demand.filter(|on_demand| *on_demand).map(|_| "by itself, with nothing left to look after");
    let details = [
        ("state", Some(server.state_dir.clone())),
        ("site", server.site.clone()),
        ("url", server.url.clone()),
        ("ca", server.ca.clone()),
        ("cert", server.fingerprint.clone()),
        ("repos", server.repos.clone()),
        ("token", server.repo_token.clone()),
        ("log", server.log.clone()),
        ("version", server.version.clone()),
        ("started", server.started_at.clone()),
        ("ends", ends.map(str::to_owned)),
        ("trees", count(server.trees)),
        ("agents", count(server.agents)),
        ("runs", (!runs.is_empty()).then(|| runs.join(", "))),
    ];
    lines.extend(details.iter().filter_map(|(name, value)| Some(format!("  {name:8} {}", value.as_ref()?))));
    lines.extend(server.problems.iter().map(|problem| format!("  problem  {problem}")));
    lines
}

/// `server adopt`.
pub(super) async fn adopt(context: &Context, given: &Adopt) -> Outcome {
    let (exit, document) = context.ask(&Request::Adopt { host: given.host.clone() }).await?;
    let Document::Status(status) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.document(&status);
    printer.data(&trees::lines(&status, printer.out_columns(), printer.out_style()));
    Ok(exit)
}

/// `server backup`.
pub(super) async fn backup(context: &Context, given: &Backup) -> Outcome {
    let file = std::path::absolute(&given.file).map_err(|error| {
        let fault = Fault::new(Code::NotFound, format!("{} is no file: {error}", given.file.display()));
        Refusal::new(Exit::Usage, &fault.hint("name the file that the backup is to be written to"))
    })?;
    let (exit, document) = context.ask(&Request::Backup { file }).await?;
    let Document::Backup(backup) = document else { return Err(beside_the_point()) };
    written(context, &backup, "written to");
    Ok(exit)
}

fn written(context: &Context, backup: &BackupDocument, what: &str) {
    context.printer.document(backup);
    let text = format!(
        "backup of {} {what} {}, {} bytes, with what was recorded of {}",
        backup.taken_at,
        backup.file,
        backup.bytes,
        crate::show::count::of(usize::try_from(backup.trees).unwrap_or(usize::MAX), "tree"),
    );
    context.printer.data(&[text]);
}

/// `server restore`.
pub(super) async fn restore(context: &Context, given: &Restore) -> Outcome {
    let file = std::path::absolute(&given.file).unwrap_or_else(|_| given.file.clone());
    let restored = daemon::restore(&context.settings, &file).await?;
    written(context, &restored, "restored from");
    Ok(Exit::Done)
}

async fn serve(_: &Context, settings: Settings, mode: Mode) -> Outcome {
    daemon::serve(settings, mode).await
}
