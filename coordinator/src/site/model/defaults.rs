//! `site.yaml`: what holds where nothing else is said.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::Fields;
use homestak_protocol::extras::ImageSource;
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::SiteName;
use serde::Serialize;

use super::address::{self, Endpoint};
use super::text::{Datastore, Domain, Interface, Package, TimeZone, UserName, Word};
use super::{images, take};

const KEYS: &[&str] = &[
    "timezone",
    "domain",
    "host_user",
    "ssh_user",
    "vm_user",
    "automation_user",
    "bridge",
    "gateway",
    "dns_servers",
    "packages",
    "pve_remove_subscription_nag",
    "image_release",
    "packer_release",
    "server_url",
    "spec_server",
    "datastore",
    "vmid_base",
];

/// The defaults of a site. What is left out, or empty, is none.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Defaults {
    /// Where its machines' clocks are.
    pub timezone: Option<TimeZone>,
    /// The domain of its machines.
    pub domain: Option<Domain>,
    /// Who logs in to hosts (`ssh_user` in older files).
    pub host_user: Option<UserName>,
    /// The automation user of machines (`automation_user` in older files).
    pub vm_user: Option<UserName>,
    /// The bridge that machines are on.
    pub bridge: Option<Interface>,
    /// Their gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Their DNS servers.
    pub dns_servers: Vec<IpAddr>,
    /// What is installed on all of them at first boot.
    pub packages: Vec<Package>,
    /// Whether PVE's reminder of a subscription is taken away.
    pub pve_remove_subscription_nag: Option<bool>,
    /// Which images are meant (`packer_release` in older files).
    pub image_release: Option<Word>,
    /// Where machines fetch their specs (`spec_server` in older files).
    pub server_url: Option<Endpoint>,
    /// The storage of nodes that name none.
    pub datastore: Option<Datastore>,
    /// What nodes without a vmid count from.
    pub vmid_base: Option<Vmid>,
    /// Where images come from that a host does not have.
    #[serde(skip)]
    pub images: BTreeMap<SiteName, ImageSource>,
}

impl Defaults {
    pub(in crate::site) fn read(file: &Fields<'_>, report: &mut Report<'_>) -> Self {
        file.only_warn(&["defaults", "images"], elsewhere, report);
        let images = images::read(file, report);
        let Some(fields) = take::section(file, "defaults", report) else { return Self { images, ..Self::default() } };
        fields.only_warn(KEYS, |_| None, report);
        let host_user = take::renamed(&fields, &["host_user", "ssh_user"], report);
        let vm_user = take::renamed(&fields, &["vm_user", "automation_user"], report);
        let release = take::renamed(&fields, &["image_release", "packer_release"], report);
        let server = take::renamed(&fields, &["server_url", "spec_server"], report);
        let mut dns_servers = Vec::new();
        for server in fields.get("dns_servers").iter().flat_map(|field| field.each(report)).collect::<Vec<_>>() {
            dns_servers.extend(server.parsed(Code::BadAddress, address::any, report));
        }
        Self {
            timezone: take::name(&fields, "timezone", TimeZone::parse, report),
            domain: take::name(&fields, "domain", Domain::parse, report),
            host_user: host_user.and_then(|field| field.name(UserName::parse, report)),
            vm_user: vm_user.and_then(|field| field.name(UserName::parse, report)),
            bridge: take::name(&fields, "bridge", Interface::parse, report),
            gateway: take::address(&fields, "gateway", address::ipv4, report),
            dns_servers,
            packages: take::names(&fields, "packages", Package::parse, report),
            pve_remove_subscription_nag: take::flag(&fields, "pve_remove_subscription_nag", report),
            image_release: release.and_then(|field| field.name(Word::parse, report)),
            server_url: server.and_then(|field| field.parsed(Code::BadAddress, Endpoint::parse, report)),
            datastore: take::name(&fields, "datastore", Datastore::parse, report),
            vmid_base: take::vmid(&fields, "vmid_base", report),
            images,
        }
    }
}

fn elsewhere(key: &str) -> Option<&'static str> {
    KEYS.contains(&key).then_some("write it under `defaults:`")
}
