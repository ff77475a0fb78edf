//! How an agent stands, as one JSON document: what `status` shows.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use homestak_node::runtime::{Handle, TreeSnapshot};
use homestak_node::transport::uplink::status::{UplinkPhase, UplinkStatus};
use homestak_node::world::Task;
use homestak_protocol::order::Verb;
use homestak_protocol::path::NodePath;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::provider::{Owned, Provider};

/// What is known of an agent once it has a place.
pub struct Place {
    /// Where it is.
    pub path: NodePath,
    /// Its core.
    pub handle: Handle,
    /// What it makes machines with.
    pub provider: Option<Arc<dyn Provider>>,
}

/// How an agent stands. Cheap to clone.
#[derive(Clone)]
pub struct Standing {
    uplink: watch::Receiver<UplinkStatus>,
    place: Arc<OnceLock<Place>>,
}

impl Standing {
    /// An agent that has no place yet.
    pub fn new(uplink: watch::Receiver<UplinkStatus>) -> Self {
        Self { uplink, place: Arc::default() }
    }

    /// It has one now.
    pub fn settle(&self, place: Place) {
        // An agent has one place for as long as it runs; a second word about it would be about the same.
        let _again = self.place.set(place);
    }

    /// The document.
    pub async fn document(&self) -> Value {
        let uplink = self.uplink.borrow().clone();
        let place = self.place.get();
        let (mut trees, mut machines) = (Vec::new(), Vec::new());
        if let Some(Place { handle, provider, .. }) = place {
            trees = handle.trees().await.unwrap_or_default();
            if let Some(provider) = provider {
                let task = Task { cancel: CancellationToken::new(), progress: Arc::new(|_| {}) };
                machines = provider.list_owned(task).await.unwrap_or_default();
            }
        }
        json!({
            "path": place.map(|place| place.path.as_str()),
            "connected": uplink.is_connected(),
            "parent": parent(&uplink.phase),
            "since": time(uplink.since_ms),
            "error": refusal(&uplink),
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "trees": trees.iter().map(tree).collect::<Vec<_>>(),
            "machines": machines.iter().map(machine).collect::<Vec<_>>(),
        })
    }
}

fn parent(phase: &UplinkPhase) -> Value {
    match phase {
        UplinkPhase::Connected { address, software, protocol } => {
            json!({ "address": address, "version": software, "protocol": protocol })
        }
        UplinkPhase::Enrolling | UplinkPhase::Connecting | UplinkPhase::Refused(_) => Value::Null,
    }
}

/// Why there is no link, where there is none.
fn refusal(uplink: &UplinkStatus) -> Value {
    match (&uplink.phase, &uplink.last_error) {
        (UplinkPhase::Connected { .. }, _) => Value::Null,
        (UplinkPhase::Refused(fault), _) => {
            json!({ "code": fault.code.as_str(), "message": fault.message, "hint": fault.hint })
        }
        (_, why) => json!(why.as_ref().map(|why| json!({ "code": null, "message": why, "hint": null }))),
    }
}

fn tree(tree: &TreeSnapshot) -> Value {
    let nodes = tree
        .nodes
        .iter()
        .map(|node| json!({ "path": node.path.as_str(), "type": node.kind.as_str(), "status": node.status.as_str() }));
    json!({
        "tree": tree.tree.to_string(),
        "site": tree.tree.site.to_string(),
        "run": tree.run.to_string(),
        "generation": tree.generation.0,
        "word": tree.word.map(word),
        "settled": tree.settled,
        "nodes": nodes.collect::<Vec<_>>(),
    })
}

const fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Halt => "halt",
        Verb::Cancel => "cancel",
        Verb::Rollback => "rollback",
        Verb::Destroy => "destroy",
    }
}

fn machine(machine: &Owned) -> Value {
    json!({
        "path": machine.path.as_str(),
        "tree": machine.tree.to_string(),
        "vm_id": machine.vmid.number(),
        "ip": machine.ip,
        "running": machine.running,
    })
}

/// Milliseconds since 1970 as people and programs read them.
pub fn time(ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}
