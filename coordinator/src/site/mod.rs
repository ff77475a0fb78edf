//! The operator's configuration: what hosts, presets, postures and specs there are, and what they come to for one node.
//!
//! [`Site::open`] reads a folder, or the built-in demo site, into a [`Site`] in which everything parses and every reference
//! is there; or it tells everything that is wrong, in all files at once ([`Broken`]). Resolution (`resolve`, [`hosts`]) is
//! pure. Nothing below this module reads YAML, and nothing above it sees more than finished values.
//!
//! - `files`: the folder as text. - `model`: what each kind of file says. - `read`: from the one to the other.
//! - [`secrets`]: the file that is not for everybody. - [`mod@discover`]: where the folder is where nobody says.

mod check;
mod demo;
pub mod discover;
mod files;
pub mod hosts;
pub mod import;
mod model;
mod read;
mod resolve;
mod schema;
pub mod secrets;
mod shown;

use std::collections::BTreeMap;
use std::path::Path;

use homestak_manifests::Known;
use homestak_manifests::diagnostic::{Code, Diagnostic};
use homestak_protocol::fault::{Code as FaultCode, Fault};
use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{HostName, SiteName};
use homestak_protocol::order::NodeKind;
use homestak_protocol::token::SigningKey;

pub use self::check::{Checked, check};
use self::files::Files;
pub use self::files::Stamp;
use self::model::{Defaults, Env, Host, Node, Posture, Preset, SpecFile};
pub use self::resolve::{AnsibleVars, Machine, SpecDocument, TofuVars, Wanted};
pub use self::schema::{SchemaKind, schema};
use self::secrets::{Keys, Opened, Secrets};
pub use self::shown::Shown;
use crate::api::{Exit, Refusal};
use crate::documents::ErrorDocument;
use crate::manifest;
use crate::runs::refuse;
use crate::settings::SiteChoice;

/// The preset of a node that names none.
const DEFAULT_PRESET: &str = "vm-small";

/// The automation user where the site names none.
const DEFAULT_USER: &str = "homestak";

/// A site, read and checked.
#[derive(Debug)]
pub struct Site {
    label: String,
    folder: bool,
    content: Content,
    stamp: Stamp,
}

/// What its files say.
#[derive(Debug)]
struct Content {
    defaults: Defaults,
    hosts: BTreeMap<HostName, Host>,
    nodes: BTreeMap<HostName, Node>,
    presets: BTreeMap<SiteName, Preset>,
    postures: BTreeMap<SiteName, Posture>,
    specs: BTreeMap<SiteName, SpecFile>,
    envs: BTreeMap<SiteName, Env>,
    /// By the file's name, up to its ending. Read when they are asked for: a bad one is the problem of those who name it.
    manifests: BTreeMap<String, ManifestFile>,
    opened: Opened,
    warnings: Vec<Diagnostic>,
}

/// A manifest of the site's own.
#[derive(Debug)]
struct ManifestFile {
    path: String,
    text: String,
}

/// A site that cannot be used: all that is wrong with it, file by file, warnings included.
#[derive(Debug, Clone)]
pub struct Broken {
    problems: Vec<Diagnostic>,
}

impl Broken {
    /// File by file, each in the order of the file.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// In one line.
    pub fn message(&self) -> String {
        let errors: Vec<_> = self.problems.iter().filter(|problem| problem.is_error()).collect();
        let mut files: Vec<_> = errors.iter().map(|problem| problem.file.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        match (errors.as_slice(), files.as_slice()) {
            ([one], _) => format!("the site cannot be used: {}:{}:{}: {}", one.file, one.line, one.column, one.message),
            (errors, [file]) => format!("the site cannot be used: {} errors in {file}", errors.len()),
            (errors, files) => format!("the site cannot be used: {} errors in {} files", errors.len(), files.len()),
        }
    }

    /// For whoever wanted to use it.
    pub fn refusal(&self) -> Refusal {
        let error = ErrorDocument {
            code: Code::SiteUnusable.as_str().into(),
            message: self.message(),
            hint: Some("mend what is named above; `homestak-coord site check` says when all is well".into()),
            node: None,
        };
        let diagnostics = self.problems.iter().map(manifest::document).collect();
        Refusal { exit: Exit::Configuration, error: Box::new(error), diagnostics }
    }
}

impl Site {
    /// Reads it, its secrets with the age identities at hand.
    pub fn open(choice: &SiteChoice, keys: &Keys) -> Result<Self, Broken> {
        match choice {
            SiteChoice::Demo => {
                let content = read::content(demo::files(), Ok(Opened::nothing()))?;
                Ok(Self { label: choice.label(), folder: false, content, stamp: Stamp::default() })
            }
            SiteChoice::Folder(path) => {
                // What changes while it is read is seen the next time.
                let stamp = Stamp::of(path);
                let content = read::content(Files::read(path), secrets::open(path, keys))?;
                Ok(Self { label: choice.label(), folder: true, content, stamp })
            }
        }
    }

    /// A site in which nothing is, for a daemon whose site is [`Broken`]: it goes on with what it has on record.
    pub fn nothing(choice: &SiteChoice) -> Self {
        let folder = matches!(choice, SiteChoice::Folder(_));
        let content = Content {
            defaults: Defaults::default(),
            hosts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            presets: BTreeMap::new(),
            postures: BTreeMap::new(),
            specs: BTreeMap::new(),
            envs: BTreeMap::new(),
            manifests: BTreeMap::new(),
            opened: Opened::nothing(),
            warnings: Vec::new(),
        };
        Self { label: choice.label(), folder, content, stamp: Stamp::default() }
    }

    /// As greetings and documents call it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it is an operator's own.
    pub fn is_folder(&self) -> bool {
        self.folder
    }

    /// What the folder looked like just before it was read.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }

    /// What in it is probably not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.content.warnings
    }

    /// What a manifest may refer to.
    pub fn known(&self) -> Known {
        let content = &self.content;
        Known { presets: content.presets.keys().cloned().collect(), specs: content.specs.keys().cloned().collect() }
    }

    /// A manifest of the site's own: its file and text. The catalogue is asked by whoever finds none here.
    pub fn manifest(&self, name: &str) -> Option<(String, String)> {
        self.content.manifests.get(name).map(|manifest| (manifest.path.clone(), manifest.text.clone()))
    }

    /// The names of the site's own manifests.
    pub fn manifests(&self) -> Vec<String> {
        self.content.manifests.keys().cloned().collect()
    }

    /// The names of its specs.
    pub fn specs(&self) -> impl Iterator<Item = &SiteName> {
        self.content.specs.keys()
    }

    /// A preset by name, or the one of nodes that name none.
    fn preset(&self, name: Option<&SiteName>) -> Option<&Preset> {
        let presets = &self.content.presets;
        match name {
            Some(name) => presets.get(name),
            None => presets.iter().find(|(name, _)| name.as_str() == DEFAULT_PRESET).map(|(_, preset)| preset),
        }
    }

    /// The spec of a node that names none: `pve` for a PVE host, else `base`, where the site has it.
    pub fn default_spec(&self, kind: NodeKind) -> Option<&SiteName> {
        let wanted = default_spec_name(kind);
        self.content.specs.keys().find(|name| name.as_str() == wanted)
    }

    /// What holds where nothing else is said.
    pub(crate) fn defaults(&self) -> &Defaults {
        &self.content.defaults
    }

    /// What nodes without a vmid on this host count from, where the manifest does not say.
    pub fn vmid_base(&self, host: &str) -> Option<Vmid> {
        let node = self.content.nodes.iter().find(|(name, _)| name.as_str() == host).map(|(_, node)| node);
        node.and_then(|node| node.vmid_base).or(self.content.defaults.vmid_base)
    }

    /// The storage that disks on this host go to, where the site describes the host.
    pub(crate) fn storage_on(&self, host: &str) -> Option<String> {
        let (_, node) = self.content.nodes.iter().find(|(name, _)| name.as_str() == host)?;
        node.datastore.as_ref().or(self.content.defaults.datastore.as_ref()).map(ToString::to_string)
    }

    /// The automation user of machines.
    pub fn vm_user(&self) -> &str {
        self.content.defaults.vm_user.as_ref().map_or(DEFAULT_USER, |user| user.as_str())
    }

    /// Its secrets; where they are locked away, why and what to do.
    pub fn secrets(&self) -> Result<&Secrets, Fault> {
        self.content.opened.secrets().map_err(|why| {
            let fault = Fault::new(FaultCode::Conflict, format!("{}: {}", why.file, why.message));
            fault.hint(why.hint.clone().unwrap_or_default())
        })
    }

    /// A fault as a refusal. Where it is that the secrets are locked away, it is that which is named.
    pub(crate) fn refusal(&self, fault: &Fault) -> Refusal {
        let mut refusal = refuse(fault);
        if let Err(why) = self.content.opened.secrets()
            && self.secrets().is_err_and(|locked| locked.message == fault.message)
        {
            refusal.error.code = why.code.into();
        }
        refusal
    }

    /// What tokens are signed with; none where the coordinator has a key of its own.
    pub fn signing_key(&self) -> Result<Option<&SigningKey>, Fault> {
        Ok(self.secrets()?.auth.signing_key.as_ref())
    }

    /// The key before it, whose tokens are still taken.
    pub fn previous_signing_key(&self) -> Result<Option<&SigningKey>, Fault> {
        Ok(self.secrets()?.auth.previous_signing_key.as_ref())
    }

    /// Whether the tokens of machines of this posture fetch a spec once only.
    pub fn one_time(&self, posture: &SiteName) -> bool {
        self.content.postures.get(posture).is_some_and(|posture| posture.auth.one_time)
    }

    /// The posture of a spec.
    pub fn posture_of(&self, spec: &SiteName) -> Option<&SiteName> {
        self.content.specs.get(spec).map(|spec| &spec.posture)
    }
}

/// The name of the spec that a node of this kind takes where it names none.
pub const fn default_spec_name(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Pve => "pve",
        NodeKind::Vm | NodeKind::Ct => "base",
    }
}

/// Whether the folder looks other than when this site was read.
pub fn has_changed(site: &Site, choice: &SiteChoice) -> bool {
    match choice {
        SiteChoice::Demo => false,
        SiteChoice::Folder(path) => Stamp::of(Path::new(path)) != site.stamp,
    }
}

#[cfg(test)]
mod tests;
