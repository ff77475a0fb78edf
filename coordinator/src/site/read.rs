//! From files to a site: every file is read, whatever is wrong with the others, and references are checked on the way.

use std::collections::BTreeMap;

use homestak_manifests::diagnostic::{Code, Diagnostic, Report, Source, Span};
use homestak_manifests::yaml::{self, Fields, Mapping, Subject, Value};
use homestak_protocol::name::{HostName, NameError, SiteName};

use super::files::{File, Files, Kind};
use super::model::{Defaults, Env, Host, Names, Node, Posture, Preset, SpecFile};
use super::secrets::Opened;
use super::{Broken, Content, ManifestFile};

/// Everything that a site's files say, and all that is wrong with them.
pub(super) fn content(files: Files, opened: Result<Opened, Vec<Diagnostic>>) -> Result<Content, Broken> {
    let Files { files, mut problems } = files;
    let secrets = opened.as_ref().ok().and_then(|opened| opened.secrets().ok());
    let names = |kind| files.iter().filter(move |file| file.kind == kind).map(|file| file.stem.as_str());
    let mut known = Names {
        postures: names(Kind::Posture).filter_map(|stem| SiteName::parse(stem).ok()).collect(),
        hosts: names(Kind::Host).filter_map(|stem| HostName::parse(stem).ok()).collect(),
        ssh_keys: secrets.map(|secrets| keys(&secrets.ssh_keys)),
        api_tokens: secrets.map(|secrets| keys(&secrets.api_tokens)),
        datastore: true,
    };
    let mut defaults = None;
    for file in files.iter().filter(|file| file.kind == Kind::Site) {
        let read = |fields: &Fields<'_>, report: &mut Report<'_>| Some(Defaults::read(fields, report));
        defaults = one(file, Subject::Whole("the site"), &mut problems, read);
        known.datastore = defaults.as_ref().is_none_or(|defaults| defaults.datastore.is_some());
    }
    let had_site = files.iter().any(|file| file.kind == Kind::Site);
    if !had_site {
        known.datastore = false;
    }
    let known = known;
    let site_name: Parse<SiteName> = SiteName::parse;
    let host_name: Parse<HostName> = HostName::parse;
    let mut read = Reader { files: &files, problems: &mut problems };
    let hosts = read.all(Kind::Host, host_name, |name, fields, report| Some(Host::read(name.as_str(), fields, report)));
    let nodes = read.all(Kind::Node, host_name, |name, fields, report| Node::read(name, fields, &known, report));
    let presets = read.all(Kind::Preset, site_name, |_, fields, report| Preset::read(fields, report));
    let postures = read.all(Kind::Posture, site_name, |_, fields, report| Some(Posture::read(fields, report)));
    let specs = read.all(Kind::Spec, site_name, |_, fields, report| SpecFile::read(fields, &known, report));
    let envs = read.all(Kind::Env, site_name, |_, fields, report| Some(Env::read(fields, &known, report)));
    let opened = match opened {
        Ok(opened) => opened,
        Err(wrong) => {
            problems.extend(wrong);
            return Err(Broken { problems });
        }
    };
    problems.extend(opened.warnings.iter().cloned());
    if problems.iter().any(Diagnostic::is_error) {
        return Err(Broken { problems });
    }
    let manifest = |file: File| (file.stem, ManifestFile { path: file.path, text: file.text });
    let manifests = files.into_iter().filter(|file| file.kind == Kind::Manifest).map(manifest).collect();
    Ok(Content {
        defaults: defaults.unwrap_or_default(),
        hosts,
        nodes,
        presets,
        postures,
        specs,
        envs,
        manifests,
        opened,
        warnings: problems,
    })
}

type Parse<T> = fn(&str) -> Result<T, NameError>;

struct Reader<'f> {
    files: &'f [File],
    problems: &'f mut Vec<Diagnostic>,
}

impl Reader<'_> {
    /// Every file of a kind, by name.
    fn all<N: Ord, T>(
        &mut self,
        kind: Kind,
        parse: Parse<N>,
        read: impl Fn(&N, &Fields<'_>, &mut Report<'_>) -> Option<T>,
    ) -> BTreeMap<N, T> {
        let mut all = BTreeMap::new();
        for file in self.files.iter().filter(|file| file.kind == kind) {
            let subject = Subject::Named(kind.names().1, &file.stem);
            match parse(&file.stem) {
                Ok(name) => {
                    let value = one(file, subject, self.problems, |fields, report| read(&name, fields, report));
                    all.extend(value.map(|value| (name, value)));
                }
                Err(error) => {
                    let mut report = Report::new(Source::new(&file.path, &file.text));
                    let message = format!("a file that is called {:?} describes no {}", file.stem, kind.names().1);
                    report.error(Code::BadFileName, Span::START, message).hint(format!("rename it: {error}"));
                    self.problems.extend(report.into_diagnostics());
                }
            }
        }
        all
    }
}

/// One file; a file with nothing in it is one in which every key is left out.
fn one<T>(
    file: &File,
    subject: Subject<'_>,
    problems: &mut Vec<Diagnostic>,
    read: impl FnOnce(&Fields<'_>, &mut Report<'_>) -> Option<T>,
) -> Option<T> {
    let mut report = Report::new(Source::new(&file.path, &file.text));
    let value = yaml::read(&mut report).map(|value| if value.is_null() { empty() } else { value });
    let fields = value.as_ref().and_then(|value| Fields::of(value, subject, &mut report));
    let found = fields.and_then(|fields| read(&fields, &mut report));
    problems.extend(report.into_diagnostics());
    found
}

fn empty() -> Value {
    Value { span: Span::START, kind: yaml::Kind::Mapping(Mapping::default()) }
}

fn keys<T>(section: &[(String, T)]) -> Vec<String> {
    section.iter().map(|(name, _)| name.clone()).collect()
}
