//! `config tfvars`: the variables of one machine for tofu.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{NodeName, SiteName};
use homestak_protocol::token::{self, Claims};
use serde::Serialize;
use serde_json::Value;

use super::spec::one_of;
use crate::site::Site;
use crate::site::hosts::Asked;
use crate::site::model::Endpoint;

/// The variables, in the order in which they always were printed. They hold secrets in the clear: tofu needs them.
#[derive(Serialize)]
pub struct TofuVars {
    node: String,
    api_endpoint: String,
    api_token: String,
    ssh_user: String,
    automation_user: String,
    ssh_host: String,
    datastore: String,
    root_password: String,
    ssh_keys: Vec<String>,
    spec_server: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dns_servers: Vec<String>,
    vms: Vec<Machine>,
}

#[derive(Serialize)]
struct Machine {
    name: NodeName,
    vmid: Option<Vmid>,
    image: Option<SiteName>,
    cores: u32,
    memory: u64,
    disk: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    bridge: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    packages: Vec<String>,
    #[serde(flatten)]
    further: BTreeMap<String, Value>,
    auth_token: String,
}

/// A machine as a command line describes it.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The PVE node that makes it.
    pub node: &'a str,
    /// Its name.
    pub name: NodeName,
    /// Its id; PVE picks one where none.
    pub vmid: Option<Vmid>,
    /// Its preset.
    pub preset: &'a SiteName,
    /// Its image.
    pub image: Option<SiteName>,
    /// Its spec.
    pub spec: Option<SiteName>,
}

impl Site {
    /// The variables of one machine. `now_s` is when a token is minted, if one is due: there are a server and a spec.
    pub fn tofu_vars(&self, wanted: Wanted<'_>, login: &str, now_s: u64) -> Result<TofuVars, Fault> {
        let host = self.host(Asked::parse(wanted.node), login)?;
        if host.is_host_only {
            let message = format!("{} is no PVE node: there is only {}", host.name, host.config_file);
            let hint = format!("set PVE up on it and write nodes/{}.yaml, or run `make node-config` there", host.name);
            return Err(Fault::new(Code::NotFound, message).hint(hint));
        }
        if host.api_endpoint.is_empty() {
            let message = format!("{} does not say where its API is", host.config_file);
            return Err(Fault::new(Code::NotFound, message).hint("add `api_endpoint: https://HOST:8006` to it"));
        }
        let preset = self.preset(Some(wanted.preset)).ok_or_else(|| {
            let message = format!("the site has no preset {}", wanted.preset);
            Fault::new(Code::NotFound, message).hint(one_of("presets", self.content.presets.keys()))
        })?;
        if let Some(spec) = wanted.spec.as_ref().filter(|spec| !self.content.specs.contains_key(spec)) {
            let message = format!("the site has no spec {spec}");
            return Err(Fault::new(Code::NotFound, message).hint(one_of("specs", self.content.specs.keys())));
        }
        let loopback = Endpoint::parse(&host.api_endpoint).is_ok_and(|endpoint| endpoint.is_loopback());
        let defaults = self.defaults();
        let server = defaults.server_url.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default();
        let auth_token = match &wanted.spec {
            Some(spec) if !server.is_empty() => self.mint(wanted.name.as_str(), spec, now_s)?,
            _ => String::new(),
        };
        let secrets = self.secrets()?;
        Ok(TofuVars {
            node: host.node,
            api_endpoint: host.api_endpoint,
            api_token: host.api_token.secret().map(|token| token.expose().to_owned()).unwrap_or_default(),
            ssh_user: host.ssh_user,
            automation_user: host.automation_user,
            ssh_host: if loopback { Ipv4Addr::LOCALHOST.to_string() } else { host.ip },
            datastore: host.datastore,
            root_password: secrets.passwords.vm_root.as_ref().map(|hash| hash.expose().to_owned()).unwrap_or_default(),
            ssh_keys: secrets.ssh_keys.iter().map(|(_, key)| key.clone()).collect(),
            spec_server: server,
            dns_servers: defaults.dns_servers.iter().map(ToString::to_string).collect(),
            vms: vec![Machine {
                name: wanted.name,
                vmid: wanted.vmid,
                image: wanted.image,
                cores: preset.cores,
                memory: preset.memory,
                disk: preset.disk,
                ip: preset.ip.as_ref().map(ToString::to_string),
                bridge: preset.bridge.as_ref().map_or(host.bridge, ToString::to_string),
                gateway: preset.gateway.or(defaults.gateway),
                packages: preset.packages.iter().map(ToString::to_string).collect(),
                further: preset.further.clone(),
                auth_token,
            }],
        })
    }

    /// A token signed with the site's key.
    fn mint(&self, node: &str, spec: &SiteName, now_s: u64) -> Result<String, Fault> {
        let key = self.signing_key()?.ok_or_else(|| {
            Fault::new(Code::TokenMalformed, "a token is due and the secrets have no `auth.signing_key`")
                .hint("make one with `openssl rand -hex 32` and write it there")
        })?;
        token::mint(key, &Claims::new(node, spec.as_str(), now_s))
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))
    }
}
