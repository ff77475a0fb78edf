//! Snippets: what a machine's cloud-init reads, as files in the host's own folder.
//!
//! `{hostname}-user.yaml` (with the machine's token, so it is root's alone), `{hostname}-meta.yaml` and
//! `{hostname}-network.yaml`. PVE reads them when the machine starts.

use std::path::PathBuf;

use homestak_node::world::{Ensure, Task};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::order::NodeKind;

use super::Host;
use super::owner::mac;
use crate::cloud_init::{Program, meta_data, network_config, user_data};
use crate::files::{read_if_there, write_whole};
use crate::provider::Identity;
use crate::settings::ProviderKind;

/// The kinds of snippets there are for each machine.
const KINDS: [&str; 3] = ["user", "meta", "network"];

/// The texts of a machine's snippets, by kind.
pub(super) struct Snippets([(&'static str, String); 3]);

impl Host {
    /// What this machine is told. A new life is a new instance, so cloud-init does everything anew. Whether its image has
    /// an agent is seen there: one that has none fetches this one.
    pub(super) async fn snippets_of(&self, ask: &Ensure, identity: &Identity) -> Result<Snippets, Fault> {
        let (told, name) = (&ask.cloud_init, ask.path.name());
        let provider = (ask.machine.kind == NodeKind::Pve).then_some(ProviderKind::Pve);
        let program = match ask.boot.ca_pem.clone() {
            Some(ca_pem) => Program::Fetched { ca_pem, digest: self.program.digest().await? },
            None => Program::InImage,
        };
        Ok(Snippets([
            ("user", user_data(told, &ask.boot, name, &program, provider)),
            ("meta", meta_data(&ask.incarnation.to_string(), name)),
            ("network", network_config(told, Some(&mac(identity)))),
        ]))
    }

    /// What `cicustom` says.
    pub(super) fn cicustom(&self, name: &str) -> String {
        let storage = &self.settings.snippets_storage;
        KINDS.map(|kind| format!("{kind}={storage}:snippets/{name}-{kind}.yaml")).join(",")
    }

    pub(super) fn snippet(&self, name: &str, kind: &str) -> PathBuf {
        self.settings.snippets_dir.join(format!("{name}-{kind}.yaml"))
    }

    /// Makes sure that the storage of snippets takes them: without that PVE starts no machine that has some. A storage that
    /// does not is told to, if the token may do that.
    pub(super) async fn snippets_are_taken(&self, task: &Task) -> Result<(), Fault> {
        let allow = || async {
            let wanted = &self.settings.snippets_storage;
            let storages = self.storages().await.map_err(|error| error.fault(Code::Provision))?;
            let Some(storage) = storages.iter().find(|one| one.storage == *wanted) else {
                let hint = "name another one in the agent's settings (`pve: snippets_storage`), with its folder";
                let text = format!("{} has no storage {wanted} for snippets that is active", self.settings.node());
                return Err(Fault::new(Code::Provision, text).hint(hint));
            };
            if storage.holds("snippets") {
                return Ok(());
            }
            let content = match storage.content.as_str() {
                "" | "none" => "snippets".to_owned(),
                kept => format!("{kept},snippets"),
            };
            tracing::info!(storage = wanted, content, "allowing snippets");
            self.patiently(task, || self.api.set_content(wanted, &content)).await.map_err(|undone| {
                let fault = undone.fault(Code::Provision);
                if fault.code == Code::Cancelled {
                    return fault;
                }
                let text = format!("the storage {wanted} takes no snippets, and cannot be told to: {}", fault.message);
                let hint = format!("run `pvesm set {wanted} --content {content}` on {}", self.settings.node());
                Fault { message: text, hint: Some(hint), ..fault }
            })
        };
        self.snippets.get_or_try_init(allow).await.copied()
    }

    /// Writes what has changed.
    pub(super) fn write_snippets(&self, name: &str, snippets: &Snippets) -> Result<(), Fault> {
        for (kind, text) in &snippets.0 {
            let file = self.snippet(name, kind);
            if read_if_there(&file).ok().flatten().as_deref() == Some(text) {
                continue;
            }
            write_whole(&file, text.as_bytes()).map_err(|error| {
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                let hint =
                    "`pve: snippets_dir` in the agent's settings is the folder of `pve: snippets_storage` on this host";
                Fault::new(Code::Provision, format!("{error}: {why}")).hint(hint)
            })?;
        }
        Ok(())
    }

    /// Removes them.
    pub(super) fn remove_snippets(&self, name: &str) {
        for kind in KINDS {
            let file = self.snippet(name, kind);
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(file = %file.display(), %error, "a snippet is left behind");
                }
                _ => {}
            }
        }
    }
}
