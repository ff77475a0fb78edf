//! A spec as a node gets it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::{NodeName, SiteName};
use homestak_protocol::order::Spec;
use serde::Serialize;
use serde_json::Value;

use crate::site::Site;
use crate::site::model::{Domain, Network, Platform, Posture, Run, SPEC_VERSION, User, UserName};

/// A resolved spec: what the spec endpoint serves and what is pushed.
#[derive(Debug, Serialize)]
pub struct SpecDocument<'a> {
    schema_version: u32,
    identity: Identity<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'a Network>,
    access: Access<'a>,
    platform: &'a Platform,
    config: BTreeMap<&'a str, Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<&'a Run>,
}

#[derive(Debug, Serialize)]
struct Identity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<NodeName>,
    domain: Option<&'a Domain>,
}

#[derive(Debug, Serialize)]
struct Access<'a> {
    posture: &'a SiteName,
    security: &'a Posture,
    users: Vec<ResolvedUser<'a>>,
}

#[derive(Debug, Serialize)]
struct ResolvedUser<'a> {
    name: &'a UserName,
    sudo: bool,
    ssh_keys: Vec<&'a str>,
}

impl Site {
    /// A spec as a node of this name gets it.
    pub fn spec(&self, name: &SiteName, node: &NodeName) -> Result<Spec, Fault> {
        let document = serde_json::to_string(&self.spec_document(name, Some(node))?)
            .map_err(|error| Fault::new(Code::SpecInvalid, format!("spec {name} cannot be written down: {error}")))?;
        Ok(Spec { name: name.clone(), document })
    }

    /// The same before it is text; for no node in particular, without a host name.
    pub fn spec_document(&self, name: &SiteName, node: Option<&NodeName>) -> Result<SpecDocument<'_>, Fault> {
        let content = &self.content;
        let spec = content.specs.get(name).ok_or_else(|| {
            Fault::new(Code::NotFound, format!("the site has no spec {name}"))
                .hint(one_of("specs", content.specs.keys()))
        })?;
        let posture = &spec.posture;
        let security = content.postures.get(posture).ok_or_else(|| {
            Fault::new(
                Code::PostureNotFound,
                format!("spec {name} names the posture {posture}, which the site has not"),
            )
            .hint(one_of("postures", content.postures.keys()))
        })?;
        let users = spec.users.iter().map(|user| self.user(name, user)).collect::<Result<Vec<_>, _>>()?;
        let config = spec.config.iter().map(|(key, value)| (key.as_str(), Cow::Borrowed(value)));
        let mut config: BTreeMap<&str, Cow<'_, Value>> = config.collect();
        if let Some(timezone) = &content.defaults.timezone {
            config.entry("timezone").or_insert_with(|| Cow::Owned(Value::from(timezone.as_str())));
        }
        Ok(SpecDocument {
            schema_version: SPEC_VERSION,
            identity: Identity {
                hostname: spec.hostname.as_ref().or(node).cloned(),
                domain: spec.domain.as_ref().or(content.defaults.domain.as_ref()),
            },
            network: spec.network.as_ref(),
            access: Access { posture, security, users },
            platform: &spec.platform,
            config,
            run: spec.run.as_ref(),
        })
    }

    /// A user with its own keys and no other's.
    fn user<'a>(&'a self, spec: &SiteName, user: &'a User) -> Result<ResolvedUser<'a>, Fault> {
        let secrets = self.secrets()?;
        let key = |name: &String| {
            secrets.ssh_key(name).ok_or_else(|| {
                let message = format!("spec {spec}: the secrets have no SSH key {name:?} for {}", user.name);
                Fault::new(Code::KeyNotFound, message).hint("add it under `ssh_keys:` of the secrets")
            })
        };
        let ssh_keys = match &user.ssh_keys {
            None => secrets.ssh_keys.iter().map(|(_, value)| value.as_str()).collect(),
            Some(names) => names.iter().map(key).collect::<Result<_, _>>()?,
        };
        Ok(ResolvedUser { name: &user.name, sudo: user.sudo, ssh_keys })
    }
}

pub(super) fn one_of<'a>(what: &str, names: impl Iterator<Item = &'a SiteName>) -> String {
    format!("its {what}: {}", names.map(SiteName::as_str).collect::<Vec<_>>().join(", "))
}
