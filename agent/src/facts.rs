//! What is known of this machine from the inside.

use std::path::Path;

use homestak_protocol::event::Facts;
use homestak_protocol::order::NodeKind;
use rustix::fs::statvfs;
use sysinfo::{MemoryRefreshKind, System};

use crate::provider::local::inside::Inside;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Looks at this machine. One of `local` has the name and the size that it was ordered to have.
pub fn gather(state: &Path, inside: Option<&Inside>) -> Facts {
    let mut facts = of_system(state);
    let Some(record) = inside.and_then(|inside| inside.record().ok().flatten()) else { return facts };
    let machine = record.machine;
    facts.hostname = record.path.name().to_owned();
    facts.os = machine.image.map_or_else(|| "none (simulated)".to_owned(), |image| format!("{image} (simulated)"));
    facts.cores = machine.cores;
    facts.memory_mib = machine.memory_mib;
    facts.memory_free_mib = facts.memory_free_mib.min(machine.memory_mib);
    facts.disk_gib = machine.disk_gib;
    facts.disk_free_gib = facts.disk_free_gib.min(machine.disk_gib);
    facts.nested = machine.kind == NodeKind::Pve;
    facts
}

fn of_system(state: &Path) -> Facts {
    let (mut memory, mut memory_free) = (0, 0);
    if let Ok(mut system) = System::new() {
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        (memory, memory_free) = (system.total_memory() / MIB, system.available_memory() / MIB);
    }
    let disk = statvfs(state).ok();
    let blocks = |count: fn(&rustix::fs::StatVfs) -> u64| {
        disk.as_ref().map_or(0, |disk| count(disk).saturating_mul(disk.f_frsize) / GIB)
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Facts {
        hostname: System::host_name().unwrap_or_default(),
        os: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        arch: System::cpu_arch(),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_mib: memory,
        memory_free_mib: memory_free,
        disk_gib: blocks(|disk| disk.f_blocks),
        disk_free_gib: blocks(|disk| disk.f_bavail),
        load_milli: System::load_average().map_or(0, |load| thousandths(load.one)),
        nested: ["intel", "amd"].iter().any(|cpu| {
            let file = format!("/sys/module/kvm_{cpu}/parameters/nested");
            std::fs::read_to_string(file).is_ok_and(|text| matches!(text.trim(), "Y" | "1"))
        }),
    }
}

/// A load average as it travels.
fn thousandths(load: f64) -> u64 {
    // Loads lie far within what both types hold exactly; a negative or absurd one becomes a bound of the range.
    format!("{:.0}", (load * 1000.0).clamp(0.0, 1e9)).parse().unwrap_or(0)
}
