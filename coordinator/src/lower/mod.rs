//! From a manifest to orders: every node with its machine, its configuration and its token, each order closed before it goes
//! into that of the node that carries it.
//!
//! Pure but for chance, which comes in as [`Chance`]. [`resolve`] settles what each node is; [`compare`] says what an order
//! of it would change; [`order`] makes the order. What is checked here is what no schema can check: that the site has what
//! is asked for.

mod chance;
mod compare;
pub mod feasible;
mod limits;
mod orders;
mod sight;

use homestak_manifests::graph::Member;
use homestak_manifests::model::Mode;
use homestak_manifests::{Graph, Manifest};
use homestak_protocol::extras::MachineExtras;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{HostName, NodeName, SiteName};
use homestak_protocol::order::{CloudInit, Configuration, Machine, NodeKind};
use homestak_protocol::path::NodePath;
use sha2::{Digest as _, Sha256};

pub use self::chance::{Chance, random};
pub use self::compare::{Comparison, Planned, compare};
pub(crate) use self::compare::{may_exist, only_seen};
pub use self::limits::LimitOverrides;
pub use self::orders::{Ordering, cannot_carry, order};
pub use self::sight::Sight;
use crate::site::Site;
use crate::store::PlannedNode;

/// A manifest with everything settled.
#[derive(Debug)]
pub struct Resolved {
    /// In creation order.
    pub nodes: Vec<ResolvedNode>,
    /// Defaults that were taken, one line each.
    pub notes: Vec<String>,
}

/// A node with everything settled.
#[derive(Debug)]
pub struct ResolvedNode {
    /// Its name.
    pub name: NodeName,
    /// What is kept on record of it.
    pub planned: PlannedNode,
    /// What its machine becomes.
    pub configuration: Configuration,
    /// What its first boot is told.
    pub cloud_init: CloudInit,
    /// What more there is to say of its machine.
    pub extras: MachineExtras,
    /// Where the node that carries it stands in the creation order; none for one on the host itself.
    pub carrier: Option<usize>,
}

/// Settles what every node of a manifest is on this host.
pub fn resolve(site: &Site, manifest: &Manifest, host: &HostName) -> Result<Resolved, Fault> {
    let graph = Graph::new(manifest).map_err(|errors| match errors.into_iter().next() {
        Some(error) => Fault::new(Code::SpecInvalid, error.to_string()).hint(error.hint),
        None => Fault::new(Code::SpecInvalid, "the manifest is no tree"),
    })?;
    let mut seats = vec![0; manifest.nodes.len()];
    for (seat, member) in graph.create_order().enumerate() {
        if let Some(place) = seats.get_mut(member.index()) {
            *place = seat;
        }
    }
    let mut nodes: Vec<ResolvedNode> = Vec::with_capacity(manifest.nodes.len());
    let mut defaults = Defaults::new();
    for member in graph.create_order() {
        let carrier = member.parent().and_then(|parent| seats.get(parent.index()).copied());
        let above = carrier.and_then(|seat| nodes.get(seat)).map(|node: &ResolvedNode| &node.planned.path);
        let path = match above {
            Some(above) => above.child(&manifest.name, &member.node().name),
            None => NodePath::host_root(host).child(&manifest.name, &member.node().name),
        };
        let path = path.map_err(|error| Fault::new(Code::SpecInvalid, error.to_string()))?;
        let on = carrier.and_then(|seat| nodes.get(seat)).map_or(host.as_str(), |node| node.name.as_str()).to_owned();
        nodes.push(node(site, &member, path, (carrier, &on), &mut defaults)?);
    }
    Ok(Resolved { nodes, notes: defaults.iter().map(|(spec, nodes)| told(spec, nodes)).collect() })
}

/// Specs that were taken where none was named, and by whom, in creation order.
type Defaults = Vec<(SiteName, Vec<NodeName>)>;

/// `root-pve names no spec and takes `pve``; of many nodes only the first are named.
fn told(spec: &SiteName, nodes: &[NodeName]) -> String {
    match nodes {
        [one] => format!("{one} names no spec and takes `{spec}`"),
        [one, other] => format!("{one} and {other} name no spec and take `{spec}`"),
        [first, rest @ ..] => format!("{first} and {} other nodes name no spec and take `{spec}`", rest.len()),
        [] => String::new(),
    }
}

fn node(
    site: &Site,
    member: &Member<'_>,
    path: NodePath,
    (carrier, host): (Option<usize>, &str),
    defaults: &mut Defaults,
) -> Result<ResolvedNode, Fault> {
    let node = member.node();
    let at = |fault: Fault| fault.at(&path);
    let Some(sized) = site.machine(node.preset.as_ref()) else {
        let name = node.preset.as_ref().map(SiteName::as_str).unwrap_or_default();
        return Err(at(Fault::new(Code::NotFound, format!("the site has no preset {name}"))));
    };
    let spec = node.spec.as_ref().or_else(|| {
        let spec = site.default_spec(node.kind)?;
        match defaults.iter_mut().find(|(taken, _)| taken == spec) {
            Some((_, nodes)) => nodes.push(node.name.clone()),
            None => defaults.push((spec.clone(), vec![node.name.clone()])),
        }
        Some(spec)
    });
    let resolved = spec.map(|spec| site.spec(spec, &node.name)).transpose().map_err(at)?;
    let cloud_init = site.cloud_init(node.kind, node.preset.as_ref()).map_err(at)?;
    let spec_digest = resolved.as_ref().map(|spec| hex(&Sha256::digest(spec.document.as_bytes())));
    let pull = member.mode() == Mode::Pull;
    let configuration = match resolved {
        None => Configuration::Nothing,
        Some(spec) if pull => Configuration::Pull(spec),
        Some(spec) => Configuration::Push(spec),
    };
    let vmid = member.vmid().or_else(|| from_base(site.vmid_base(host)?, member.index()));
    let machine = Machine {
        kind: node.kind,
        image: node.image.clone(),
        cores: sized.cores,
        memory_mib: sized.memory_mib,
        disk_gib: node.disk.map_or(sized.disk_gib, |disk| disk.get().into()),
        vmid,
        bridge: sized.bridge,
    };
    let planned =
        PlannedNode { path, kind: node.kind, machine, spec: spec.cloned(), spec_digest, pull, orphaned: false };
    let extras = site.extras(node.kind, node.preset.as_ref(), node.image.as_ref(), host);
    Ok(ResolvedNode { name: node.name.clone(), planned, configuration, cloud_init, extras, carrier })
}

/// The id that a base gives to the node of this index.
fn from_base(base: Vmid, index: usize) -> Option<Vmid> {
    Vmid::new(u32::try_from(index).ok()?.checked_add(base.number())?)
}

/// The name under which the token of a node stands that has no spec: tokens must name one.
const fn token_spec(kind: NodeKind) -> &'static str {
    crate::site::default_spec_name(kind)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests;
