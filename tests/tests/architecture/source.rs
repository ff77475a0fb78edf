//! Source files as the rules see them: their text, and every path that they name, with comments and texts left out.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where it lies, from the workspace's folder.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Every path that it names, groups in `use` spelt out, and the line where its last part begins.
    pub(crate) names: Vec<(Vec<String>, usize)>,
}

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every source file of the workspace, fuzz targets included.
pub(crate) fn all() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    for folder in ["protocol", "manifests", "node", "agent", "coordinator", "tests", "fuzz"] {
        collect(&root, &root.join(folder), &mut found);
    }
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.push(Source::parse(name, &fs::read_to_string(&path).unwrap()).unwrap());
        }
    }
}

impl Source {
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{path}: {error}"))?;
        let mut names = Vec::new();
        walk(tokens, &[], &mut names);
        Ok(Self { path: path.to_owned(), text: text.to_owned(), names })
    }
}

/// Finds the paths in tokens. `prefix` is what stands before a group of a `use`: in `use std::{fs, net::IpAddr}` the paths
/// are `std::fs` and `std::net::IpAddr`.
fn walk(tokens: TokenStream, prefix: &[String], names: &mut Vec<(Vec<String>, usize)>) {
    let mut current: Vec<String> = Vec::new();
    let mut line = 0;
    let mut colons = 0;
    let mut finish = |current: &mut Vec<String>, line: usize| {
        if !current.is_empty() {
            names.push((prefix.iter().cloned().chain(current.drain(..)).collect(), line));
        }
    };
    let mut groups = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => {
                if colons < 2 {
                    finish(&mut current, line);
                    line = ident.span().start().line;
                }
                current.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
            TokenTree::Group(group) => {
                let under = colons == 2 && group.delimiter() == Delimiter::Brace && !current.is_empty();
                let before = if under { [prefix, &current[..]].concat() } else { Vec::new() };
                groups.push((group.stream(), before));
                if under {
                    current.clear();
                }
                finish(&mut current, line);
                colons = 0;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {
                finish(&mut current, line);
                colons = 0;
            }
        }
    }
    finish(&mut current, line);
    for (stream, before) in groups {
        walk(stream, &before, names);
    }
}
