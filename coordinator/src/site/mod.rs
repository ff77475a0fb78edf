//! The operator's configuration: what presets, postures and specs there are, and what they come to for one node.
//!
//! [`Site::open`] is the seam: today it knows the built-in demo site, whose files lie in `demo/` and are compiled in. Folders
//! of an operator's own are read into the same [`Site`], so that whoever asks it never learns where a value came from.
//! Nothing below this module reads YAML, and nothing above it sees more than finished values.

mod model;
mod resolve;
pub mod secrets;

use std::collections::BTreeMap;

use homestak_manifests::Known;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use serde::de::DeserializeOwned;

pub use self::model::Preset;
use self::model::{Defaults, Posture, SiteFile, SpecFile};
use crate::settings::SiteChoice;

/// The preset of a node that names none.
const DEFAULT_PRESET: &str = "vm-small";

macro_rules! files {
    ($kind:literal: $($name:literal),*) => {
        &[$(($name, include_str!(concat!("demo/", $kind, "/", $name, ".yaml"))),)*]
    };
}

const DEMO_SITE: &str = include_str!("demo/site.yaml");
const DEMO_PRESETS: &[(&str, &str)] = files!("presets": "vm-xsmall", "vm-small", "vm-medium", "vm-large", "vm-xlarge");
const DEMO_POSTURES: &[(&str, &str)] = files!("postures": "dev", "local", "stage", "prod");
const DEMO_SPECS: &[(&str, &str)] = files!("specs": "base", "pve");

/// A site, read and checked.
#[derive(Debug)]
pub struct Site {
    label: String,
    defaults: Defaults,
    presets: BTreeMap<SiteName, Preset>,
    postures: BTreeMap<SiteName, Posture>,
    specs: BTreeMap<SiteName, SpecFile>,
}

impl Site {
    /// Reads it.
    pub fn open(choice: &SiteChoice) -> Result<Self, Fault> {
        match choice {
            SiteChoice::Demo => Self::demo(),
            SiteChoice::Folder(path) => {
                let message = format!("{}: this version works with its built-in demo site only", path.display());
                Err(Fault::new(Code::NotFound, message).hint("leave out --site and unset HOMESTAK_SITE_CONFIG"))
            }
        }
    }

    fn demo() -> Result<Self, Fault> {
        let SiteFile { defaults } = read("demo/site.yaml", DEMO_SITE)?;
        Ok(Self {
            label: SiteChoice::Demo.label(),
            defaults,
            presets: read_all("presets", DEMO_PRESETS)?,
            postures: read_all("postures", DEMO_POSTURES)?,
            specs: read_all("specs", DEMO_SPECS)?,
        })
    }

    /// As greetings and documents call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What a manifest may refer to.
    pub fn known(&self) -> Known {
        Known { presets: self.presets.keys().cloned().collect(), specs: self.specs.keys().cloned().collect() }
    }

    /// A manifest of the site's own: its file and text. The catalogue is asked by whoever finds none here.
    pub fn manifest(&self, _name: &str) -> Option<(String, String)> {
        None
    }

    /// The names of the site's own manifests.
    pub fn manifests(&self) -> Vec<String> {
        Vec::new()
    }

    /// A preset by name, or the one of nodes that name none.
    pub fn preset(&self, name: Option<&SiteName>) -> Option<&Preset> {
        match name {
            Some(name) => self.presets.get(name),
            None => self.presets.iter().find(|(name, _)| name.as_str() == DEFAULT_PRESET).map(|(_, preset)| preset),
        }
    }

    /// The spec of a node that names none: `pve` for a PVE host, else `base`, where the site has it.
    pub fn default_spec(&self, kind: NodeKind) -> Option<&SiteName> {
        let wanted = default_spec_name(kind);
        self.specs.keys().find(|name| name.as_str() == wanted)
    }

    /// What nodes without a vmid count from, where the manifest does not say.
    pub fn vmid_base(&self) -> Option<Vmid> {
        self.defaults.vmid_base
    }

    /// The bridge that machines are on.
    pub fn bridge(&self) -> Option<&str> {
        self.defaults.bridge.as_deref()
    }
}

/// The name of the spec that a node of this kind takes where it names none.
pub const fn default_spec_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Pve => "pve",
        NodeKind::Vm | NodeKind::Ct => "base",
    }
}

fn read<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, Fault> {
    serde_yaml::from_str(text).map_err(|error| Fault::new(Code::SpecInvalid, format!("{file}: {error}")))
}

fn read_all<T: DeserializeOwned>(kind: &str, files: &[(&str, &str)]) -> Result<BTreeMap<SiteName, T>, Fault> {
    let one = |(name, text): &(&str, &str)| {
        let file = format!("{kind}/{name}.yaml");
        let name = SiteName::parse(name).map_err(|error| Fault::new(Code::SpecInvalid, format!("{file}: {error}")))?;
        Ok((name, read(&file, text)?))
    };
    files.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use homestak_protocol::name::NodeName;

    use super::*;

    #[test]
    fn the_demo_site_is_whole() {
        let site = Site::open(&SiteChoice::Demo).unwrap();
        assert_eq!((site.presets.len(), site.postures.len(), site.specs.len()), (5, 4, 2));
        let node = NodeName::parse("n").unwrap();
        for name in site.specs.keys() {
            site.spec(name, &node).unwrap();
        }
        assert!(site.preset(None).is_some());
    }

    #[test]
    fn a_folder_is_refused_as_long_as_none_can_be_read() {
        assert!(Site::open(&SiteChoice::Folder("/somewhere".into())).is_err());
    }

    #[test]
    fn a_resolved_spec_has_the_nodes_name_and_the_whole_posture() {
        let site = Site::open(&SiteChoice::Demo).unwrap();
        let spec = site.spec(&SiteName::parse("pve").unwrap(), &NodeName::parse("root-pve").unwrap()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&spec.document).unwrap();
        assert_eq!(document["identity"]["hostname"], "root-pve");
        assert_eq!(document["identity"]["domain"], "demo.example");
        assert_eq!(document["access"]["security"]["ssh"]["permit_root_login"], "yes");
        assert_eq!(document["access"]["security"]["packages"][1], "strace");
        assert_eq!(document["platform"]["services"]["disable"][0], "rpcbind");
        assert_eq!(document["config"]["pve"]["remove_subscription_nag"], true);
        assert_eq!(document["config"]["timezone"], "Etc/UTC");
    }
}
