//! Room: memory, processors and disk, and whether machines inside may run machines of their own.

use homestak_manifests::diagnostic::Code;
use homestak_protocol::order::Machine;
use homestak_protocol::path::NodePath;

use super::super::{Resolved, ResolvedNode};
use super::{Found, Ground, is_virtual};

/// What a PVE host needs for itself, in MiB: its services take about this much before the first machine starts.
const OWN_MEMORY_MIB: u64 = 1024;

/// What it needs of its disk, in GiB: a Debian with PVE, and the image that machines start from.
const OWN_DISK_GIB: u64 = 8;

/// Virtual processors for each real one from which on machines wait for each other more than they work.
const OVERCOMMIT: u64 = 4;

const MEMORY: (Code, Code) = (Code::TooMuchMemory, Code::MemoryTight);
const CORES: (Code, Code) = (Code::TooManyCores, Code::CoresTight);
const DISK: (Code, Code) = (Code::TooMuchDisk, Code::DiskTight);
const NESTED: (Code, Code) = (Code::NoNesting, Code::NestingUnsure);

/// What machines need together.
#[derive(Default)]
struct Need {
    memory_mib: u64,
    cores: u64,
    disk_gib: u64,
    widest: Option<(u32, NodePath)>,
    largest: Option<(u64, NodePath)>,
    count: usize,
}

impl Need {
    fn add(&mut self, node: &ResolvedNode) {
        let machine: &Machine = &node.planned.machine;
        self.count += 1;
        self.memory_mib = self.memory_mib.saturating_add(machine.memory_mib);
        self.cores = self.cores.saturating_add(machine.cores.into());
        self.disk_gib = self.disk_gib.saturating_add(machine.disk_gib);
        if is_virtual(machine) && self.widest.as_ref().is_none_or(|(cores, _)| *cores < machine.cores) {
            self.widest = Some((machine.cores, node.planned.path.clone()));
        }
        if self.largest.as_ref().is_none_or(|(disk, _)| *disk < machine.disk_gib) {
            self.largest = Some((machine.disk_gib, node.planned.path.clone()));
        }
    }
}

/// Measures each level below the first against the machine that carries it.
pub(super) fn levels(resolved: &Resolved, found: &mut Found) {
    let mut needs: Vec<Need> = resolved.nodes.iter().map(|_| Need::default()).collect();
    for node in &resolved.nodes {
        if let Some(need) = node.carrier.and_then(|seat| needs.get_mut(seat)) {
            need.add(node);
        }
    }
    for (node, need) in resolved.nodes.iter().zip(&needs).filter(|(_, need)| need.count > 0) {
        level(&node.planned.path, &node.planned.machine, need, found);
    }
}

fn level(path: &NodePath, carrier: &Machine, need: &Need, found: &mut Found) {
    let many = if need.count == 1 { "the machine that it carries needs" } else { "the machines that it carries need" };
    if need.memory_mib > carrier.memory_mib {
        let message = format!("{path} has {} MiB of memory, and {many} {} MiB", carrier.memory_mib, need.memory_mib);
        found.misfit(MEMORY, path, message, "give it a larger preset, or its machines smaller ones");
    } else if need.memory_mib.saturating_add(OWN_MEMORY_MIB) > carrier.memory_mib {
        let left = carrier.memory_mib.saturating_sub(need.memory_mib);
        let message = format!(
            "{path} has {left} MiB of memory left for itself once its machines run; PVE wants {OWN_MEMORY_MIB}"
        );
        found.tight(Code::MemoryTight, path, message, "give it a larger preset, or its machines smaller ones");
    }
    if let Some((cores, widest)) = need.widest.as_ref().filter(|(cores, _)| *cores > carrier.cores) {
        let message =
            format!("{widest} is to have {cores} processors, and {path}, which carries it, has {}", carrier.cores);
        found.misfit(
            CORES,
            widest,
            message,
            "PVE gives a machine no more processors than its host has: choose another preset",
        );
    } else if need.cores > u64::from(carrier.cores).saturating_mul(OVERCOMMIT) {
        let message = format!("{path} has {} processors for {} of its machines'", carrier.cores, need.cores);
        found.tight(Code::CoresTight, path, message, "they will wait for each other: give it a larger preset");
    }
    if let Some((disk, largest)) = need.largest.as_ref().filter(|(disk, _)| *disk > carrier.disk_gib) {
        let message = format!(
            "{largest} is to have a disk of {disk} GiB, and {path}, which carries it, has one of {}",
            carrier.disk_gib
        );
        found.misfit(DISK, largest, message, "give the one a larger `disk`, or the other a smaller one");
    } else if need.disk_gib.saturating_add(OWN_DISK_GIB) > carrier.disk_gib {
        let message = format!(
            "{path} has a disk of {} GiB for {} GiB of its machines' and {OWN_DISK_GIB} of its own",
            carrier.disk_gib, need.disk_gib
        );
        found.tight(Code::DiskTight, path, message, "it fits until the disks fill up: give it a larger `disk`");
    }
}

/// Measures the first level against the host, as its agent knows it, and all levels below against what it allows.
pub(super) fn host(resolved: &Resolved, host: &NodePath, ground: &Ground<'_>, found: &mut Found) {
    let Some(facts) = ground.facts.filter(|_| ground.firm) else { return };
    let mut need = Need::default();
    let mut new = Need::default();
    for node in resolved.nodes.iter().filter(|node| node.carrier.is_none()) {
        need.add(node);
        if !ground.there.contains(&node.planned.path) {
            new.add(node);
        }
    }
    if need.memory_mib > facts.memory_mib {
        let message = format!("{host} has {} MiB of memory, and this tree needs {}", facts.memory_mib, need.memory_mib);
        found.misfit(MEMORY, host, message, "choose smaller presets, or another host");
    } else if new.memory_mib > facts.memory_free_mib {
        let message = format!(
            "{host} had {} MiB of memory free when its agent joined, and what is new here needs {}",
            facts.memory_free_mib, new.memory_mib
        );
        found.tight(
            Code::MemoryTight,
            host,
            message,
            "destroy what is no longer needed there, or choose smaller presets",
        );
    }
    if let Some((cores, widest)) = need.widest.as_ref().filter(|(cores, _)| *cores > facts.cores) {
        let message = format!("{widest} is to have {cores} processors, and {host} has {}", facts.cores);
        found.misfit(
            CORES,
            widest,
            message,
            "PVE gives a machine no more processors than its host has: choose another preset",
        );
    } else if need.cores > u64::from(facts.cores).saturating_mul(OVERCOMMIT) {
        let message = format!("{host} has {} processors for {} of this tree's", facts.cores, need.cores);
        found.tight(Code::CoresTight, host, message, "they will wait for each other: choose smaller presets");
    }
    if new.disk_gib > facts.disk_free_gib {
        let message = format!(
            "{host} had {} GiB free on its own disk when its agent joined, and what is new here may grow to {}",
            facts.disk_free_gib, new.disk_gib
        );
        found.tight(
            Code::DiskTight,
            host,
            message,
            "look whether the datastore of its machines lies elsewhere and has the room",
        );
    }
    let inner = resolved.nodes.iter().find(|node| node.carrier.is_some() && is_virtual(&node.planned.machine));
    if let Some(inner) = inner.filter(|_| !facts.nested) {
        let path = &inner.planned.path;
        let message = format!("{path} is a virtual machine inside another one, which {host} does not allow");
        let hint =
            "load kvm_intel or kvm_amd with `nested=1` on the host (see /etc/modprobe.d), and let its agent join again";
        found.misfit(NESTED, path, message, hint);
    }
}
