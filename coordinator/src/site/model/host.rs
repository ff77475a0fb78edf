//! `hosts/NAME.yaml`: a physical machine, as it is before it is a PVE node.

use std::net::IpAddr;
use std::num::NonZeroU16;

use homestak_manifests::diagnostic::Report;
use homestak_manifests::yaml::Fields;

use super::address;
use super::take;
use super::text::{Domain, UserName};

const KEYS: &[&str] = &["host", "domain", "ip", "network", "storage", "hardware", "access", "ssh"];

/// The interface whose address is the host's where no other is named.
const BRIDGE: &str = "vmbr0";

/// A physical machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::site) struct Host {
    /// Its domain.
    pub domain: Option<Domain>,
    /// Its address: the one that it names, else that of its bridge.
    pub address: Option<IpAddr>,
    /// Who logs in to it.
    pub user: Option<UserName>,
    /// The port of its SSH server.
    pub port: Option<NonZeroU16>,
    /// Its processors.
    pub cores: Option<u32>,
    /// Its memory in GiB.
    pub memory_gib: Option<u32>,
}

impl Host {
    pub(in crate::site) fn read(stem: &str, fields: &Fields<'_>, report: &mut Report<'_>) -> Self {
        fields.only_warn(KEYS, |_| None, report);
        super::node::says_its_name(fields, "host", stem, report);
        let ip = take::address(fields, "ip", address::with_or_without_prefix, report);
        let bridge = read_interfaces(fields, report);
        let mut host = Self {
            domain: take::name(fields, "domain", Domain::parse, report),
            address: ip.or(bridge),
            ..Self::default()
        };
        if let Some(access) = take::section(fields, "access", report) {
            access.only_warn(&["host_user", "ssh_user", "ssh_port", "authorized_keys"], |_| None, report);
            let user = take::renamed(&access, &["host_user", "ssh_user"], report);
            host.user = user.and_then(|field| field.name(UserName::parse, report));
            let port = access.get("ssh_port").and_then(|field| field.number(1..=u16::MAX.into(), "", report));
            host.port = port.and_then(|port| u16::try_from(port).ok()).and_then(NonZeroU16::new);
            for key in access.get("authorized_keys").iter().flat_map(|keys| keys.each(report)).collect::<Vec<_>>() {
                let _ = key.text(report);
            }
        }
        if let Some(hardware) = take::section(fields, "hardware", report) {
            let number = |key| hardware.get(key).and_then(|field| whole(&field));
            (host.cores, host.memory_gib) = (number("cpu_cores"), number("memory_gb"));
        }
        if let Some(ssh) = take::section(fields, "ssh", report) {
            for key in ["permit_root_login", "password_authentication"] {
                let _ = ssh.get(key).and_then(|field| field.text_or_yes_no(report));
            }
        }
        let _ = take::section(fields, "storage", report);
        host
    }
}

/// The address of the bridge; those of all interfaces are checked.
fn read_interfaces(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<IpAddr> {
    let network = take::section(fields, "network", report)?;
    network.only_warn(&["interfaces"], |_| None, report);
    let mut of_bridge = None;
    for interface in take::section(&network, "interfaces", report).iter().flat_map(Fields::iter) {
        if interface.value.is_null() {
            continue;
        }
        let Some(inner) = interface.fields(report) else { continue };
        inner.only_warn(&["type", "ports", "address", "gateway"], |_| None, report);
        let _ = take::address(&inner, "gateway", address::any, report);
        let given = take::filled(&inner, "address").filter(|field| !field.says("dhcp"));
        let address = given.and_then(|field| {
            let code = homestak_manifests::Code::BadAddress;
            field.parsed(code, address::with_or_without_prefix, report)
        });
        if interface.key() == BRIDGE {
            of_bridge = address;
        }
    }
    of_bridge
}

/// Facts that a program has written down; what it could not find out may be anything.
fn whole(field: &homestak_manifests::yaml::Field<'_>) -> Option<u32> {
    match &field.value.kind {
        homestak_manifests::yaml::Kind::Scalar(scalar) => scalar.as_str().parse().ok(),
        _ => None,
    }
}
