//! The spec of a node that pulls: fetched from its parent's endpoint, or, where that does not serve it, the one that the
//! parent sent along for this case.

use std::path::Path;
use std::time::Duration;

use homestak_node::trust::pin::CaPin;
use homestak_node::world::Task;
use homestak_protocol::fault::Fault;
use homestak_protocol::order::Spec;
use homestak_protocol::secret::Secret;

use super::fetch::{Ask, IN_A_RUN, Trust, fetch};
use crate::settings::Settings;

/// What a server says that does not know the path: one of a version that serves no specs.
const NO_ENDPOINT: &str = "E100";

/// The parent, as an HTTPS server.
#[derive(Debug, Clone)]
pub struct Parent {
    servers: Vec<String>,
    pin: CaPin,
    /// None where this agent is enrolled and was told none any more.
    token: Option<Secret>,
}

impl Parent {
    /// What an agent was told of its parent; none where that is not enough to ask it.
    pub fn told(settings: &Settings) -> Option<Self> {
        let servers = settings.servers.as_slice().to_vec();
        let (pin, token) = (settings.ca?, settings.token.clone());
        (!servers.is_empty()).then_some(Self { servers, pin, token })
    }

    /// The node's spec. What the parent refuses is an error; when it cannot be asked, `held` is what it would have said.
    pub async fn pull(&self, held: Spec, node: &str, state: &Path, task: &Task) -> Result<Spec, Fault> {
        let ask = Ask {
            servers: self.servers.clone(),
            token: self.token.clone(),
            trust: Trust::Pin(self.pin),
            identity: node.to_owned(),
            waits: IN_A_RUN.iter().copied().map(Duration::from_secs).collect(),
        };
        match fetch(&ask, state, task).await {
            Ok(fetched) => {
                tracing::info!(server = %fetched.server, attempts = fetched.attempts, "the parent gave the spec");
                Ok(Spec { name: held.name, document: fetched.document })
            }
            Err(no) if no.transient || no.code == NO_ENDPOINT => {
                tracing::warn!(why = %no.message, "the parent does not serve the spec; applying the one that it sent along");
                Ok(held)
            }
            Err(no) => Err(no.fault()),
        }
    }
}
