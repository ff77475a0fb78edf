//! Manifests as commands name them: found, read and checked against the site.
//!
//! [`validate`] needs no daemon; a command line may call it by itself.

use std::num::NonZeroUsize;

use homestak_manifests::diagnostic::{Report, Severity, Source};
use homestak_manifests::{Diagnostic, Graph, Manifest, catalog, draw, parse};
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::name::{HostName, ManifestName};

use crate::api::{Exit, ManifestFormat, ManifestSource, Refusal};
use crate::documents::{
    DiagnosticDocument, ErrorDocument, ExcerptDocument, ManifestDocument, ManifestsDocument, ValidateDocument,
    ValidatedDocument,
};
use crate::lower;
use crate::site::Site;

/// A manifest that was found, and reads well.
#[derive(Debug)]
pub struct Found {
    /// It.
    pub manifest: Manifest,
    /// The file that it came from; none for one that was named.
    pub file: Option<String>,
    /// Its text, so that it can be read again after a restart.
    pub text: String,
    /// What in it is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Text that was found under a name, or brought along.
struct Text {
    file: String,
    text: String,
    named: bool,
}

/// Finds and reads a manifest. With `levels`, only its first ones.
pub fn read(site: &Site, source: &ManifestSource, levels: Option<u32>) -> Result<Found, Refusal> {
    let Text { file, text, named } = find(site, source)?;
    let parsed = parse(&file, &text, Some(&site.known())).map_err(|problems| refuse(&problems))?;
    let mut manifest = parsed.manifest;
    if let Some(levels) = levels.and_then(|levels| NonZeroUsize::new(usize::try_from(levels).ok()?)) {
        let cut = Graph::new(&manifest).ok().map(|graph| graph.first_levels(levels));
        manifest = cut.unwrap_or(manifest);
    }
    Ok(Found { manifest, file: (!named).then_some(file), text, warnings: parsed.warnings })
}

/// The name of the tree that is meant. A file that cannot be read any more does not keep its tree from being meant: then it
/// is the one that came from that file, as `recorded` knows.
pub fn name(
    site: &Site,
    source: &ManifestSource,
    recorded: impl Fn(&str) -> Option<ManifestName>,
) -> Result<ManifestName, Refusal> {
    match source {
        ManifestSource::Name(name) => ManifestName::parse(name).map_err(|error| {
            let fault =
                Fault::new(Code::NotFound, error.to_string()).hint("`homestak-coord status` lists the recorded trees");
            Refusal::new(Exit::Configuration, &fault)
        }),
        ManifestSource::Text { file, .. } => match read(site, source, None) {
            Ok(found) => Ok(found.manifest.name),
            Err(refusal) => recorded(file).ok_or(refusal),
        },
    }
}

/// Checks manifests, each for everything that can be wrong with it.
pub fn validate(site: &Site, sources: &[ManifestSource]) -> ValidateDocument {
    let manifests: Vec<_> = sources.iter().map(|source| validate_one(site, source)).collect();
    ValidateDocument { valid: manifests.iter().all(|manifest| manifest.valid), manifests }
}

fn validate_one(site: &Site, source: &ManifestSource) -> ValidatedDocument {
    let label = match source {
        ManifestSource::Name(name) => name,
        ManifestSource::Text { file, .. } => file,
    };
    let invalid = |errors| ValidatedDocument {
        name: label.clone(),
        valid: false,
        errors,
        warnings: Vec::new(),
        notes: Vec::new(),
    };
    let text = match find(site, source) {
        Ok(text) => text,
        Err(refusal) => return invalid(vec![unplaced(label, &refusal.error)]),
    };
    let parsed = match parse(&text.file, &text.text, Some(&site.known())) {
        Ok(parsed) => parsed,
        Err(problems) => {
            let (errors, warnings) = problems.iter().partition::<Vec<_>, _>(|problem| problem.is_error());
            let warnings = warnings.into_iter().map(document).collect();
            return ValidatedDocument { warnings, ..invalid(errors.into_iter().map(document).collect()) };
        }
    };
    let warnings = parsed.warnings.iter().map(document).collect();
    match lower::resolve(site, &parsed.manifest, &HostName::local()) {
        Ok(resolved) => ValidatedDocument {
            name: parsed.manifest.name.to_string(),
            valid: true,
            errors: Vec::new(),
            warnings,
            notes: resolved.notes,
        },
        Err(fault) => {
            ValidatedDocument { warnings, ..invalid(vec![unplaced(&text.file, &ErrorDocument::from(&fault))]) }
        }
    }
}

/// The manifests that can be named: the site's, then those of the catalogue that it has not.
pub fn list(site: &Site) -> ManifestsDocument {
    let own = site.manifests();
    let built_in = catalog::ENTRIES.iter().map(|entry| entry.name.to_owned());
    let mut names: Vec<(String, &str)> = own.iter().map(|name| (name.clone(), "site")).collect();
    names.extend(built_in.filter(|name| !own.contains(name)).map(|name| (name, "built-in")));
    names.sort();
    let manifests = names.into_iter().filter_map(|(name, source)| {
        let found = read(site, &ManifestSource::Name(name.clone()), None).ok()?;
        let levels = Graph::new(&found.manifest).ok().map_or(0, |graph| graph.levels());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (nodes, levels) = (count(found.manifest.nodes.len()), count(levels));
        Some(ManifestDocument { name, description: found.manifest.description, source: source.into(), nodes, levels })
    });
    ManifestsDocument { manifests: manifests.collect() }
}

/// A manifest in another form.
pub fn show(site: &Site, source: &ManifestSource, format: ManifestFormat) -> Result<String, Refusal> {
    let manifest = read(site, source, None)?.manifest;
    let graph = Graph::new(&manifest).map_err(|errors| {
        let message = errors.first().map_or_else(|| "the manifest is no tree".into(), ToString::to_string);
        Refusal::new(Exit::Configuration, &Fault::new(Code::SpecInvalid, message))
    })?;
    Ok(match format {
        ManifestFormat::Tree => draw::tree(&graph, draw::Lines::Unicode),
        ManifestFormat::Yaml => draw::yaml(&manifest),
        ManifestFormat::Json => draw::json(&manifest),
        ManifestFormat::Dot => draw::dot(&graph),
        ManifestFormat::Mermaid => draw::mermaid(&graph),
    })
}

fn find(site: &Site, source: &ManifestSource) -> Result<Text, Refusal> {
    match source {
        ManifestSource::Text { file, text } => Ok(Text { file: file.clone(), text: text.clone(), named: false }),
        ManifestSource::Name(name) => {
            let own = site.manifest(name);
            let built_in = || catalog::find(name).map(|entry| (entry.file.to_owned(), entry.text.to_owned()));
            let (file, text) = own.or_else(built_in).ok_or_else(|| unknown(site, name))?;
            Ok(Text { file, text, named: true })
        }
    }
}

fn unknown(site: &Site, name: &str) -> Refusal {
    let mut names = site.manifests();
    names.extend(catalog::ENTRIES.iter().map(|entry| entry.name.to_owned()));
    names.sort();
    names.dedup();
    let near = Report::new(Source::new("", "")).nearest(name, names.iter().map(String::as_str)).map(str::to_owned);
    let hint = match near {
        Some(near) => format!("did you mean {near}? `homestak-coord manifests list` shows all"),
        None => format!("there are {}; a file is named by its path, such as ./{name}.yaml", names.join(", ")),
    };
    let fault = Fault::new(Code::NotFound, format!("there is no manifest called {name:?}")).hint(hint);
    Refusal::new(Exit::Configuration, &fault)
}

/// A refusal with everything that is wrong with a file; the first error is its message.
fn refuse(problems: &[Diagnostic]) -> Refusal {
    let first = problems.iter().find(|problem| problem.is_error()).or(problems.first());
    let error = ErrorDocument {
        code: first.map_or(Code::SpecInvalid.as_str(), |problem| problem.code).into(),
        message: first.map_or_else(
            || "the manifest cannot be used".into(),
            |problem| format!("{}:{}:{}: {}", problem.file, problem.line, problem.column, problem.message),
        ),
        hint: first.and_then(|problem| problem.hint.clone()),
        node: None,
    };
    let diagnostics = problems.iter().map(document).collect();
    Refusal { exit: Exit::Configuration, error: Box::new(error), diagnostics }
}

/// A problem of a file, as programs read it.
pub fn document(problem: &Diagnostic) -> DiagnosticDocument {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let excerpt = |source: &homestak_manifests::diagnostic::Excerpt| ExcerptDocument {
        text: source.text.clone(),
        before: source.before,
        width: source.width,
    };
    DiagnosticDocument {
        code: problem.code.into(),
        severity: severity.into(),
        message: problem.message.clone(),
        file: problem.file.clone(),
        line: problem.line,
        column: problem.column,
        hint: problem.hint.clone(),
        source: problem.source.as_ref().map(excerpt),
    }
}

/// A problem of a whole file.
fn unplaced(file: &str, error: &ErrorDocument) -> DiagnosticDocument {
    DiagnosticDocument {
        code: error.code.clone(),
        severity: "error".into(),
        message: error.message.clone(),
        file: file.into(),
        line: 1,
        column: 1,
        hint: error.hint.clone(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::SiteChoice;
    use crate::site::secrets::Keys;

    fn site() -> Site {
        Site::open(&SiteChoice::Demo, &Keys::default()).unwrap()
    }

    fn text(file: &str, text: &str) -> ManifestSource {
        ManifestSource::Text { file: file.into(), text: text.into() }
    }

    #[test]
    fn every_manifest_of_the_catalogue_is_listed_and_valid() {
        let list = list(&site());
        assert_eq!(list.manifests.len(), catalog::ENTRIES.len());
        let tiered = list.manifests.iter().find(|m| m.name == "n2-tiered").unwrap();
        assert_eq!((tiered.nodes, tiered.levels, tiered.source.as_str()), (2, 2, "built-in"));
        let all: Vec<_> = list.manifests.into_iter().map(|m| ManifestSource::Name(m.name)).collect();
        assert!(validate(&site(), &all).valid);
    }

    #[test]
    fn a_bad_file_hides_no_other_and_tells_all_that_is_wrong_with_it() {
        let bad =
            text("/x/bad.yaml", "schema_version: 2\nname: m\nnodes:\n- {name: A, type: vm}\n- {name: b, type: xx}\n");
        let document =
            validate(&site(), &[bad, ManifestSource::Name("nope".into()), ManifestSource::Name("n1-push".into())]);
        let valid: Vec<_> = document.manifests.iter().map(|m| m.valid).collect();
        assert_eq!((document.valid, valid), (false, vec![false, false, true]));
        assert!(document.manifests[0].errors.len() >= 3, "{:?}", document.manifests[0].errors);
        assert_eq!(document.manifests[0].errors[0].line, 4);
        assert!(document.manifests[1].errors[0].hint.as_ref().unwrap().contains("n2-tiered"));
    }

    #[test]
    fn a_tree_is_found_by_its_file_even_when_that_cannot_be_read_any_more() {
        let known = |file: &str| (file == "/x/m.yaml").then(|| ManifestName::parse("m").unwrap());
        let broken = text("/x/m.yaml", "nodes: [");
        assert_eq!(name(&site(), &broken, known).unwrap().as_str(), "m");
        assert_eq!(name(&site(), &broken, |_| None).unwrap_err().exit, Exit::Configuration);
        let good = text("/y.yaml", "{schema_version: 2, name: other, nodes: [{name: a, type: ct}]}");
        assert_eq!(name(&site(), &good, known).unwrap().as_str(), "other");
        // A name needs no file at all.
        assert_eq!(name(&site(), &ManifestSource::Name("lost".into()), known).unwrap().as_str(), "lost");
    }
}
