//! `manifests list` and `manifests show`. Needs no daemon.

use homestak_coord::api::{Exit, Refusal};
use homestak_coord::documents::{ErrorDocument, ManifestDocument, ManifestsDocument};
use homestak_manifests::draw::{self, Lines};
use homestak_manifests::{Graph, catalog};
use homestak_protocol::fault::{Code, Fault};
use serde_json::Value;

use super::Outcome;
use super::args::{Format, Show, Source};
use super::context::Context;
use super::library::{self, Found};
use crate::show::lists;

/// Lists the manifests that can be named.
pub(super) fn list(context: &Context) -> Outcome {
    let built_in = catalog::ENTRIES.iter().map(|entry| {
        let found = Found { file: entry.file.to_owned(), text: entry.text.to_owned() };
        let parsed = library::read(&found).map_err(|problems| unusable(&found.file, problems))?;
        let levels = Graph::new(&parsed.manifest).map_or(0, |graph| graph.levels());
        let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(ManifestDocument {
            name: entry.name.to_owned(),
            description: parsed.manifest.description.clone(),
            source: "built-in".into(),
            nodes: narrow(parsed.manifest.nodes.len()),
            levels: narrow(levels),
        })
    });
    let mut manifests = built_in.collect::<Result<Vec<_>, Refusal>>()?;
    manifests.sort_by(|one, other| one.name.cmp(&other.name));
    let printer = &context.printer;
    printer.data(&lists::manifests(&manifests, printer.out_columns(), printer.out_style()));
    printer.document(&ManifestsDocument { manifests });
    Ok(Exit::Done)
}

/// Shows one.
pub(super) fn show(context: &Context, given: &Show) -> Outcome {
    let found = library::find(Source::guess(&given.name).read()?)?;
    let parsed = library::read(&found).map_err(|problems| unusable(&found.file, problems))?;
    let manifest = &parsed.manifest;
    let printer = &context.printer;
    if printer.json() {
        let text = draw::json(manifest);
        printer.document(&serde_json::from_str::<Value>(&text).unwrap_or(Value::Null));
        return Ok(Exit::Done);
    }
    let graph = Graph::new(manifest).map_err(|_| unusable(&found.file, Vec::new()))?;
    let lines = if printer.out_style().unicode { Lines::Unicode } else { Lines::Ascii };
    printer.raw(&match given.format {
        Format::Tree => draw::tree(&graph, lines),
        Format::Yaml => draw::yaml(manifest),
        Format::Json => draw::json(manifest),
        Format::Dot => draw::dot(&graph),
        Format::Mermaid => draw::mermaid(&graph),
    });
    Ok(Exit::Done)
}

fn unusable(file: &str, diagnostics: Vec<homestak_coord::documents::DiagnosticDocument>) -> Refusal {
    let fault = Fault::new(Code::NotFound, format!("the manifest {file} cannot be shown as it is not valid"))
        .hint("mend what is said above");
    Refusal { exit: Exit::Configuration, error: Box::new(ErrorDocument::from(&fault)), diagnostics }
}
