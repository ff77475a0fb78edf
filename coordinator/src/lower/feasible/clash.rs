//! Machines that would be taken for one another: by address, by id, by name.

use std::collections::HashMap;

use homestak_manifests::diagnostic::Code;

use super::super::{Resolved, ResolvedNode};
use super::{Found, Ground, Other};

const ADDRESS: (Code, Code) = (Code::AddressTaken, Code::AddressShared);
/// Such an id cannot be given twice anywhere, and such a name matters only where names do.
const VMID: (Code, Code) = (Code::VmidTaken, Code::VmidTaken);
const NAME: (Code, Code) = (Code::NameTaken, Code::NameTaken);

/// Addresses and ids that two nodes of the tree have.
pub(super) fn within(resolved: &Resolved, found: &mut Found) {
    let mut addresses: HashMap<&str, &ResolvedNode> = HashMap::new();
    let mut ids = HashMap::new();
    for node in &resolved.nodes {
        let path = &node.planned.path;
        if let Some(other) = address(node).and_then(|address| addresses.insert(address, node)) {
            let shown = address(node).unwrap_or_default();
            let message = format!("{path} and {} both have the address {shown}", other.planned.path);
            found.misfit(
                ADDRESS,
                path,
                message,
                "a preset with a fixed `ip` is good for one machine: make another preset, or leave it to DHCP",
            );
        }
        // An id that was written down is known to be one of a kind; one that was counted from a base may meet it.
        if let Some(other) = node.planned.machine.vmid.and_then(|vmid| ids.insert((node.carrier, vmid), path)) {
            let vmid = node.planned.machine.vmid.map(|vmid| vmid.to_string()).unwrap_or_default();
            let message = format!("{path} and {other} both get vmid {vmid}");
            found.misfit(VMID, path, message, "give one of them another `vmid`, or move `vmid_base`");
        }
    }
}

/// Addresses and names that somebody else has.
pub(super) fn with_others(resolved: &Resolved, ground: &Ground<'_>, found: &mut Found) {
    let by = |what: fn(&Other) -> Option<&String>| -> HashMap<&str, &str> {
        ground.others.iter().filter_map(|other| Some((what(other)?.as_str(), other.who.as_str()))).collect()
    };
    let addresses = by(|other| other.address.as_ref());
    let names = by(|other| other.name.as_ref());
    for node in &resolved.nodes {
        let path = &node.planned.path;
        if let Some((shown, who)) = address(node).and_then(|shown| addresses.get_key_value(shown)) {
            let message = format!("{path} is to have the address {shown}, which {who} has");
            found.misfit(ADDRESS, path, message, "choose a preset with another `ip`, or leave it to DHCP");
        }
        let named = names.get(node.name.as_str()).filter(|_| found.firm && node.carrier.is_none());
        if let Some(who) = named {
            let message = format!("{path} is to be called {}, as {who} is, on the same host", node.name);
            found.misfit(NAME, path, message, "give it another name, or destroy the other tree first");
        }
    }
}

/// A node's fixed address, without the length of its prefix.
fn address(node: &ResolvedNode) -> Option<&str> {
    let address = node.cloud_init.address.as_deref()?;
    Some(address.split_once('/').map_or(address, |(address, _)| address))
}
