//! Guests: virtual machines and containers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use homestak_protocol::ids::Vmid;
use homestak_protocol::order::NodeKind;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Api, CallError, Form, Upid};

/// What a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    /// What makes a node of this kind.
    pub(crate) const fn of(kind: NodeKind) -> Self {
        match kind {
            NodeKind::Vm | NodeKind::Pve => GuestKind::Qemu,
            NodeKind::Ct => GuestKind::Lxc,
        }
    }

    /// As paths spell it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            GuestKind::Qemu => "qemu",
            GuestKind::Lxc => "lxc",
        }
    }

    /// As people call it.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            GuestKind::Qemu => "VM",
            GuestKind::Lxc => "CT",
        }
    }
}

/// A guest, as the cluster lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Guest {
    /// Its id.
    pub(crate) vmid: Vmid,
    /// What it is.
    #[serde(rename = "type")]
    pub(crate) kind: GuestKind,
    /// The node that has it: only that one can do something to it.
    pub(crate) node: String,
    /// Its name.
    #[serde(default)]
    pub(crate) name: String,
    /// `running` or `stopped`, some seconds old.
    #[serde(default)]
    pub(crate) status: String,
    /// Its tags, separated by semicolons.
    #[serde(default)]
    pub(crate) tags: String,
    /// Its HA state, where it is managed.
    pub(crate) hastate: Option<String>,
    /// What has it, `create` while it is made.
    pub(crate) lock: Option<String>,
}

impl Guest {
    /// Its tags, one by one.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.split([';', ',', ' ']).filter(|tag| !tag.is_empty())
    }

    /// Its place in the API.
    pub(crate) fn path(&self) -> String {
        path(&self.node, self.kind, self.vmid)
    }

    /// As people call it.
    pub(crate) fn noun(&self) -> String {
        format!("{} {}", self.kind.noun(), self.vmid)
    }
}

/// A guest's place in the API.
pub(crate) fn path(node: &str, kind: GuestKind, vmid: Vmid) -> String {
    format!("/nodes/{node}/{}/{vmid}", kind.as_str())
}

/// How a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Power {
    status: String,
    /// What has it, `backup`.
    pub(crate) lock: Option<String>,
    #[serde(default)]
    ha: Ha,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
struct Ha {
    #[serde(default, deserialize_with = "truthy")]
    managed: bool,
}

impl Power {
    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// `running`, `stopped`, `paused`.
    pub(crate) fn name(&self) -> &str {
        &self.status
    }

    /// Whether the cluster's HA manager starts and stops it.
    pub(crate) const fn is_ha_managed(&self) -> bool {
        self.ha.managed
    }
}

/// A guest's configuration as it will be: what waits for its next start counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Config {
    values: BTreeMap<String, String>,
    /// What goes with the next start.
    leaving: BTreeSet<String>,
}

impl Config {
    /// A value.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A disk that it has, attached or not, or had until its next start; none where it never was given one. What is a
    /// CD to it, as cloud-init's drive is, is no disk.
    pub(crate) fn any_disk(&self) -> Option<&str> {
        let is_disk = |key: &str| {
            ["virtio", "scsi", "sata", "ide", "unused"].iter().any(|bus| {
                key.strip_prefix(bus)
                    .is_some_and(|number| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
            })
        };
        let kept = self.values.iter().filter(|(_, value)| !value.contains("media=cdrom")).map(|(key, _)| key);
        kept.chain(&self.leaving).map(String::as_str).find(|key| is_disk(key))
    }

    /// A value that is a number.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// One property of a value such as `virtio=BC:24:11:00:00:01,bridge=vmbr0`.
    pub(crate) fn property(&self, key: &str, property: &str) -> Option<&str> {
        let mut parts = self.value(key)?.split(',').filter_map(|part| part.split_once('='));
        parts.find(|(name, _)| *name == property).map(|(_, value)| value)
    }
}

#[derive(Deserialize)]
struct Pending {
    key: String,
    value: Option<Value>,
    pending: Option<Value>,
    delete: Option<Value>,
}

#[derive(Deserialize)]
struct Interfaces {
    #[serde(default)]
    result: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(rename = "ip-addresses", default)]
    addresses: Vec<Address>,
    /// Of a container, with its prefix length.
    inet: Option<String>,
    inet6: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "ip-address")]
    ip: String,
}

impl Api {
    /// Every guest that the token may see. `GET /cluster/resources?type=vm`
    pub(crate) async fn guests(&self) -> Result<Vec<Guest>, CallError> {
        self.get("listing the guests", "/cluster/resources", &Form::new().with("type", "vm")).await
    }

    /// `GET …/status/current`
    pub(crate) async fn power(&self, guest: &Guest) -> Result<Power, CallError> {
        let path = format!("{}/status/current", guest.path());
        self.get(&format!("looking at {}", guest.noun()), &path, &Form::new()).await
    }

    /// `GET …/pending`
    pub(crate) async fn config(&self, guest: &Guest) -> Result<Config, CallError> {
        let path = format!("{}/pending", guest.path());
        let doing = format!("reading the configuration of {}", guest.noun());
        let all: Vec<Pending> = self.get(&doing, &path, &Form::new()).await?;
        let (leaving, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.delete.is_some());
        let values = kept.into_iter().filter_map(|one| Some((one.key, text(&one.pending.or(one.value)?)))).collect();
        Ok(Config { values, leaving: leaving.into_iter().map(|one| one.key).collect() })
    }

    /// `POST /nodes/{node}/qemu` or `/lxc`
    pub(crate) async fn create(&self, node: &str, kind: GuestKind, vmid: Vmid, form: &Form) -> Result<Upid, CallError> {
        self.post(&format!("creating {} {vmid}", kind.noun()), &format!("/nodes/{node}/{}", kind.as_str()), form).await
    }

    /// `PUT …/config`
    pub(crate) async fn configure(&self, guest: &Guest, form: &Form) -> Result<(), CallError> {
        let path = format!("{}/config", guest.path());
        let _: Value = self.put(&format!("changing {}", guest.noun()), &path, form).await?;
        Ok(())
    }

    /// `PUT …/resize`; a task since PVE 8.
    pub(crate) async fn resize(&self, guest: &Guest, disk: &str, gib: u64) -> Result<Option<Upid>, CallError> {
        let form = Form::new().with("disk", disk).with("size", format_args!("{gib}G"));
        let doing = format!("resizing the disk of {}", guest.noun());
        let answer: Value = self.put(&doing, &format!("{}/resize", guest.path()), &form).await?;
        Ok(answer.as_str().and_then(|text| text.parse().ok()))
    }

    /// `POST …/status/{action}`
    pub(crate) async fn act(&self, guest: &Guest, action: &str, form: &Form) -> Result<Upid, CallError> {
        let doing = format!("{action} of {}", guest.noun());
        self.post(&doing, &format!("{}/status/{action}", guest.path()), form).await
    }

    /// `DELETE …`
    pub(crate) async fn remove(&self, guest: &Guest, form: &Form) -> Result<Upid, CallError> {
        self.delete(&format!("destroying {}", guest.noun()), &guest.path(), form).await
    }

    /// The addresses that the guest has, as its guest agent or its container's host sees them, none of its loopback.
    pub(crate) async fn addresses(&self, guest: &Guest) -> Result<Vec<IpAddr>, CallError> {
        let doing = format!("asking {} for its addresses", guest.noun());
        let interfaces = match guest.kind {
            GuestKind::Qemu => {
                let path = format!("{}/agent/network-get-interfaces", guest.path());
                self.get::<Interfaces>(&doing, &path, &Form::new()).await?.result
            }
            GuestKind::Lxc => {
                let path = format!("{}/interfaces", guest.path());
                self.get::<Option<Vec<Interface>>>(&doing, &path, &Form::new()).await?.unwrap_or_default()
            }
        };
        let texts = interfaces.into_iter().filter(|one| one.name != "lo").flat_map(|one| {
            let plain = |text: String| text.split('/').next().unwrap_or_default().to_owned();
            let own = [one.inet, one.inet6].into_iter().flatten().map(plain);
            one.addresses.into_iter().map(|address| address.ip).chain(own).collect::<Vec<_>>()
        });
        let mut found: Vec<IpAddr> = texts.filter_map(|text| text.parse().ok()).filter(is_of_use).collect();
        found.sort_by_key(IpAddr::is_ipv6);
        Ok(found)
    }
}

/// Whether others can reach something there.
fn is_of_use(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    }
}

/// PVE writes numbers as numbers or texts, as it pleases.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// PVE's booleans: 0 and 1, as numbers or texts.
pub(super) fn truthy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(match &value {
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_u64() != Some(0),
        Value::String(text) => !matches!(text.as_str(), "" | "0"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_will_be() {
        let value = |text: &str| (text.to_owned(), text.to_owned());
        let mut config = Config::default();
        config.values.insert("net0".into(), "virtio=BC:24:11:00:00:01,bridge=vmbr0".into());
        config.values.insert("ide2".into(), "local-lvm:vm-100-cloudinit,media=cdrom".into());
        assert_eq!(config.property("net0", "bridge"), Some("vmbr0"));
        assert_eq!((config.property("net0", "tag"), config.any_disk()), (None, None));
        config.leaving.insert("virtio0".into());
        assert_eq!(config.any_disk(), Some("virtio0"), "it has one until it is started again");
        config.values.extend([value("scsihw"), value("scsi1")]);
        assert_eq!(config.any_disk(), Some("scsi1"));
    }

    #[test]
    fn only_addresses_that_others_reach_count() {
        let is = |text: &str| is_of_use(&text.parse().unwrap());
        assert!(is("192.0.2.10") && is("2001:db8::1"));
        assert!(!is("127.0.0.1") && !is("169.254.1.1") && !is("fe80::1") && !is("::1"));
    }
}
