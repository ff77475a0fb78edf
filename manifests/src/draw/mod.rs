//! A manifest drawn: as a tree for a terminal, as `dot` for Graphviz, as Mermaid for a page, and as YAML or JSON, from
//! which it can be read again.

mod diagram;
mod tree;
mod yaml;

pub use self::diagram::{dot, mermaid};
pub use self::tree::{Lines, tree};
pub use self::yaml::yaml;
use crate::graph::Member;
use crate::model::{Manifest, Mode};

/// The schema's own form as JSON, indented, with a line break at the end.
pub fn json(manifest: &Manifest) -> String {
    // The model has string keys and no floats, so there is nothing in it that JSON lacks.
    let mut text = serde_json::to_string_pretty(manifest).unwrap_or_default();
    text.push('\n');
    text
}

/// What a drawing says about a node besides its name and type, the most telling first.
fn details(member: &Member<'_>) -> Vec<String> {
    let node = member.node();
    let mut details = Vec::new();
    details.extend(node.spec.as_ref().map(|spec| format!("spec {spec}")));
    details.extend((member.mode() == Mode::Pull).then(|| "pull".to_owned()));
    details.extend(member.vmid().map(|vmid| format!("vmid {vmid}")));
    details.extend(node.preset.as_ref().map(|preset| preset.to_string()));
    details.extend(node.disk.map(|disk| format!("{disk} GiB")));
    details.extend(node.image.as_ref().map(|image| image.to_string()));
    details
}
