//! Commands that answer a question and end.

use std::fmt::Write as _;

use clap_complete::Shell;
use homestak_node::crash::points::{Kind, Points};
use homestak_node::transport::uplink::UplinkError;
use homestak_node::trust::clock::Clock;
use serde_json::{Value, json};

use super::printer::Printer;
use crate::facts;
use crate::failure::{Exit, Failure, MACHINE, NOT_RUNNING};
use crate::host;
use crate::provider::local::inside::Inside;
use crate::run;
use crate::settings::Settings;
use crate::socket;
use crate::standing::time;
use crate::state::StateFolder;

/// `completions`.
pub(super) fn completions(shell: Shell, command: &mut clap::Command, printer: &Printer) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "homestak-agent", &mut script);
    let script = String::from_utf8(script).map_err(|error| {
        Failure::new(Exit::Failed, MACHINE, "the script is no text", "try another shell").because(error)
    })?;
    printer.text(script.trim_end());
    Ok(())
}

/// `crash-points`: always a document, since programs read it.
pub(super) fn crash_points(printer: &Printer) -> Result<(), Failure> {
    let points = Points::of(&[Kind::HostAgent, Kind::InnerAgent, Kind::LeafAgent]);
    let document = serde_json::to_value(points).map_err(|error| {
        Failure::new(Exit::Failed, MACHINE, "the points cannot be written", "this is a mistake in the program")
            .because(error)
    })?;
    printer.document(&document);
    Ok(())
}

/// `put-bridge-back`: what a timer runs that outlives the agent.
pub(super) async fn put_bridge_back(settings: &Settings) -> Result<(), Failure> {
    let done = host::put_bridge_back(&settings.state_dir).await;
    done.map_err(|error| Failure::machine("putting the network back", error))
}

/// `facts`.
pub(super) fn facts(settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let inside = settings.machine.clone().map(Inside::new);
    // The folder may not be there yet; what it will lie on is what counts.
    let there = settings.state_dir.ancestors().find(|path| path.exists()).unwrap_or(&settings.state_dir);
    let facts = facts::gather(there, inside.as_ref());
    let load = format!("{}.{:02}", facts.load_milli / 1000, facts.load_milli % 1000 / 10);
    let document = json!({
        "hostname": facts.hostname, "os": facts.os, "kernel": facts.kernel, "arch": facts.arch, "cpu": facts.cores,
        "memory": facts.memory_mib, "memory_free": facts.memory_free_mib,
        "disk": facts.disk_gib, "disk_free": facts.disk_free_gib,
        "load": load.parse::<f64>().unwrap_or_default(), "nested": facts.nested,
    });
    let lines = [
        ("hostname", facts.hostname),
        ("os", facts.os),
        ("kernel", facts.kernel),
        ("arch", facts.arch),
        ("cpu", facts.cores.to_string()),
        ("memory", format!("{} MiB, {} MiB free", facts.memory_mib, facts.memory_free_mib)),
        ("disk", format!("{} GiB, {} GiB free", facts.disk_gib, facts.disk_free_gib)),
        ("load", load),
        ("nested", if facts.nested { "yes" } else { "no" }.to_owned()),
    ];
    printer.data(&document, table(&lines));
    Ok(())
}

/// `status`.
pub(super) async fn status(settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let state = &settings.state_dir;
    let asked = socket::ask(state).await.map_err(|error| {
        let message = format!("the agent in {} does not answer", state.display());
        Failure::new(Exit::Unreachable, NOT_RUNNING, message, "see its log; only its own user may ask").because(error)
    })?;
    let document = asked.ok_or_else(|| {
        let message = format!("no agent runs in {}", state.display());
        let hint = "start one with `homestak-agent run`, or name another state folder with --state-dir";
        Failure::new(Exit::Unreachable, NOT_RUNNING, message, hint)
    })?;
    printer.data(&document, described(&document));
    Ok(())
}

/// A status document for people.
fn described(document: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let since = text(&document["since"]);
    let link = match (&document["parent"], &document["error"]) {
        (Value::Null, Value::Null) => format!("not connected since {since}"),
        (Value::Null, error) => format!("not connected since {since}: {}", text(&error["message"])),
        (parent, _) => format!("connected to {} since {since}", text(&parent["address"])),
    };
    let path = document["path"].as_str().unwrap_or("not enrolled yet").to_owned();
    let mut out = table(&[("path", path), ("parent", link), ("version", text(&document["version"]))]);
    for tree in document["trees"].as_array().into_iter().flatten() {
        let nodes = tree["nodes"].as_array().map_or(0, Vec::len);
        let state = if tree["settled"] == json!(true) { "settled" } else { "at work" };
        let (name, generation) = (text(&tree["tree"]), &tree["generation"]);
        let _infallible = write!(out, "\ntree      {name}: generation {generation}, {nodes} nodes, {state}");
    }
    for machine in document["machines"].as_array().into_iter().flatten() {
        let state = if machine["running"] == json!(true) { "running" } else { "stopped" };
        let (path, vmid, ip) = (text(&machine["path"]), &machine["vm_id"], text(&machine["ip"]));
        let _infallible = write!(out, "\nmachine   {path}: {vmid}, {ip}, {state}");
    }
    out
}

/// `enrol`.
pub(super) async fn enrol(settings: &Settings, printer: &Printer) -> Result<(), Failure> {
    let state = StateFolder::take(&settings.state_dir)?;
    let mut uplink = run::uplink(settings, state.path(), Clock::system())?;
    let enrolled = uplink.enrol().await.map_err(|error| {
        let exit = match &error {
            UplinkError::Refused(_) | UplinkError::NotOurParent(_) | UplinkError::CertificateRefused(_) => {
                Exit::Configuration
            }
            UplinkError::Trust(_) => Exit::Failed,
            _ => Exit::Unreachable,
        };
        let mut failure = Failure::from(error.fault());
        failure.exit = exit;
        failure
    })?;
    let document = json!({
        "path": enrolled.path.as_str(),
        "incarnation": enrolled.incarnation.to_string(),
        "not_after": time(enrolled.not_after_ms),
        "parents": enrolled.addresses,
    });
    printer.data(&document, format_args!("{}", enrolled.path));
    Ok(())
}

/// Names and values, one under the other.
fn table(lines: &[(&str, String)]) -> String {
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<9} {value}")).collect();
    lines.join("\n")
}
