//! The commands that look: status, runs, logs, agents, and those about the daemon.

use homestak_coord::api::{Answer, Document, Exit, ManifestSource, Request, RunVerb};
use homestak_coord::documents::{
    AgentDocument, AgentsDocument, BackupDocument, FactsDocument, JoinDocument, LogLine, LogsDocument, NodeDocument,
    RunDocument, RunsDocument, ServerDocument, StatusDocument, TreeDocument,
};
use homestak_protocol::event::Status;
use insta::assert_snapshot;

use crate::daemon::{Daemon, Peer};
use crate::program::Place;
use crate::tree::{self, RUN};

fn recorded() -> TreeDocument {
    let RunDocument { nodes, context, .. } = tree::finished(RunVerb::Apply);
    let mut nodes = nodes.into_iter().map(|node| NodeDocument { connected: Some(true), ..node }).collect::<Vec<_>>();
    nodes[1].connected = Some(false);
    nodes[1].last_seen = Some("2026-01-02T03:09:10.000Z".into());
    TreeDocument {
        manifest: "n2-tiered".into(),
        host: "local".into(),
        recorded: true,
        state: "ready".into(),
        run: Some(tree::summary(RunVerb::Apply, "succeeded")),
        nodes,
        context,
    }
}

fn absent() -> TreeDocument {
    TreeDocument { recorded: false, state: "absent".into(), run: None, nodes: Vec::new(), ..recorded() }
}

fn log(text: &str, failure: bool) -> LogLine {
    LogLine {
        at: "2026-01-02T03:04:05.678Z".into(),
        path: "local/n2-tiered/root-pve".into(),
        origin: "local#0a1b2c3d".into(),
        seq: 1,
        kind: "phase".into(),
        text: text.into(),
        failure,
    }
}

fn answer(request: Request, peer: &mut Peer) {
    let status = |status| Document::Status(status);
    let document = match request {
        Request::Status { manifest: None, .. } => status(StatusDocument::Trees { trees: vec![recorded()] }),
        Request::Status { manifest: Some(ManifestSource::Name(name)), .. } if name == "n2-tiered" => {
            status(StatusDocument::Tree(recorded().into()))
        }
        Request::Status { .. } => status(StatusDocument::Tree(absent().into())),
        Request::Runs { .. } => Document::Runs(RunsDocument {
            runs: vec![tree::summary(RunVerb::Destroy, "running"), tree::summary(RunVerb::Apply, "failed")],
        }),
        Request::Logs { .. } => {
            peer.say(&Answer::Log(log("provision running", false)));
            peer.say(&Answer::Log(log("boot failed: its agent did not\njoin", true)));
            Document::Logs(LogsDocument { run: tree::summary(RunVerb::Apply, "failed"), lines: Vec::new() })
        }
        Request::Cancel { .. } => Document::Cancelled(tree::summary(RunVerb::Apply, "running")),
        Request::Agents => Document::Agents(AgentsDocument { agents: vec![agent()] }),
        Request::AgentsJoin { host, .. } => Document::Join(JoinDocument {
            host: host.to_string(),
            command: "HOMESTAK_SERVER=https://192.0.2.7:44443 homestak-agent run".into(),
            server: "https://192.0.2.7:44443".into(),
            token: "made.up".into(),
            ca: "sha256:00".into(),
        }),
        Request::AgentsRevoke { .. } => Document::Empty,
        Request::ServerStatus => Document::Server(server()),
        Request::Backup { file } => Document::Backup(BackupDocument {
            file: file.display().to_string(),
            bytes: 4096,
            taken_at: "2026-01-02T03:04:05.678Z".into(),
            trees: 1,
        }),
        other => panic!("{other:?}"),
    };
    peer.done(Exit::Done, document);
}

fn agent() -> AgentDocument {
    AgentDocument {
        path: "local/n2-tiered/root-pve".into(),
        version: "0.1.0".into(),
        protocol: 1,
        address: "127.0.1.2:40000".into(),
        connected: true,
        since: "2026-01-02T03:04:05.678Z".into(),
        last_seen: "2026-01-02T03:04:05.678Z".into(),
        facts: FactsDocument {
            hostname: "root-pve".into(),
            cpu: 4,
            memory: 8192,
            memory_free: 4096,
            disk: 64,
            disk_free: 32,
            load: 0.25,
            kernel: "6.12.0".into(),
            os: "Debian 13".into(),
            arch: "x86_64".into(),
            nested: true,
        },
    }
}

fn server() -> ServerDocument {
    ServerDocument {
        running: true,
        pid: Some(4242),
        healthy: true,
        port: Some(44443),
        url: Some("https://127.0.0.1:44443".into()),
        ca: Some("sha256:00".into()),
        state_dir: "/srv/state".into(),
        socket: "/srv/state/coord.sock".into(),
        site: Some("demo".into()),
        version: Some("0.1.0".into()),
        on_demand: Some(true),
        trees: Some(1),
        agents: Some(3),
        ..ServerDocument::default()
    }
}

#[test]
fn what_is_recorded_is_shown_for_people() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, answer);
    assert_snapshot!("status_trees", place.run(&["status"]));
    assert_snapshot!("status_tree", place.run(&["status", "n2-tiered"]));
    assert_snapshot!("status_absent", place.run(&["status", "n1-push"]));
    assert_snapshot!("runs", place.run(&["runs"]));
    assert_snapshot!("logs", place.run(&["logs", RUN]));
    assert_snapshot!("cancel", place.run(&["cancel", RUN]));
    assert_snapshot!("agents", place.run(&["agents"]));
    assert_snapshot!("agents_join", place.run(&["agents", "join", "-H", "father"]));
    assert_snapshot!("server_status", place.run(&["server", "status"]));
    assert_eq!(place.run(&["agents", "revoke", "father"]).code, 0);
    assert_eq!(place.run(&["server", "backup", "b.tar"]).code, 0);
}

#[test]
fn the_same_as_one_document_each() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, answer);
    let tree = place.run(&["status", "n2-tiered", "--json"]).json();
    assert_eq!(
        (&tree["nodes"][1]["connected"], &tree["nodes"][1]["last_seen"]),
        (&false.into(), &"2026-01-02T03:09:10.000Z".into())
    );
    assert_eq!(place.run(&["status", "--json"]).json()["trees"][0]["host"], "local");
    assert_eq!(place.run(&["runs", "--json"]).json()["runs"][0]["run"], RUN);
    let logs = place.run(&["logs", RUN, "--json"]).json();
    assert_eq!((logs["lines"].as_array().unwrap().len(), &logs["run"]["run"]), (2, &RUN.into()));
    assert_eq!(place.run(&["cancel", RUN, "--json"]).json()["run"], RUN);
    let agents = place.run(&["agents", "--json"]).json();
    for key in ["path", "version", "protocol", "address", "connected", "since", "facts"] {
        assert!(!agents["agents"][0][key].is_null(), "{key}");
    }
    for key in ["cpu", "memory", "disk", "load", "kernel", "os"] {
        assert!(!agents["agents"][0]["facts"][key].is_null(), "{key}");
    }
    assert_eq!(place.run(&["agents", "revoke", "father", "--json"]).json()["revoked"], "father");
    let backup = place.run(&["server", "backup", "b.tar", "--json"]).json();
    assert_eq!(
        backup["file"],
        place.path("b.tar").display().to_string().replace(place.path("").to_str().unwrap(), "[HERE]/")
    );
    let server = place.run(&["server", "status", "--json"]).json();
    assert_eq!((&server["running"], &server["pid"], &server["healthy"]), (&true.into(), &4242.into(), &true.into()));
}

#[test]
fn an_unhealthy_daemon_has_an_exit_code_of_its_own() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, peer| {
        let problems = vec!["the endpoint does not answer".to_owned()];
        peer.done(Exit::Done, Document::Server(ServerDocument { healthy: false, problems, ..server() }));
    });
    let told = place.run(&["server", "status"]);
    assert!(told.code == 2 && told.stdout.contains("unhealthy") && told.stdout.contains("does not answer"), "{told}");
}

#[test]
fn watching_shows_each_state_and_ends_when_nobody_looks() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |request, peer| {
        assert!(matches!(request, Request::Status { watch: true, .. }));
        let mut tree = recorded();
        peer.say(&Answer::Snapshot(StatusDocument::Tree(tree.clone().into())));
        tree.nodes[1].status = Status::Unreachable;
        peer.say(&Answer::Snapshot(StatusDocument::Tree(tree.clone().into())));
        peer.done(Exit::Done, Document::Status(StatusDocument::Tree(tree.into())));
    });
    let told = place.run(&["status", "n2-tiered", "--watch"]);
    assert_eq!((told.code, told.stdout.matches("n2-tiered on local").count()), (0, 2), "{told}");
}

#[test]
fn following_ends_when_nobody_reads() {
    let place = Place::new();
    let _daemon = Daemon::new(&place, |_, peer| {
        for number in 0..100_000 {
            peer.say(&Answer::Log(log(&format!("line {number}"), false)));
        }
        std::thread::park();
    });
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = place.command(&["logs", RUN, "--follow"]);
    let mut child = command.stdout(writer).spawn().unwrap();
    drop((reader, command));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
