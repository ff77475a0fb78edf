//! Orders, made from the innermost outwards.

use std::collections::BTreeSet;

use homestak_node::core::unseen;
use homestak_node::runtime::RootOrder;
use homestak_protocol::extras::{Extras, MachineExtras};
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
    /// Agents that read orders without extras only; what is left out for them only helps.
    pub plain: &'a BTreeSet<NodePath>,
}

/// The order for a whole tree. Linear in the number of nodes, times the depth.
pub fn order(with: &Ordering<'_>, resolved: Resolved) -> Result<RootOrder, Fault> {
    let views =
        resolved.nodes.iter().map(|n| unseen(&n.planned.path, n.planned.kind, with.generation)).collect::<Vec<_>>();
    // Children of each node, gathered while walking backwards: every node comes after the one that carries it.
    let mut carried: Vec<Vec<Carried>> = resolved.nodes.iter().map(|_| Vec::new()).collect();
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

/// A child, and what more there is to say of its machine.
type Carried = (ChildOrder, MachineExtras);

fn child(with: &Ordering<'_>, node: ResolvedNode, children: Vec<Carried>) -> Result<Carried, Fault> {
    let ResolvedNode { name, planned, configuration, cloud_init, extras, .. } = node;
    let spec = planned.spec.as_ref().map_or(token_spec(planned.kind), |spec| spec.as_str());
    let mut claims = Claims::new(name.as_str(), spec, with.now_s);
    claims.path = Some(planned.path.clone());
    claims.nonce = Some(with.chance.draw()?);
    let token = token::mint(with.key, &claims).map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
    let own = Own { machine: planned.machine.clone(), configuration };
    let child = ChildOrder {
        name,
        machine: planned.machine,
        cloud_init,
        token: Secret::new(token),
        order: with.close(planned.path, Some(own), children)?,
    };
    Ok((child, extras))
}

impl Ordering<'_> {
    fn close(&self, path: NodePath, own: Option<Own>, children: Vec<Carried>) -> Result<OpaqueOrder, Fault> {
        let mut policy = self.policy;
        policy.limits = self.limits.at_level(self.timeout_buffer, path.depth());
        let mut extras = Extras::default();
        if !self.plain.contains(&path) {
            let told = children.iter().filter(|(_, extras)| !extras.is_empty());
            extras.machines.extend(told.map(|(child, extras)| (child.name.to_string(), extras.clone())));
        }
        let children = children.into_iter().map(|(child, _)| child).collect();
        let (tree, run, generation) = (self.tree.clone(), self.run, self.generation);
        let order = Order { tree, path, run, generation, policy, own, children };
        OpaqueOrder::close_with(&order, &extras).map_err(|error| Fault::new(Code::Internal, error.to_string()))
    }
}

/// Why a tree cannot be ordered: an agent that reads orders without extras only is to make a machine of which something is
/// said there that must not be left out.
pub fn cannot_carry(nodes: &[ResolvedNode], plain: &BTreeSet<NodePath>) -> Option<Fault> {
    nodes.iter().find_map(|node| {
        let (path, what) = (&node.planned.path, node.extras.matter()?);
        let host = path.parent().filter(|host| plain.contains(host))?;
        let text = format!("the agent of {host} is too old to be ordered {what}, as {} is to have", path.name());
        Some(Fault::new(Code::Version, text).hint(format!("update homestak-agent on {host}")).at(path))
    })
}
