//! Which agents can be ordered what: those of older builds read orders without extras only.

use std::collections::{BTreeMap, BTreeSet};

use homestak_protocol::event::Presence;
use homestak_protocol::fault::Fault;
use homestak_protocol::path::NodePath;
use homestak_protocol::version::ORDER_EXTRAS;

use super::{Engine, Reach, refuse};
use crate::api::{Exit, Refusal};
use crate::lower::{self, Resolved};
use crate::store::Record;

impl<R: Record, C: Reach> Engine<R, C> {
    /// Agents that are there and read orders without extras only.
    pub(super) async fn plain_readers(&self) -> Result<BTreeSet<NodePath>, Fault> {
        let agents = self.core().agents().await?;
        let known: BTreeMap<&NodePath, &Presence> = agents.iter().map(|agent| (&agent.path, agent)).collect();
        Ok(agents.iter().filter(|agent| reads_plain_only(agent, &known)).map(|agent| agent.path.clone()).collect())
    }

    /// Refuses a tree of which something would be lost on the way.
    pub(super) async fn can_be_carried(&self, resolved: &Resolved) -> Result<(), Refusal> {
        let plain = self.plain_readers().await.map_err(|fault| refuse(&fault))?;
        match lower::cannot_carry(&resolved.nodes, &plain) {
            Some(fault) => Err(Refusal::new(Exit::Configuration, &fault)),
            None => Ok(()),
        }
    }
}

/// An agent speaks what both it and its parent know: one below an old parent may know more than is seen. Where it does not,
/// it says so itself.
fn reads_plain_only(agent: &Presence, known: &BTreeMap<&NodePath, &Presence>) -> bool {
    let parent_knows = match agent.path.parent() {
        Some(parent) => known.get(&parent).is_some_and(|parent| parent.protocol >= ORDER_EXTRAS),
        None => true,
    };
    agent.connected && agent.protocol < ORDER_EXTRAS && parent_knows
}

#[cfg(test)]
mod tests {
    use homestak_protocol::event::Facts;
    use homestak_protocol::ids::Incarnation;

    use super::*;

    fn agent(path: &str, protocol: u16) -> Presence {
        Presence {
            path: NodePath::parse(path).unwrap(),
            incarnation: Incarnation::from_bits(1),
            connected: true,
            since_ms: 0,
            seen_ms: 0,
            software: String::new(),
            protocol,
            address: String::new(),
            facts: Facts::default(),
        }
    }

    #[test]
    fn who_is_old_is_known_only_where_the_parent_is_not() {
        let agents = [agent("a", 4), agent("a/m/x", 4), agent("b", ORDER_EXTRAS), agent("b/m/x", 4), agent("b/m/y", 5)];
        let known = agents.iter().map(|agent| (&agent.path, agent)).collect();
        let plain: Vec<_> =
            agents.iter().filter(|agent| reads_plain_only(agent, &known)).map(|agent| agent.path.as_str()).collect();
        assert_eq!(plain, ["a", "b/m/x"]);
    }
}
