//! Manifests that are read here, without a daemon: by name from the catalogue, or from what the user gave.

use homestak_coord::api::{Exit, ManifestSource, Refusal};
use homestak_coord::documents::DiagnosticDocument;
use homestak_manifests::diagnostic::{Report, Source};
use homestak_manifests::{Parsed, catalog, parse};
use homestak_protocol::fault::{Code, Fault};

use super::source::document;

/// A manifest as text, and what to call it in messages.
#[derive(Debug)]
pub(super) struct Found {
    /// The file.
    pub(super) file: String,
    /// What it holds.
    pub(super) text: String,
}

/// Looks a manifest up.
pub(super) fn find(source: ManifestSource) -> Result<Found, Refusal> {
    match source {
        ManifestSource::Text { file, text } => Ok(Found { file, text }),
        ManifestSource::Name(name) => match catalog::find(&name) {
            Some(entry) => Ok(Found { file: entry.file.to_owned(), text: entry.text.to_owned() }),
            None => Err(unknown(&name)),
        },
    }
}

/// Reads it, or says everything that is wrong with it.
pub(super) fn read(found: &Found) -> Result<Parsed, Vec<DiagnosticDocument>> {
    parse(&found.file, &found.text, None).map_err(|problems| problems.iter().map(document).collect())
}

fn unknown(name: &str) -> Refusal {
    let names: Vec<&str> = catalog::ENTRIES.iter().map(|entry| entry.name).collect();
    let here = std::path::Path::new(name).is_file();
    let near = Report::new(Source::new("", "")).nearest(name, names.iter().copied()).map(str::to_owned);
    let hint = match near {
        _ if here => format!("there is a file of that name here: write ./{name}"),
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}; a file is given by its path, e.g. ./{name}.yaml", names.join(", ")),
    };
    let fault = Fault::new(Code::NotFound, format!("there is no manifest called {name:?}")).hint(hint);
    Refusal::new(Exit::Configuration, &fault)
}
