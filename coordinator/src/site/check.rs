//! `site check`: all that is wrong with a site, its manifests included.

use homestak_manifests::diagnostic::Diagnostic;
use homestak_manifests::parse;
use homestak_protocol::name::HostName;

use super::secrets::Keys;
use super::{Site, files};
use crate::lower;
use crate::settings::SiteChoice;

/// What checking came to.
#[derive(Debug)]
pub struct Checked {
    /// All that is wrong and all that is probably not meant, file by file.
    pub problems: Vec<Diagnostic>,
    /// What is worth knowing.
    pub notes: Vec<String>,
    /// How many files of each kind there are, by the kind's folder; none where the site cannot be read.
    pub counts: Vec<(&'static str, usize)>,
}

/// Reads everything. Manifests are measured by a site that is whole; by one that is not, only for themselves.
pub fn check(choice: &SiteChoice, keys: &Keys) -> Checked {
    match Site::open(choice, keys) {
        Ok(site) => {
            let mut problems = site.content.warnings.clone();
            for (stem, manifest) in &site.content.manifests {
                problems.extend(check_manifest(&site, stem, &manifest.path, &manifest.text));
            }
            Checked { problems, notes: notes(&site), counts: counts(&site) }
        }
        Err(broken) => {
            let mut problems = broken.problems;
            if let SiteChoice::Folder(path) = choice {
                let files = files::Files::read(path).files;
                for file in files.iter().filter(|file| file.kind == files::Kind::Manifest) {
                    problems.extend(parse(&file.path, &file.text, None).err().unwrap_or_default());
                }
            }
            Checked { problems, notes: Vec::new(), counts: Vec::new() }
        }
    }
}

fn check_manifest(site: &Site, stem: &str, path: &str, text: &str) -> Vec<Diagnostic> {
    use homestak_manifests::diagnostic::{Code, Span};
    let parsed = match parse(path, text, Some(&site.known())) {
        Ok(parsed) => parsed,
        Err(problems) => return problems,
    };
    let mut problems = parsed.warnings;
    let name = &parsed.manifest.name;
    if name.as_str() != stem {
        problems.extend(files::whole(path, |report| {
            let message = format!("the manifest is called {name:?}, and its file {stem}.yaml");
            report
                .warning(Code::NameDiffers, Span::START, message)
                .hint(format!("it is asked for as {stem}, and its tree is {name}; give both the same name"));
        }));
    }
    if let Err(fault) = lower::resolve(site, &parsed.manifest, &HostName::local()) {
        problems.extend(files::whole(path, |report| {
            let problem = report.error(Code::SiteUnusable, Span::START, fault.message);
            problem.hint(fault.hint.unwrap_or_else(|| "see the node that is named".into()));
        }));
    }
    problems
}

fn notes(site: &Site) -> Vec<String> {
    let mut notes = Vec::new();
    if let Ok(None) = site.signing_key() {
        notes.push(
            "`auth.signing_key` is empty: the coordinator signs with a key of its own, in its state folder".into(),
        );
    }
    if site.is_folder() && site.defaults().server_url.is_none() {
        notes.push(
            "`server_url` is empty: `config tfvars` mints no tokens; trees that homestak builds need none".into(),
        );
    }
    notes
}

fn counts(site: &Site) -> Vec<(&'static str, usize)> {
    let content = &site.content;
    vec![
        ("hosts", content.hosts.len()),
        ("nodes", content.nodes.len()),
        ("presets", content.presets.len()),
        ("postures", content.postures.len()),
        ("specs", content.specs.len()),
        ("envs", content.envs.len()),
        ("manifests", content.manifests.len()),
    ]
}
