//! What cloud-init is given so that a new machine starts its agent: user-data, meta-data and network configuration.
//!
//! Pure: a provider writes these texts to where its machines find them. They are YAML because they are JSON with every
//! text quoted, so that no value is taken for something else, by whichever reader.

mod start;
mod text;

use std::net::IpAddr;

use homestak_node::world::Boot;
use homestak_protocol::order::CloudInit;
use serde_json::{Value, json};

pub use self::start::UNIT;
pub(crate) use self::start::{ENVIRONMENT, PROGRAM, UNIT_PATH, environment, variables};
use self::start::{FETCH, UNIT_BESIDE, fetch_script};
use self::text::to_text;
use crate::settings::ProviderKind;

/// Where a machine gets its agent from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// It is in its image, with its unit.
    InImage,
    /// If none is in its image, it is fetched from the parent's endpoint before it is run.
    Fetched {
        /// The parent's CA, PEM: the one that `HOMESTAK_CA` is the pin of. Only a server under it is shown the token.
        ca_pem: String,
        /// SHA-256 of the program, 64 hex digits. Nothing else is run.
        digest: String,
    },
}

/// The user-data of the machine called `name`. One that is to carry machines makes them with this provider.
pub fn user_data(
    told: &CloudInit,
    boot: &Boot,
    name: &str,
    program: &Program,
    provider: Option<ProviderKind>,
) -> String {
    let mut packages = vec!["qemu-guest-agent".to_owned()];
    packages.extend(told.packages.iter().filter(|package| *package != "qemu-guest-agent").cloned());
    let mut files = vec![file(ENVIRONMENT, "0600", &environment(boot, name, provider))];
    let mut commands = vec![json!(["systemctl", "enable", "--now", "qemu-guest-agent"])];
    if let Program::Fetched { ca_pem, digest } = program {
        // What fetches it.
        packages.extend(
            ["ca-certificates", "curl"].map(str::to_owned).into_iter().filter(|one| !told.packages.contains(one)),
        );
        files.push(file("/etc/homestak/ca.pem", "0644", ca_pem));
        files.push(file(UNIT_BESIDE, "0644", UNIT));
        files.push(file(FETCH, "0700", &fetch_script(boot, digest)));
        commands.push(json!([FETCH]));
        commands.push(json!(["systemctl", "daemon-reload"]));
    }
    commands.push(json!(["systemctl", "enable", "--now", "homestak-agent"]));
    let mut document = json!({
        "hostname": name,
        "preserve_hostname": false,
        "package_update": true,
        "packages": packages,
        "users": users(told),
        "write_files": files,
        "runcmd": commands,
    });
    if let Some(document) = document.as_object_mut() {
        if let Some(domain) = &told.domain {
            document.insert("fqdn".to_owned(), json!(format!("{name}.{domain}")));
        }
        // Debian's images have cloud-init write /etc/hosts at each start, the name beside 127.0.1.1: PVE does not start then.
        if provider == Some(ProviderKind::Pve) {
            document.insert("manage_etc_hosts".to_owned(), json!(false));
        }
    }
    format!("#cloud-config\n{}", to_text(&document))
}

/// The meta-data of the machine called `name`. Another `instance` makes cloud-init begin anew.
pub fn meta_data(instance: &str, name: &str) -> String {
    to_text(&json!({ "instance-id": instance, "local-hostname": name }))
}

/// The network configuration (version 2): the one address, or DHCP. `mac` names the device; without it, it is the first
/// that looks like Ethernet.
pub fn network_config(told: &CloudInit, mac: Option<&str>) -> String {
    let mut device = match mac {
        Some(mac) => json!({ "match": { "macaddress": mac.to_ascii_lowercase() }, "set-name": "eth0" }),
        None => json!({ "match": { "name": "e*" } }),
    };
    let mut set = |key: &str, value: Value| {
        if let Some(device) = device.as_object_mut() {
            device.insert(key.to_owned(), value);
        }
    };
    match &told.address {
        Some(address) => {
            set("dhcp4", json!(false));
            set("addresses", json!([address]));
        }
        None => {
            set("dhcp4", json!(true));
            // A lease goes by the card, whoever asks for it: systemd-networkd would name the machine's id, which is another
            // in each of its lives, and dhclient, which does so on a PVE host's bridge, the card. The address would change.
            set("dhcp-identifier", json!("mac"));
        }
    }
    if let Some(gateway) = told.address.as_ref().and(told.gateway.as_deref()) {
        let everywhere = if gateway.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) { "::/0" } else { "0.0.0.0/0" };
        set("routes", json!([{ "to": everywhere, "via": gateway }]));
    }
    if !told.dns_servers.is_empty() || told.domain.is_some() {
        let search: Vec<&String> = told.domain.iter().collect();
        set("nameservers", json!({ "addresses": told.dns_servers, "search": search }));
    }
    to_text(&json!({ "version": 2, "ethernets": { "eth0": device } }))
}

/// The automation user, who may become root, and root, where it is to have a password.
fn users(told: &CloudInit) -> Vec<Value> {
    let automation = told.user.as_deref().filter(|user| *user != "root").map(|user| {
        json!({
            "name": user, "shell": "/bin/bash", "lock_passwd": true, "sudo": "ALL=(ALL:ALL) NOPASSWD:ALL",
            "ssh_authorized_keys": told.ssh_keys,
        })
    });
    let hash = told.root_password_hash.as_ref();
    let root_keys = told.user.as_deref() == Some("root");
    let root = (hash.is_some() || root_keys).then(|| {
        let mut root = json!({ "name": "root", "lock_passwd": hash.is_none() });
        if let (Some(hash), Some(root)) = (hash, root.as_object_mut()) {
            root.insert("hashed_passwd".to_owned(), json!(hash.expose()));
        }
        if let (true, Some(root)) = (root_keys, root.as_object_mut()) {
            root.insert("ssh_authorized_keys".to_owned(), json!(told.ssh_keys));
        }
        root
    });
    automation.into_iter().chain(root).collect()
}

fn file(path: &str, mode: &str, content: &str) -> Value {
    json!({ "path": path, "owner": "root:root", "permissions": mode, "content": content })
}

#[cfg(test)]
mod tests;
