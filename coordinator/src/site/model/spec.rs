//! `specs/NAME.yaml`: what a machine becomes. Schema version 1.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use homestak_manifests::diagnostic::{Code, Report};
use homestak_manifests::yaml::{Field, Fields, Kind, Resolved, Subject};
use homestak_protocol::name::{NodeName, SiteName};
use serde::Serialize;
use serde_json::Value;

use super::text::{Domain, Package, TimeZone, Unit, UserName, Word};
use super::{Names, address, take};

const KEYS: &[&str] = &["schema_version", "identity", "network", "access", "platform", "config", "run"];
const RUN_KEYS: &[&str] = &["trigger", "interval", "port", "path", "repo", "branch", "poll_interval"];
const TRIGGERS: &[(&str, Trigger)] = &[
    ("schedule", Trigger::Schedule),
    ("webhook", Trigger::Webhook),
    ("git", Trigger::Git),
    ("manual", Trigger::Manual),
];

/// The schema version that is read.
pub(in crate::site) const SCHEMA_VERSION: u32 = 1;

/// The posture of a spec that names none.
pub(in crate::site) const DEFAULT_POSTURE: &str = "dev";

/// What a machine becomes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::site) struct SpecFile {
    /// Its host name, in place of its node's.
    pub hostname: Option<NodeName>,
    /// Its domain, in place of the site's.
    pub domain: Option<Domain>,
    /// Its address; by DHCP where none.
    pub network: Option<Network>,
    /// How open it is.
    pub posture: SiteName,
    /// Who may use it.
    pub users: Vec<User>,
    /// What runs on it.
    pub platform: Platform,
    /// Everything else, as it is written.
    pub config: BTreeMap<String, Value>,
    /// When it is configured again.
    pub run: Option<Run>,
}

/// A fixed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::site) struct Network {
    ip: String,
    gateway: Ipv4Addr,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns: Vec<IpAddr>,
}

/// A user of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::site) struct User {
    /// Its name.
    pub name: UserName,
    /// Whether it may become root.
    pub sudo: bool,
    /// Its keys by their names in the secrets; all that there are where none.
    pub ssh_keys: Option<Vec<String>>,
}

/// What runs on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(in crate::site) struct Platform {
    packages: Vec<Package>,
    services: Services,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
struct Services {
    enable: Vec<Unit>,
    disable: Vec<Unit>,
}

/// When a machine is configured again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::site) struct Run {
    trigger: Trigger,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repo: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    branch: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poll_interval: Option<String>,
}

/// What makes a machine configure itself again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::site) enum Trigger {
    /// Time.
    Schedule,
    /// A request.
    Webhook,
    /// A commit.
    Git,
    /// Somebody.
    #[default]
    Manual,
}

impl SpecFile {
    pub(in crate::site) fn read(fields: &Fields<'_>, names: &Names, report: &mut Report<'_>) -> Option<Self> {
        // A file of another version is not measured by this one's rules.
        version(fields, report)?;
        fields.only(KEYS, elsewhere, report);
        let identity = take::section(fields, "identity", report);
        if let Some(identity) = &identity {
            identity.only(&["hostname", "domain"], |_| None, report);
        }
        let hostname = identity.and_then(|identity| take::name(&identity, "hostname", NodeName::parse, report));
        let domain = identity.and_then(|identity| take::name(&identity, "domain", Domain::parse, report));
        let network = take::section(fields, "network", report).and_then(|network| read_network(&network, report));
        let access = take::section(fields, "access", report);
        if let Some(access) = &access {
            access.only(&["posture", "users"], access_elsewhere, report);
        }
        let posture = read_posture(fields, access.as_ref(), names, report);
        let users = access.map(|access| read_users(&access, names, report)).unwrap_or_default();
        let platform = take::section(fields, "platform", report);
        let platform = platform.map(|platform| read_platform(&platform, report)).unwrap_or_default();
        let config = take::section(fields, "config", report);
        let config = config.map(|config| read_config(&config, report)).unwrap_or_default();
        let run = take::section(fields, "run", report).map(|run| read_run(&run, report));
        Some(Self { hostname, domain, network, posture: posture?, users, platform, config, run })
    }
}

fn version(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<()> {
    let field = fields.require("schema_version", Code::VersionMissing, "add `schema_version: 1`", report)?;
    let Kind::Scalar(scalar) = &field.value.kind else {
        let message = format!("{field} is a whole number, not {}", field.value.describe());
        report.error(Code::WrongType, field.span(), message).hint("write `schema_version: 1`");
        return None;
    };
    if scalar.resolve() == Resolved::Integer(SCHEMA_VERSION.into()) {
        return Some(());
    }
    let message = format!("{field}: {} is not read, only {SCHEMA_VERSION}", report.quote(scalar.as_str()));
    let hint = if scalar.as_str() == "1" { "remove the quotes" } else { "write `schema_version: 1`" };
    report.error(Code::VersionUnsupported, field.span(), message).hint(hint);
    None
}

fn read_network(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<Network> {
    fields.only(&["ip", "gateway", "dns"], |_| None, report);
    let hint = "a fixed address has an `ip` and a `gateway`; for DHCP leave `network` out";
    let ip = fields.require("ip", Code::KeyMissing, hint, report).and_then(|field| {
        field.parsed(Code::BadAddress, |text| address::fixed(text).map(|()| text.to_owned()), report)
    });
    let gateway = fields.require("gateway", Code::KeyMissing, hint, report);
    let gateway = gateway.and_then(|field| field.parsed(Code::BadAddress, address::ipv4, report));
    let mut dns = Vec::new();
    for server in fields.get("dns").iter().flat_map(|field| field.each(report)).collect::<Vec<_>>() {
        dns.extend(server.parsed(Code::BadAddress, address::any, report));
    }
    let (ip, gateway) = (ip?, gateway?);
    if let Some(field) = fields.get("gateway").filter(|_| !address::is_near(&ip, gateway)) {
        let message = format!("{field}: {gateway} is not in the network of {ip}");
        let hint =
            "write the length of the prefix with the address, as in 192.0.2.7/24; where it is left out, it is 24";
        report.error(Code::BadAddress, field.span(), message).hint(hint);
        return None;
    }
    Some(Network { ip, gateway, dns })
}

fn read_posture(
    fields: &Fields<'_>,
    access: Option<&Fields<'_>>,
    names: &Names,
    report: &mut Report<'_>,
) -> Option<SiteName> {
    let field = access.and_then(|access| access.get("posture"));
    let Some(field) = field else {
        let usual = SiteName::parse(DEFAULT_POSTURE).ok()?;
        if !names.postures.contains(&usual) {
            let message =
                format!("{} names no posture, so that `{usual}` is meant, which the site has not", fields.subject());
            let hint = take::one_of("posture", names.postures.iter().map(SiteName::as_str));
            report
                .error(Code::UnknownPosture, fields.span(), message)
                .hint(format!("name one under `access:`; {hint}"));
        }
        return Some(usual);
    };
    let name = field.name(SiteName::parse, report)?;
    if !names.postures.contains(&name) {
        take::unknown(&field, "posture", Code::UnknownPosture, name.as_str(), &names.postures, report);
    }
    Some(name)
}

fn read_users(access: &Fields<'_>, names: &Names, report: &mut Report<'_>) -> Vec<User> {
    let mut users: Vec<User> = Vec::new();
    let items = access.get("users").and_then(|field| field.items(report)).unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        let Some(fields) = Fields::of(item, Subject::Numbered("user", index + 1), report) else { continue };
        fields.only(&["name", "sudo", "ssh_keys"], |_| None, report);
        let field = fields.require("name", Code::KeyMissing, "add `name: ` and who it is", report);
        let name = field.and_then(|field| field.name(UserName::parse, report));
        let sudo = take::flag(&fields, "sudo", report).unwrap_or_default();
        let ssh_keys = fields.get("ssh_keys").map(|keys| read_keys(&keys, names, report));
        let Some((name, field)) = name.zip(field) else { continue };
        if users.iter().any(|user| user.name == name) {
            report
                .error(Code::Repeated, field.span(), format!("there is a user {:?} above already", name.as_str()))
                .hint("write all that concerns one user in one place");
        }
        users.push(User { name, sudo, ssh_keys });
    }
    users
}

/// Names of keys; a leading `ssh_keys.` is how older files write them.
fn read_keys(list: &Field<'_>, names: &Names, report: &mut Report<'_>) -> Vec<String> {
    let mut keys = Vec::new();
    for field in list.each(report).collect::<Vec<_>>() {
        let Some(text) = field.text(report) else { continue };
        let known = names.ssh_keys.as_ref();
        let whole = known.is_some_and(|known| known.iter().any(|key| key == text));
        let name = if whole { text } else { text.strip_prefix("ssh_keys.").unwrap_or(text) };
        if let Some(known) = known.filter(|known| !known.iter().any(|key| key == name)) {
            let message = format!("{field}: the secrets have no SSH key {}", report.quote(name));
            let all = || known.iter().map(String::as_str);
            report.unknown(Code::UnknownSshKey, field.span(), message, name, all(), || match known.is_empty() {
                true => {
                    "the secrets have none under `ssh_keys:`; leave the list out for all that there ever are".into()
                }
                false => take::one_of("SSH key", all()),
            });
        }
        if !keys.iter().any(|key| key == name) {
            keys.push(name.to_owned());
        }
    }
    keys
}

fn read_platform(fields: &Fields<'_>, report: &mut Report<'_>) -> Platform {
    fields.only(&["packages", "services"], |_| None, report);
    let packages = take::names(fields, "packages", Package::parse, report);
    let services = take::section(fields, "services", report).map(|services| {
        services.only(&["enable", "disable"], |_| None, report);
        Services {
            enable: take::names(&services, "enable", Unit::parse, report),
            disable: take::names(&services, "disable", Unit::parse, report),
        }
    });
    Platform { packages, services: services.unwrap_or_default() }
}

/// Anything may stand here; of what is known, the form is checked.
fn read_config(fields: &Fields<'_>, report: &mut Report<'_>) -> BTreeMap<String, Value> {
    let _ = take::name(fields, "timezone", TimeZone::parse, report);
    if let Some(pve) = take::section(fields, "pve", report) {
        pve.only(&["remove_subscription_nag"], |_| None, report);
        let _ = take::flag(&pve, "remove_subscription_nag", report);
    }
    let mut config = BTreeMap::new();
    for field in fields.iter().filter(|field| !field.value.is_null()) {
        config.extend(field.json(report).map(|value| (field.key().to_owned(), value)));
    }
    config
}

fn read_run(fields: &Fields<'_>, report: &mut Report<'_>) -> Run {
    fields.only(RUN_KEYS, |_| None, report);
    let field = fields.get("trigger");
    let trigger = field.and_then(|field| field.choice(TRIGGERS, report)).unwrap_or_default();
    if let (Some(field), Trigger::Webhook | Trigger::Git) = (field, trigger) {
        report
            .warning(Code::NoEffect, field.span(), format!("{field}: this trigger does nothing yet"))
            .hint("`schedule` and `manual` do; the node is configured by every `apply` whatever stands here");
    }
    let mut text = |key| fields.get(key).and_then(|field| field.text(report)).map(str::to_owned);
    let (path, repo) = (text("path"), text("repo"));
    Run {
        trigger,
        interval: take::name(fields, "interval", interval, report),
        port: fields.get("port").and_then(|field| field.number(1..=u16::MAX.into(), "", report)),
        path,
        repo,
        branch: take::name(fields, "branch", Word::parse, report),
        poll_interval: take::name(fields, "poll_interval", interval, report),
    }
}

/// A length of time, kept as it is written.
fn interval(text: &str) -> Result<String, &'static str> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().filter(|duration| duration.as_secs() > 0);
    parsed.map(|_| text.to_owned()).ok_or("write a length of time like 30m, 1h or 1h 30m")
}

fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "hostname" | "domain" => Some("write it under `identity:`"),
        "posture" | "users" => Some("write it under `access:`"),
        "packages" | "services" => Some("write it under `platform:`"),
        "timezone" => Some("write it under `config:`"),
        "trigger" | "interval" => Some("write it under `run:`"),
        _ => None,
    }
}

fn access_elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "ssh_keys" | "sudo" => Some("write it with a user, under `users:`"),
        "ssh" | "fail2ban" | "security" => Some("that is what a posture says: name it with `posture: `"),
        _ => None,
    }
}
