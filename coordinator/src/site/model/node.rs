//! `nodes/NAME.yaml`: a PVE node, reached by its API.

use std::net::IpAddr;

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::Fields;
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::HostName;

use super::address::{self, Endpoint};
use super::text::{Datastore, UserName};
use super::{Names, take};

const KEYS: &[&str] = &[
    "node",
    "host",
    "parent_node",
    "api_endpoint",
    "api_token",
    "datastore",
    "ip",
    "host_user",
    "ssh_user",
    "vmid_base",
];

/// A PVE node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::site) struct Node {
    /// As PVE calls it: what the file says, else the file's own name.
    pub node: HostName,
    /// The physical machine that it is.
    pub host: Option<HostName>,
    /// The PVE node that carries it.
    pub parent_node: Option<HostName>,
    /// Its API.
    pub api_endpoint: Option<Endpoint>,
    /// The name of its API token in the secrets: what the file says, else the file's own name.
    pub api_token: String,
    /// Where its machines' disks lie.
    pub datastore: Option<Datastore>,
    /// Its address.
    pub ip: Option<IpAddr>,
    /// Who logs in to it.
    pub user: Option<UserName>,
    /// What machines on it that have no vmid count from.
    pub vmid_base: Option<Vmid>,
}

impl Node {
    pub(in crate::site) fn read(
        stem: &HostName,
        fields: &Fields<'_>,
        names: &Names,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        fields.only_warn(KEYS, |_| None, report);
        says_its_name(fields, "node", stem.as_str(), report);
        let host = take::filled(fields, "host");
        let host_name = host.and_then(|field| field.name(HostName::parse, report));
        if let (Some(field), Some(name)) = (host, &host_name)
            && !names.hosts.contains(name)
        {
            let message = format!("{field}: the site has no hosts/{name}.yaml");
            let hosts = || names.hosts.iter().map(HostName::as_str);
            let hint = match report.nearest(name.as_str(), hosts()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("describe that machine in hosts/{name}.yaml, or remove the line"),
            };
            report.warning(Code::UnknownHost, field.span(), message).hint(hint);
        }
        let hint = "add `datastore: ` and a storage of that node (`pvesm status` lists them), or give site.yaml one; \
                    `make node-config FORCE=1` writes this file anew";
        let datastore = match names.datastore {
            true => take::filled(fields, "datastore"),
            false => fields.require("datastore", Code::KeyMissing, hint, report),
        };
        let user = take::renamed(fields, &["host_user", "ssh_user"], report);
        Some(Self {
            node: take::name(fields, "node", HostName::parse, report).unwrap_or_else(|| stem.clone()),
            host: host_name,
            parent_node: take::name(fields, "parent_node", HostName::parse, report),
            api_endpoint: take::address(fields, "api_endpoint", Endpoint::parse, report),
            api_token: read_token(stem, fields, names, report),
            datastore: datastore.and_then(|field| field.name(Datastore::parse, report)),
            ip: take::address(fields, "ip", address::with_or_without_prefix, report),
            user: user.and_then(|field| field.name(UserName::parse, report)),
            vmid_base: take::vmid(fields, "vmid_base", report),
        })
    }
}

/// The name of its token. A node may be described before it has one, so that a missing one is no error.
fn read_token(stem: &HostName, fields: &Fields<'_>, names: &Names, report: &mut Report<'_>) -> String {
    let field = take::filled(fields, "api_token");
    let named = field.and_then(|field| field.text(report));
    let name = named.unwrap_or(stem.as_str()).to_owned();
    if let Some(known) = names.api_tokens.as_ref().filter(|known| !known.contains(&name)) {
        let span = field.map_or(fields.span(), |field| field.span());
        let message = format!("{}: the secrets have no API token {name:?}", fields.subject());
        let hint = match report.nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add it under `api_tokens:` of the secrets, as `{name}: ` and the token"),
        };
        report.warning(Code::NoApiToken, span, message).hint(hint);
    }
    name
}

/// Warns where a file names itself otherwise than it is called: it is found by the latter.
pub(super) fn says_its_name(fields: &Fields<'_>, key: &str, stem: &str, report: &mut Report<'_>) {
    let Some(field) = take::filled(fields, key) else { return };
    if let Some(name) = field.name(HostName::parse, report).filter(|name| name.as_str() != stem) {
        report
            .warning(
                Code::NameDiffers,
                field.span(),
                format!("{field} is {:?}, and the file is called {stem}.yaml", name.as_str()),
            )
            .hint(format!("rename the file to {name}.yaml, or the {key} to {stem}; `-H` finds it by the file's name"));
    }
}
