//! From what was given to what is sent: names as they are, files read here, where their paths mean what the user means.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use homestak_coord::api::{Exit, ManifestSource, Refusal};
use homestak_coord::documents::{DiagnosticDocument, ErrorDocument};
use homestak_coord::manifest;
use homestak_manifests::yaml;
use homestak_protocol::fault::{Code, Fault};

use super::args::Source;
use super::remedy;

/// What text that was given on the command line is called in messages.
const INLINE: &str = "--manifest-json";

impl Source {
    /// What to call it before anybody has read it.
    pub(super) fn label(&self) -> String {
        match self {
            Source::Name(name) => name.clone(),
            Source::File(path) => path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            Source::Text(_) => INLINE.to_owned(),
        }
    }

    /// Where it is, as far as that was said.
    pub(super) fn place(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Name(_) | Source::Text(_) => self.label(),
        }
    }

    /// The same refusal with a remedy, if need be one that only this side knows: a name may have been meant as a file.
    pub(super) fn explain(&self, mut refusal: Refusal) -> Refusal {
        if let Source::Name(name) = self
            && refusal.error.code == Code::NotFound.as_str()
            && Path::new(name).is_file()
        {
            refusal.error.hint = Some(format!("there is a file of that name here: write ./{name}"));
        }
        remedy::complete(refusal)
    }

    /// What is sent.
    pub(super) fn read(&self) -> Result<ManifestSource, Refusal> {
        match self {
            Source::Name(name) => Ok(ManifestSource::Name(name.clone())),
            Source::Text(text) => Ok(ManifestSource::Text { file: INLINE.to_owned(), text: text.clone() }),
            Source::File(path) => {
                let bytes = contents(path)?;
                let file = std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
                let problem = match yaml::text(&file, &bytes) {
                    Ok(text) => return Ok(ManifestSource::Text { text: text.to_owned(), file }),
                    Err(problem) => manifest::document(&problem),
                };
                if bytes.len() > yaml::MAX_BYTES {
                    // Nobody has counted the rest.
                    let message = format!("the file has more than the {} bytes that are read", yaml::MAX_BYTES);
                    return Err(unusable(&file, DiagnosticDocument { message, ..problem }));
                }
                Err(unusable(&file, problem))
            }
        }
    }
}

/// A file's bytes; of one that is too large, as many as show it.
fn contents(path: &Path) -> Result<Vec<u8>, Refusal> {
    let unreadable = |error: std::io::Error| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let fault = Fault::new(Code::NotFound, format!("the manifest {} cannot be read: {error}", path.display()))
            .hint(format!(
                "a manifest can also be given by its name, e.g. {name}; `homestak-coord manifests list` lists them"
            ));
        Refusal::new(Exit::Configuration, &fault)
    };
    let limit = u64::try_from(yaml::MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(bytes)
}

fn unusable(file: &str, problem: DiagnosticDocument) -> Refusal {
    let error = ErrorDocument {
        code: problem.code.clone(),
        message: format!("the manifest {file} cannot be used"),
        hint: problem.hint.clone(),
        node: None,
    };
    Refusal { exit: Exit::Configuration, error: Box::new(error), diagnostics: vec![problem] }
}
