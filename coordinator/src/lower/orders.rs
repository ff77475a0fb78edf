//! Orders, made from the innermost outwards.

use homestak_node::core::unseen;
use homestak_node::runtime::RootOrder;
use homestak_protocol::codec::CodecError;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::{Generation, RunId};
use homestak_protocol::order::{ChildOrder, OpaqueOrder, Order, Own, Policy};
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;
use homestak_protocol::token::{self, Claims, SigningKey};

use super::{Chance, LimitOverrides, Resolved, ResolvedNode, token_spec};

/// What an order is made for, and with.
#[derive(Debug)]
pub struct Ordering<'a> {
    /// The tree.
    pub tree: &'a TreeId,
    /// The run.
    pub run: RunId,
    /// Its generation.
    pub generation: Generation,
    /// How the run behaves; its limits are those of the first level.
    pub policy: Policy,
    /// Limits that were set by hand.
    pub limits: LimitOverrides,
    /// Seconds that each level adds to the others.
    pub timeout_buffer: u32,
    /// What tokens are signed with.
    pub key: &'a SigningKey,
    /// When tokens are minted, in seconds since 1970.
    pub now_s: u64,
    /// What makes them one of a kind.
    pub chance: &'a Chance,
}

/// The order for a whole tree. Linear in the number of nodes, times the depth.
pub fn order(with: &Ordering<'_>, resolved: Resolved) -> Result<RootOrder, Fault> {
    let views =
        resolved.nodes.iter().map(|n| unseen(&n.planned.path, n.planned.kind, with.generation)).collect::<Vec<_>>();
    // Children of each node, gathered while walking backwards: every node comes after the one that carries it.
    let mut carried: Vec<Vec<ChildOrder>> = resolved.nodes.iter().map(|_| Vec::new()).collect();
    let mut on_host = Vec::new();
    for (seat, node) in resolved.nodes.into_iter().enumerate().rev() {
        let mut children = carried.pop().unwrap_or_default();
        debug_assert_eq!(carried.len(), seat);
        children.reverse();
        let carrier = node.carrier;
        let child = child(with, node, children)?;
        match carrier.and_then(|seat| carried.get_mut(seat)) {
            Some(siblings) => siblings.push(child),
            None => on_host.push(child),
        }
    }
    on_host.reverse();
    let host = NodePath::host_root(&with.tree.host);
    Ok(RootOrder {
        tree: with.tree.clone(),
        run: with.run,
        generation: with.generation,
        policy: with.policy,
        order: with.close(host, None, on_host)?,
        nodes: views,
    })
}

fn child(with: &Ordering<'_>, node: ResolvedNode, children: Vec<ChildOrder>) -> Result<ChildOrder, Fault> {
    let ResolvedNode { name, planned, configuration, cloud_init, .. } = node;
    let spec = planned.spec.as_ref().map_or(token_spec(planned.kind), |spec| spec.as_str());
    let mut claims = Claims::new(name.as_str(), spec, with.now_s);
    claims.path = Some(planned.path.clone());
    claims.nonce = Some(with.chance.draw()?);
    let token = token::mint(with.key, &claims).map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
    let own = Own { machine: planned.machine.clone(), configuration };
    Ok(ChildOrder {
        name,
        machine: planned.machine,
        cloud_init,
        token: Secret::new(token),
        order: with.close(planned.path, Some(own), children)?,
    })
}

impl Ordering<'_> {
    fn close(&self, path: NodePath, own: Option<Own>, children: Vec<ChildOrder>) -> Result<OpaqueOrder, Fault> {
        let mut policy = self.policy;
        policy.limits = self.limits.at_level(self.timeout_buffer, path.depth());
        let order =
            Order { tree: self.tree.clone(), path, run: self.run, generation: self.generation, policy, own, children };
        OpaqueOrder::close(&order).map_err(|error: CodecError| Fault::new(Code::Internal, error.to_string()))
    }
}
