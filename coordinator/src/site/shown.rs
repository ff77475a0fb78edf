//! `config show`: a site as it was read, with what is secret masked.

use std::collections::BTreeMap;

use homestak_protocol::name::{HostName, SiteName};
use serde::Serialize;

use super::Site;
use super::hosts::{Asked, HostConfig};
use super::model::{Defaults, Posture, Preset};
use super::secrets::Secrets;

/// What stands in the place of a secret that is set; empty text in that of one that is not.
const MASK: &str = "[secret]";

/// A site, in the order in which it is printed.
#[derive(Debug, Serialize)]
pub struct Shown<'s> {
    site: &'s str,
    defaults: &'s Defaults,
    hosts: BTreeMap<HostName, HostConfig>,
    presets: &'s BTreeMap<SiteName, Preset>,
    postures: &'s BTreeMap<SiteName, Posture>,
    /// Each with its posture; `config spec` prints the whole.
    specs: BTreeMap<&'s SiteName, &'s SiteName>,
    envs: BTreeMap<&'s SiteName, Option<&'s SiteName>>,
    manifests: Vec<&'s str>,
    /// None where they are locked away.
    secrets: Option<Masked<'s>>,
}

#[derive(Debug, Serialize)]
struct Masked<'s> {
    api_tokens: BTreeMap<&'s str, &'static str>,
    passwords: BTreeMap<&'static str, &'static str>,
    ssh_keys: BTreeMap<&'s str, &'static str>,
    auth: BTreeMap<&'static str, &'static str>,
}

impl Site {
    /// The whole of it. `login` is who asks, for hosts of which nobody says who logs in.
    pub fn shown(&self, login: &str) -> Shown<'_> {
        let content = &self.content;
        let host = |name: HostName| Some((name.clone(), self.host(Asked::parse(name.as_str()), login).ok()?));
        Shown {
            site: self.label(),
            defaults: &content.defaults,
            hosts: self.hosts().into_iter().filter_map(host).collect(),
            presets: &content.presets,
            postures: &content.postures,
            specs: content.specs.iter().map(|(name, spec)| (name, &spec.posture)).collect(),
            envs: content.envs.iter().map(|(name, env)| (name, env.posture.as_ref())).collect(),
            manifests: content.manifests.keys().map(String::as_str).collect(),
            secrets: content.opened.secrets().ok().map(masked),
        }
    }
}

fn masked(secrets: &Secrets) -> Masked<'_> {
    let mask = |set: bool| if set { MASK } else { "" };
    let auth = &secrets.auth;
    let keys = [
        ("signing_key", mask(auth.signing_key.is_some())),
        ("previous_signing_key", mask(auth.previous_signing_key.is_some())),
    ];
    Masked {
        api_tokens: secrets.api_tokens.iter().map(|(name, _)| (name.as_str(), MASK)).collect(),
        passwords: BTreeMap::from([("vm_root", mask(secrets.passwords.vm_root.is_some()))]),
        ssh_keys: secrets.ssh_keys.iter().map(|(name, _)| (name.as_str(), MASK)).collect(),
        auth: BTreeMap::from(keys),
    }
}
