//! The other backend: the spec as the variables that the earlier system's playbooks take, and `ansible-playbook` to apply them.
//!
//! `HOMESTAK_ANSIBLE_DIR` names a folder with a playbook `playbooks/config-apply.yml` of its own (and, perhaps, an
//! `ansible.cfg`); without it, one that is part of this program is run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::command::Command;
use super::lock::Lock;
use super::marker;
use super::spec::NodeSpec;
use super::system::Target;
use super::trouble::Trouble;
use super::{ConfigError, with_implied};
use crate::files::{private_folder, write_whole};

/// Where playbooks of the user's own are.
const FOLDER: &str = "HOMESTAK_ANSIBLE_DIR";
/// What is run there.
const PLAYBOOK: &str = "playbooks/config-apply.yml";
/// What is run where there is no such folder.
const OWN_PLAYBOOK: &str = include_str!("config-apply.yml");
/// Names the program.
const PROGRAM: &str = "HOMESTAK_ANSIBLE_PLAYBOOK";
/// How a shell ends that finds no such program.
const NOT_FOUND: i32 = 127;
/// What to do about that.
const MISSING: &str = "install ansible-core, name the program as HOMESTAK_ANSIBLE_PLAYBOOK, or leave --backend out: the native one needs no program of its own";
/// How long it may take: the earlier system's ten minutes are too short for a PVE host.
const LIMIT: Duration = Duration::from_secs(3600);

/// The earlier system's variables. Absent values are left out, so that the playbook's own defaults count.
pub fn variables(spec: &NodeSpec, node: &str) -> Value {
    let (access, security) = (&spec.access, &spec.access.security);
    let mut all = Map::new();
    let mut set = |key: &str, value: Value| all.insert(key.to_owned(), value);
    set("hostname", json!(spec.identity.hostname.as_ref().map_or(node, |name| name.as_str())));
    if let Some(domain) = &spec.identity.domain {
        set("domain", json!(domain.as_str()));
    }
    set("packages", json!(with_implied(spec)));
    if let Some(timezone) = &spec.config.timezone {
        set("timezone", json!(timezone.as_str()));
    }
    let keys = |user: &super::spec::User| user.ssh_keys.iter().map(|key| key.as_str().to_owned()).collect::<Vec<_>>();
    if let Some(first) = access.users.first() {
        set("local_user", json!(first.name.as_str()));
        set("user_sudo", json!(first.sudo));
        set("ssh_authorized_keys", json!(access.users.iter().flat_map(keys).collect::<Vec<_>>()));
    }
    let user =
        |user: &super::spec::User| json!({ "name": user.name.as_str(), "sudo": user.sudo, "ssh_keys": keys(user) });
    set("users", access.users.iter().map(user).collect());
    set("ssh_port", json!(security.ssh.port));
    set("ssh_permit_root_login", json!(security.ssh.permit_root_login.as_str()));
    set("ssh_password_authentication", json!(security.ssh.password_authentication.as_str()));
    set("sudo_nopasswd", json!(security.sudo.nopasswd));
    set("fail2ban_enabled", json!(security.fail2ban.enabled));
    let services = &spec.platform.services;
    let names = |units: &[super::spec::UnitName]| units.iter().map(|unit| unit.as_str().to_owned()).collect::<Vec<_>>();
    set("services_enable", json!(names(&services.enable)));
    set("services_disable", json!(names(&services.disable)));
    set("pve_remove_subscription_nag", json!(spec.config.pve.remove_subscription_nag));
    Value::Object(all)
}

/// Applies the spec; with `dry_run`, only says what it would do. Gives how many tasks have changed something.
pub async fn apply(
    spec: &NodeSpec,
    name: &str,
    node: &str,
    target: &Target,
    dry_run: bool,
) -> Result<usize, ConfigError> {
    let _alone = Lock::take(&target.state, &target.task.cancel).await?;
    let folder = target.state.join("ansible");
    private_folder(&folder)?;
    let (playbook, config) = playbook(&folder)?;
    let (variables_file, inventory) = (folder.join("config-vars.json"), folder.join("local.ini"));
    write_whole(&variables_file, variables(spec, node).to_string().as_bytes())?;
    write_whole(&inventory, b"localhost ansible_connection=local ansible_python_interpreter=auto_silent\n")?;
    let path = |path: &Path| path.display().to_string();
    let extra = format!("@{}", path(&variables_file));
    let progress = target.task.progress.clone();
    let program = std::env::var(PROGRAM).unwrap_or_else(|_| "ansible-playbook".into());
    let mut command = Command::new(&program)
        .args(["-i", &path(&inventory), &path(&playbook), "-e", &extra])
        .args(dry_run.then_some("--check"))
        .args(dry_run.then_some("--diff"))
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_RETRY_FILES_ENABLED", "0")
        .env("ANSIBLE_LOCAL_TEMP", &path(&folder.join("tmp")))
        .listener(std::sync::Arc::new(move |line: &str| {
            if let Some(task) = line.strip_prefix("TASK [") {
                progress(format!("ansible: {}", task.split(']').next().unwrap_or_default()));
            }
        }))
        .limit(LIMIT);
    if let Some(config) = config {
        command = command.env("ANSIBLE_CONFIG", &path(&config));
    }
    let output = target.run(command).await?;
    if output.code == Some(NOT_FOUND) {
        let what = format!("{program} is not on this machine");
        return Err(ConfigError::Trouble(Trouble::Refused { what, hint: Some(MISSING) }));
    }
    let output = match output.well() {
        Ok(output) => output,
        Err(trouble) => {
            let error = ConfigError::Trouble(trouble);
            let fault =
                homestak_protocol::fault::Fault::new(homestak_protocol::fault::Code::Configure, error.to_string());
            if let Err(error) = marker::Failed::of_apply(&fault, node, Some(name)).write(&target.state) {
                tracing::warn!(%error, "no word of the failure can be left");
            }
            return Err(error);
        }
    };
    let changed = changed(&output).ok_or_else(|| {
        ConfigError::Trouble(Trouble::Tool {
            what: "ansible-playbook says nothing of changes".to_owned(),
            words: output,
        })
    })?;
    if !dry_run {
        marker::complete(spec, name, changed, &target.state)?;
    }
    Ok(changed)
}

/// The playbook that is run, and the configuration that goes with it.
fn playbook(folder: &Path) -> Result<(PathBuf, Option<PathBuf>), ConfigError> {
    if let Some(named) = std::env::var_os(FOLDER).map(PathBuf::from) {
        let config = named.join("ansible.cfg");
        return Ok((named.join(PLAYBOOK), config.is_file().then_some(config)));
    }
    let own = folder.join("config-apply.yml");
    write_whole(&own, OWN_PLAYBOOK.as_bytes())?;
    Ok((own, None))
}

/// How many tasks have changed something, by the recap: `localhost : ok=9 changed=2 …`.
fn changed(output: &str) -> Option<usize> {
    let recap = output.lines().rev().find(|line| line.contains("changed=") && line.contains("ok="))?;
    recap.split_whitespace().find_map(|word| word.strip_prefix("changed="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_becomes_the_variables_of_the_seed() {
        let spec = json!({
            "schema_version": 1,
            "access": {
                "users": [{ "name": "a", "sudo": true, "ssh_keys": ["k1"] }, { "name": "b", "ssh_keys": ["k2"] }],
                "security": { "packages": ["htop", "strace"], "ssh": { "port": 2222 } },
            },
            "platform": { "packages": ["htop"], "services": { "disable": ["rpcbind"] } },
        });
        let spec = NodeSpec::parse(&spec.to_string()).unwrap();
        let all = variables(&spec, "edge");
        assert_eq!(all["packages"], json!(["htop", "strace", "sudo"]));
        assert_eq!((&all["local_user"], &all["user_sudo"]), (&json!("a"), &json!(true)));
        assert_eq!(all["ssh_authorized_keys"], json!(["k1", "k2"]));
        assert_eq!(all["users"][1], json!({ "name": "b", "sudo": false, "ssh_keys": ["k2"] }));
        assert_eq!((&all["ssh_port"], &all["services_disable"]), (&json!(2222), &json!(["rpcbind"])));
        assert_eq!((all.get("timezone"), all.get("domain")), (None, None));
    }

    #[test]
    fn the_recap_says_how_much_was_changed() {
        assert_eq!(changed("TASK [x]\nlocalhost : ok=9    changed=2    unreachable=0"), Some(2));
        assert_eq!(changed("nothing"), None);
    }
}
