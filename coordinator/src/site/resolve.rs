//! What the site's files come to for one node.

use std::collections::BTreeMap;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::{NodeName, SiteName};
use homestak_protocol::order::{CloudInit, Spec};
use serde::Serialize;
use serde_json::Value;

use super::Site;
use super::model::{Platform, Posture, User};

/// A resolved spec: what the spec endpoint serves and what is pushed.
#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    identity: Identity<'a>,
    access: Access<'a>,
    platform: &'a Platform,
    config: BTreeMap<&'a str, &'a Value>,
}

#[derive(Serialize)]
struct Identity<'a> {
    hostname: &'a str,
    domain: Option<&'a str>,
}

#[derive(Serialize)]
struct Access<'a> {
    posture: &'a SiteName,
    security: &'a Posture,
    users: &'a [User],
}

impl Site {
    /// A spec as a node of this name gets it.
    pub fn spec(&self, name: &SiteName, node: &NodeName) -> Result<Spec, Fault> {
        let spec = self.specs.get(name).ok_or_else(|| {
            Fault::new(Code::NotFound, format!("the site has no spec {name}")).hint(one_of("specs", self.specs.keys()))
        })?;
        let posture = &spec.access.posture;
        let security = self.postures.get(posture).ok_or_else(|| {
            Fault::new(
                Code::PostureNotFound,
                format!("spec {name} names the posture {posture}, which the site has not"),
            )
            .hint(one_of("postures", self.postures.keys()))
        })?;
        let mut config: BTreeMap<&str, &Value> = spec.config.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let timezone = self.defaults.timezone.as_deref().map(Value::from);
        if let Some(timezone) = &timezone {
            config.entry("timezone").or_insert(timezone);
        }
        let document = Document {
            schema_version: spec.schema_version,
            identity: Identity {
                hostname: spec.identity.hostname.as_deref().unwrap_or(node.as_str()),
                domain: spec.identity.domain.as_deref().or(self.defaults.domain.as_deref()),
            },
            access: Access { posture, security, users: &spec.access.users },
            platform: &spec.platform,
            config,
        };
        let document = serde_json::to_string(&document)
            .map_err(|error| Fault::new(Code::SpecInvalid, format!("spec {name} cannot be written down: {error}")))?;
        Ok(Spec { name: name.clone(), document })
    }

    /// What every machine's first boot is told.
    pub fn cloud_init(&self) -> CloudInit {
        CloudInit {
            user: self.defaults.vm_user.clone(),
            packages: self.defaults.packages.clone(),
            gateway: self.defaults.gateway.clone(),
            dns_servers: self.defaults.dns_servers.clone(),
            domain: self.defaults.domain.clone(),
            ..CloudInit::default()
        }
    }
}

fn one_of<'a>(what: &str, names: impl Iterator<Item = &'a SiteName>) -> String {
    format!("its {what}: {}", names.map(SiteName::as_str).collect::<Vec<_>>().join(", "))
}
