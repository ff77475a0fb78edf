//! The files of a site, as they are written.

use std::collections::BTreeMap;

use homestak_protocol::ids::Vmid;
use homestak_protocol::name::SiteName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `site.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiteFile {
    pub(super) defaults: Defaults,
}

/// What holds where nothing else is said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    pub(super) domain: Option<String>,
    pub(super) timezone: Option<String>,
    pub(super) bridge: Option<String>,
    pub(super) gateway: Option<String>,
    pub(super) dns_servers: Vec<String>,
    pub(super) vm_user: Option<String>,
    pub(super) packages: Vec<String>,
    pub(super) vmid_base: Option<Vmid>,
}

/// The size of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Virtual processors.
    pub cores: u32,
    /// MiB.
    pub memory: u64,
    /// GiB.
    pub disk: u64,
}

/// How open a machine is. Nodes get all of it but `auth`, which is between machine and endpoint.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posture {
    #[serde(skip_serializing)]
    #[expect(dead_code, reason = "read so that an unknown key is an error; the endpoint is what acts on it")]
    auth: Auth,
    ssh: Ssh,
    sudo: Sudo,
    fail2ban: Fail2ban,
    packages: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    #[expect(dead_code, reason = "as above")]
    method: AuthMethod,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthMethod {
    Network,
    SiteToken,
    NodeToken,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Ssh {
    port: u16,
    permit_root_login: String,
    password_authentication: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Sudo {
    nopasswd: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Fail2ban {
    enabled: bool,
}

/// What a machine becomes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecFile {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) identity: Identity,
    pub(super) access: Access,
    #[serde(default)]
    pub(super) platform: Platform,
    #[serde(default)]
    pub(super) config: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) hostname: Option<String>,
    pub(super) domain: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    pub(super) posture: SiteName,
    #[serde(default)]
    pub(super) users: Vec<User>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    name: String,
    #[serde(default)]
    sudo: bool,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Platform {
    packages: Vec<String>,
    services: Services,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Services {
    enable: Vec<String>,
    disable: Vec<String>,
}
