//! `presets/NAME.yaml`: the size of a machine, and what else machines of that size have in common.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::Fields;
use serde::Serialize;
use serde_json::Value;

use super::address::{self, Lease};
use super::take;
use super::text::{Interface, Package};

const KEYS: &[&str] = &["cores", "memory", "disk", "ip", "gateway", "bridge", "packages", "nesting"];

/// The most processors of a machine, as tofu's variables have it.
const MAX_CORES: u32 = 128;
/// The least memory of a machine in MiB, as there.
const MIN_MEMORY: u32 = 512;

/// The size of a machine, in the order in which it is printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Preset {
    /// Virtual processors.
    pub cores: u32,
    /// MiB.
    pub memory: u64,
    /// GiB.
    pub disk: u64,
    /// Where its address comes from; by DHCP where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<Lease>,
    /// Its gateway, in place of the site's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Its bridge, in place of the site's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Interface>,
    /// What is installed at first boot besides the site's packages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
    /// Whether a container may carry containers itself; it may where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesting: Option<bool>,
    /// Keys that nothing here reads; they flow through to `config tfvars`.
    #[serde(flatten)]
    pub further: BTreeMap<String, Value>,
}

impl Preset {
    pub(in crate::site) fn read(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut size = |key, range, unit, hint| {
            let field = fields.require(key, Code::KeyMissing, hint, report)?;
            field.number(range, unit, report)
        };
        let cores = size("cores", 1..=MAX_CORES, "", "add `cores: ` and how many processors it has");
        let memory = size("memory", MIN_MEMORY..=u32::MAX, " MiB", "add `memory: ` and how many MiB it has");
        let disk = size("disk", 1..=u32::MAX, " GiB", "add `disk: ` and how many GiB it has");
        let ip = take::address(fields, "ip", Lease::parse, report);
        let gateway = take::address(fields, "gateway", address::ipv4, report);
        let bridge = take::name(fields, "bridge", Interface::parse, report);
        let packages = take::names(fields, "packages", Package::parse, report);
        let nesting = take::flag(fields, "nesting", report);
        let mut further = BTreeMap::new();
        for field in fields.iter().filter(|field| !KEYS.contains(&field.key())) {
            // Any key may be there; one that is nearly one of ours was probably meant to be it.
            if let Some(near) = report.nearest(field.key(), KEYS.iter().copied()) {
                let message = format!("{field} is not read, only handed on to tofu");
                report.warning(Code::KeyIgnored, field.key_span, message).hint(format!("did you mean {near:?}?"));
            }
            further.extend(field.json(report).map(|value| (field.key().to_owned(), value)));
        }
        let (cores, memory, disk) = (cores?, memory?.into(), disk?.into());
        Some(Self { cores, memory, disk, ip, gateway, bridge, packages, nesting, further })
    }
}
