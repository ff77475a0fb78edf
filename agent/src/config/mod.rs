//! Configuration: a resolved spec becomes a list of resources, and they are put right one by one.
//!
//! Everything goes below the target's root folder. On `local` packages and services cannot be had there and are put on
//! record instead. Applying twice changes nothing the second time; checking is applying without the deed.

pub mod resource;
pub mod spec;

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::Spec;
use serde::Serialize;

use self::resource::{Difference, NoFile, Recorded, Resource, Simulated, Target, TextFile};
use self::spec::{NodeSpec, User};
use crate::files::{FileError, read_if_there, to_yaml, write_whole};

/// Files that everybody may read, in folders that everybody may enter.
const PUBLIC: (u32, u32) = (0o644, 0o755);
/// Files of one user.
const PRIVATE: (u32, u32) = (0o600, 0o700);
/// Files that sudo reads; it refuses others.
const SUDOERS: (u32, u32) = (0o440, 0o750);

/// Why a machine cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The spec makes no sense.
    #[error("the spec {name} cannot be used: {why}")]
    Spec {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file system says no.
    #[error(transparent)]
    File(#[from] FileError),
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Spec { name, .. } => {
                Fault::new(Code::SpecInvalid, error.to_string()).hint(format!("correct specs/{name}.yaml of the site"))
            }
            ConfigError::File(file) => Fault::new(Code::Configure, format!("{file}: {}", file.source))
                .hint("look at the free space and the permissions there"),
        }
    }
}

/// Turns a machine into a host, as far as a folder can be one: its name, and where it is found by it.
pub fn host_resources(name: &str) -> Vec<Box<dyn Resource>> {
    let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n");
    vec![
        text("etc/hostname", format!("{name}\n"), PUBLIC),
        text("etc/hosts", hosts, PUBLIC),
        recorded(Simulated::Packages, ["proxmox-ve"]),
    ]
}

/// What a spec asks for. `node` is the node's own name.
pub fn spec_resources(spec: &NodeSpec, node: &str) -> Vec<Box<dyn Resource>> {
    let security = &spec.access.security;
    let hostname = spec.identity.hostname.as_ref().map_or(node, |name| name.as_str());
    let mut wanted = vec![text("etc/hostname", format!("{hostname}\n"), PUBLIC)];
    if let Some(timezone) = &spec.config.timezone {
        wanted.push(text("etc/timezone", format!("{timezone}\n"), PUBLIC));
    }
    wanted.push(recorded(Simulated::Packages, spec.packages()));
    for user in &spec.access.users {
        user_resources(user, security.sudo.nopasswd, &mut wanted);
    }
    let sshd = format!(
        "Port {}\nPermitRootLogin {}\nPasswordAuthentication {}\n",
        security.ssh.port,
        security.ssh.permit_root_login.as_str(),
        security.ssh.password_authentication.as_str()
    );
    wanted.push(text("etc/ssh/sshd_config.d/10-homestak.conf", sshd, PUBLIC));
    let jail = "etc/fail2ban/jail.d/homestak.conf";
    wanted.push(match security.fail2ban.enabled {
        true => text(jail, format!("[sshd]\nenabled = true\nport = {}\n", security.ssh.port), PUBLIC),
        false => Box::new(NoFile { path: jail.to_owned() }),
    });
    let services = &spec.platform.services;
    wanted.push(recorded(Simulated::Enabled, services.enable.iter().map(|unit| unit.as_str())));
    wanted.push(recorded(Simulated::Disabled, services.disable.iter().map(|unit| unit.as_str())));
    wanted
}

fn user_resources(user: &User, nopasswd: bool, wanted: &mut Vec<Box<dyn Resource>>) {
    let name = &user.name;
    let home = if name.as_str() == "root" { "root".to_owned() } else { format!("home/{name}") };
    let keys: String = user.ssh_keys.iter().map(|key| format!("{key}\n")).collect();
    wanted.push(text(&format!("{home}/.ssh/authorized_keys"), keys, PRIVATE));
    let sudoers = format!("etc/sudoers.d/homestak-{name}");
    wanted.push(match user.sudo {
        true => {
            let password = if nopasswd { "NOPASSWD: " } else { "" };
            text(&sudoers, format!("{name} ALL=(ALL:ALL) {password}ALL\n"), SUDOERS)
        }
        false => Box::new(NoFile { path: sudoers }),
    });
}

fn text(path: &str, content: String, mode: (u32, u32)) -> Box<dyn Resource> {
    Box::new(TextFile { path: path.to_owned(), content, mode })
}

fn recorded<'a>(what: Simulated, names: impl IntoIterator<Item = &'a str>) -> Box<dyn Resource> {
    Box::new(Recorded { what, names: names.into_iter().map(str::to_owned).collect() })
}

/// Everything that is not as it should be.
pub fn check(resources: &[Box<dyn Resource>], target: &Target) -> Result<Vec<Difference>, ConfigError> {
    let mut found = Vec::new();
    for resource in resources {
        if let Some(what) = resource.check(target)? {
            found.push(Difference { resource: resource.name(), what });
        }
    }
    Ok(found)
}

/// Puts right what is not as it should be, and says what that was.
pub fn apply(resources: &[Box<dyn Resource>], target: &Target) -> Result<Vec<Difference>, ConfigError> {
    let mut changed = Vec::new();
    for resource in resources {
        if let Some(what) = resource.check(target)? {
            resource.apply(target)?;
            changed.push(Difference { resource: resource.name(), what });
        }
    }
    Ok(changed)
}

/// Parses a spec.
pub fn parse(spec: &Spec) -> Result<NodeSpec, ConfigError> {
    NodeSpec::parse(&spec.document).map_err(|why| ConfigError::Spec { name: spec.name.to_string(), why })
}

/// Applies a spec, and leaves word of it in the state folder. True where something was changed.
pub fn apply_spec(spec: &Spec, node: &str, target: &Target) -> Result<bool, ConfigError> {
    let parsed = parse(spec)?;
    keep_spec(spec, &target.state)?;
    let changed = apply(&spec_resources(&parsed, node), target)?;
    for Difference { resource, what } in &changed {
        tracing::info!(%resource, %what, "put right");
    }
    let complete = Complete {
        phase: "config",
        status: "complete",
        timestamp: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        spec: parsed.identity.hostname.as_ref().map_or(spec.name.as_str(), |name| name.as_str()),
        packages: parsed.packages().len(),
        services_enabled: parsed.platform.services.enable.len(),
        services_disabled: parsed.platform.services.disable.len(),
        users: parsed.access.users.len(),
        changed: !changed.is_empty(),
    };
    let file = target.state.join("config-complete.json");
    let text = serde_json::to_vec_pretty(&complete).map_err(|error| FileError::of(&file, "written")(error.into()))?;
    write_whole(&file, &text)?;
    Ok(complete.changed)
}

/// `config-complete.json`. The numbers count, as they always did.
#[derive(Serialize)]
struct Complete<'a> {
    phase: &'static str,
    status: &'static str,
    timestamp: String,
    spec: &'a str,
    packages: usize,
    services_enabled: usize,
    services_disabled: usize,
    users: usize,
    changed: bool,
}

/// Keeps the spec as `spec.yaml`, and another one before it as `spec.yaml.prev`.
fn keep_spec(spec: &Spec, state: &Path) -> Result<(), ConfigError> {
    let unusable = |why: String| ConfigError::Spec { name: spec.name.to_string(), why };
    let document: serde_json::Value =
        serde_json::from_str(&spec.document).map_err(|error| unusable(error.to_string()))?;
    let text = to_yaml(&document).map_err(unusable)?;
    let file = state.join("spec.yaml");
    match read_if_there(&file)? {
        Some(before) if before == text => return Ok(()),
        Some(_) => {
            let previous = state.join("spec.yaml.prev");
            fs::rename(&file, &previous).map_err(FileError::of(&previous, "kept"))?;
        }
        None => {}
    }
    Ok(write_whole(&file, text.as_bytes())?)
}

#[cfg(test)]
mod tests;
