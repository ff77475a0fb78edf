//! Configuration: a resolved spec becomes a list of resources, and they are put right one by one.
//!
//! On a real machine that is done with its own tools. In a folder (provider `local`, `--root`) files are written, and what
//! takes a program is put on record instead. Applying twice changes nothing the second time; checking is applying without
//! the deed. One configuration at a time works on a state folder.

pub mod ansible;
pub mod command;
pub mod engine;
pub mod fetch;
mod lock;
pub mod marker;
pub mod pull;
pub mod resource;
pub(crate) mod resources;
pub mod spec;
pub mod system;
pub mod trouble;
pub(crate) mod undo;

use std::path::Path;

use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::Spec;
use tokio_util::sync::CancellationToken;

pub use self::engine::{Deed, Report, Standing};
use self::lock::Lock;
use self::resource::Resource;
use self::resources::account::Account;
use self::resources::fail2ban::Fail2ban;
use self::resources::hostname::Hostname;
use self::resources::keys::Keys;
use self::resources::nag::NoNag;
use self::resources::network::Network;
pub(crate) use self::resources::network::way_back;
use self::resources::packages::Packages;
use self::resources::record::{Recorded, Simulated};
use self::resources::services::Services;
use self::resources::sshd::Sshd;
use self::resources::sudo::Sudo;
use self::resources::timezone::Timezone;
use self::spec::NodeSpec;
pub use self::system::{System, Target};
use self::trouble::Trouble;
use crate::files::FileError;

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
    /// Another process configures this machine.
    #[error("another process is configuring this machine")]
    Busy,
    /// The result is no longer wanted.
    #[error("cancelled")]
    Cancelled,
    /// A program that does it in our place says no.
    #[error(transparent)]
    Trouble(Trouble),
}

impl From<Trouble> for ConfigError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::File { file } => ConfigError::File(file),
            Trouble::Cancelled => ConfigError::Cancelled,
            other => ConfigError::Trouble(other),
        }
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        match &error {
            ConfigError::Spec { name, .. } => {
                Fault::new(Code::SpecInvalid, error.to_string()).hint(format!("correct specs/{name}.yaml of the site"))
            }
            ConfigError::File(file) => Fault::new(Code::Configure, format!("{file}: {}", file.source))
                .hint("look at the free space and the permissions there"),
            ConfigError::Busy => Fault { retryable: true, ..Fault::new(Code::Configure, error.to_string()) },
            ConfigError::Cancelled => Fault::new(Code::Cancelled, "the configuration was cancelled"),
            ConfigError::Trouble(trouble) => Fault::new(Code::Configure, error.to_string()).hint(trouble.hint()),
        }
    }
}

/// Turns a machine into a host, as far as a folder can be one: its name, and where it is found by it. Both are the spec's,
/// where there is one: what it asks for later must not differ from what is put right here.
pub fn host_resources(spec: Option<&NodeSpec>, node: &str) -> Vec<Box<dyn Resource>> {
    let names = ["proxmox-ve".to_owned()].into();
    vec![Box::new(own_name(spec, node)), Box::new(Recorded { what: Simulated::Packages, names })]
}

/// The name and domain of a machine: its node's, where its spec has none.
pub(crate) fn own_name(spec: Option<&NodeSpec>, node: &str) -> Hostname {
    let identity = spec.map(|spec| &spec.identity);
    let name = identity.and_then(|identity| identity.hostname.as_ref()).map_or(node, |name| name.as_str()).to_owned();
    let domain = identity.and_then(|identity| identity.domain.as_ref()).map(|domain| domain.as_str().to_owned());
    Hostname { name, domain }
}

/// What a spec asks for, in the order in which it is put right. `node` is the node's own name.
pub fn spec_resources(spec: &NodeSpec, node: &str, system: &System) -> Vec<Box<dyn Resource>> {
    let security = &spec.access.security;
    let real = *system == System::Machine;
    let mut wanted: Vec<Box<dyn Resource>> = vec![Box::new(own_name(Some(spec), node))];
    if real {
        wanted.push(Box::new(Packages(with_implied(spec))));
    } else {
        let names = spec.packages().into_iter().map(str::to_owned).collect();
        wanted.push(Box::new(Recorded { what: Simulated::Packages, names }));
    }
    if let Some(timezone) = &spec.config.timezone {
        wanted.push(Box::new(Timezone(timezone.as_str().to_owned())));
    }
    let users = &spec.access.users;
    let named = |user: &spec::User| user.name.as_str().to_owned();
    if real {
        wanted.extend(users.iter().map(|user| Box::new(Account(named(user))) as Box<dyn Resource>));
    }
    let sudoers = users.iter().filter(|user| user.sudo).map(named).collect();
    wanted.push(Box::new(Sudo { users: sudoers, nopasswd: security.sudo.nopasswd }));
    for user in users {
        let keys = user.ssh_keys.iter().map(|key| key.as_str().to_owned()).collect();
        wanted.push(Box::new(Keys { user: named(user), keys }));
    }
    wanted.push(Box::new(Sshd {
        port: security.ssh.port,
        root_login: security.ssh.permit_root_login.as_str().to_owned(),
        passwords: security.ssh.password_authentication.0,
        users_with_keys: users.iter().filter(|user| !user.ssh_keys.is_empty()).map(named).collect(),
        users: users.iter().map(named).collect(),
    }));
    wanted.push(Box::new(Fail2ban { enabled: security.fail2ban.enabled, port: security.ssh.port }));
    let services = &spec.platform.services;
    let names = |units: &[spec::UnitName]| units.iter().map(|unit| unit.as_str().to_owned()).collect::<Vec<_>>();
    let (enable, disable) = (names(&services.enable), names(&services.disable));
    if real {
        wanted.push(Box::new(Services { enable, disable }));
    } else {
        wanted.push(Box::new(Recorded { what: Simulated::Enabled, names: enable.into_iter().collect() }));
        wanted.push(Box::new(Recorded { what: Simulated::Disabled, names: disable.into_iter().collect() }));
    }
    if spec.config.pve.remove_subscription_nag {
        wanted.push(Box::new(NoNag));
    }
    // Last: whatever becomes of it, the rest is done.
    if let Some(net) = &spec.network {
        let domain = spec.identity.domain.as_ref().map(|domain| domain.as_str().to_owned());
        wanted.push(Box::new(Network { net: net.clone(), domain }));
    }
    wanted
}

/// Every package that a spec names, and those without which something else that it asks for cannot be.
fn with_implied(spec: &NodeSpec) -> Vec<String> {
    let mut packages: Vec<String> = spec.packages().into_iter().map(str::to_owned).collect();
    let implied = [
        ("sudo", spec.access.users.iter().any(|user| user.sudo)),
        ("tzdata", spec.config.timezone.is_some()),
        // fail2ban reads the journal with it.
        ("python3-systemd", spec.access.security.fail2ban.enabled),
    ];
    for (package, _) in implied.into_iter().filter(|(_, wanted)| *wanted) {
        if !packages.iter().any(|named| named == package) {
            packages.push(package.to_owned());
        }
    }
    packages
}

/// Parses a spec.
pub fn parse(spec: &Spec) -> Result<NodeSpec, ConfigError> {
    NodeSpec::parse(&spec.document).map_err(|why| ConfigError::Spec { name: spec.name.to_string(), why })
}

/// Has this machine's configuration for itself for as long as it is held.
pub(crate) async fn alone(state: &Path, cancel: &CancellationToken) -> Result<Lock, ConfigError> {
    Lock::take(state, cancel).await
}

/// How a machine is not what a spec asks for.
pub async fn check_spec(spec: &NodeSpec, node: &str, target: &Target) -> Result<Report, ConfigError> {
    Ok(engine::run(&spec_resources(spec, node, &target.system), target, Deed::Check).await?)
}

/// The same, some time after it was applied; not while another process configures the machine.
pub async fn look_again(spec: &NodeSpec, node: &str, target: &Target) -> Result<Report, ConfigError> {
    let _alone = Lock::take(&target.state, &target.task.cancel).await?;
    check_spec(spec, node, target).await
}

/// Applies a spec, and leaves word of it in the state folder.
pub async fn apply_spec(spec: &NodeSpec, name: &str, node: &str, target: &Target) -> Result<Report, ConfigError> {
    let _alone = Lock::take(&target.state, &target.task.cancel).await?;
    let applied = engine::run(&spec_resources(spec, node, &target.system), target, Deed::Apply).await?;
    match applied.fault() {
        None => marker::complete(spec, name, applied.count(Standing::Changed), &target.state)?,
        Some(fault) => {
            // On a full disk there is no room for the word either; what failed is told all the same.
            if let Err(error) = marker::Failed::of_apply(&fault, node, Some(name)).write(&target.state) {
                tracing::warn!(%error, "no word of the failure can be left");
            }
        }
    }
    Ok(applied)
}

/// Applies a spec that came with an order: it is kept as the one of this machine.
pub async fn apply_order(spec: &Spec, node: &str, target: &Target) -> Result<Report, ConfigError> {
    let parsed = parse(spec)?;
    marker::keep_spec(&spec.document, &target.state).map_err(|why| why.into_config_error(spec.name.as_str()))?;
    apply_spec(&parsed, spec.name.as_str(), node, target).await
}

#[cfg(test)]
mod tests;
