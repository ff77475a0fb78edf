//! Reading one node: as far as it can be read, so that the tree can be checked whatever else is wrong.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use homestak_protocol::name::{NodeName, SiteName};

use super::{Known, mode_of, read_vmid};
use crate::diagnostic::{Code, Report, Span};
use crate::model::{Mode, Node, NodeKind};
use crate::structure::{Link, VmidSource};
use crate::yaml::{Field, Fields, Kind, Resolved, Subject, Value};

const NODE_KEYS: &[&str] = &["name", "type", "spec", "preset", "image", "vmid", "disk", "parent", "execution"];
const KINDS: &[(&str, NodeKind)] = &[("vm", NodeKind::Vm), ("ct", NodeKind::Ct), ("pve", NodeKind::Pve)];

/// A node as far as it can be read.
pub(super) struct Sketch<'v> {
    pub(super) node: Option<Node>,
    pub(super) link: Link<'v>,
    /// Where its name stands, or else the node.
    pub(super) name_span: Span,
    pub(super) parent_span: Option<Span>,
    pub(super) vmid_span: Option<Span>,
}

/// Reads the node at `index`.
pub(super) fn sketch<'v>(item: &'v Value, index: usize, known: Option<&Known>, report: &mut Report<'_>) -> Sketch<'v> {
    let errors = report.errors();
    let Some(fields) = Fields::of(item, Subject::Numbered("node", index + 1), report) else {
        let link = Link { name: None, kind: None, parent: None, vmid: VmidSource::Unreadable };
        return Sketch { node: None, link, name_span: item.span, parent_span: None, vmid_span: None };
    };
    let name_text = fields.get("name").and_then(|field| text_of(&field));
    let fields = name_text.map_or(fields, |name| fields.renamed(Subject::Named("node", name)));
    fields.only(NODE_KEYS, elsewhere, report);
    let name_field = fields.require("name", Code::NodeNameMissing, "add `name: ` and a hostname", report);
    let name = name_field.and_then(|field| field.name(NodeName::parse, report));
    let kind_hint = "add `type: ` and one of vm, ct, pve";
    let kind_field = fields.require("type", Code::NodeTypeMissing, kind_hint, report);
    let kind = kind_field.and_then(|field| field.choice(KINDS, report));
    let spec =
        fields.get("spec").and_then(|field| reference(field, known.map(|k| (&k.specs, Code::UnknownSpec)), report));
    let preset = fields
        .get("preset")
        .and_then(|field| reference(field, known.map(|k| (&k.presets, Code::UnknownPreset)), report));
    let image = fields.get("image").and_then(|field| reference(field, None, report));
    if let (Some(field), Some(kind @ (NodeKind::Vm | NodeKind::Pve)), None) = (kind_field, kind, fields.get("image")) {
        report
            .error(
                Code::ImageMissing,
                field.span(),
                format!("{}: a node of type `{kind}` needs an image", fields.subject()),
            )
            .hint("add `image: `, as in `image: debian-12`");
    }
    let vmid_field = fields.get("vmid");
    let vmid = vmid_field.and_then(|field| read_vmid(&field, report));
    let disk = fields.get("disk").and_then(|field| field.number(1..=u32::MAX, " GiB", report));
    let parent_field = fields.get("parent");
    let parent = parent_field.and_then(|field| field.name(NodeName::parse, report));
    let mode = fields.get("execution").and_then(|field| read_mode(&field, kind, report));
    let source = match (vmid_field, vmid) {
        (None, _) => VmidSource::Base,
        (Some(_), Some(vmid)) => VmidSource::Chosen(vmid),
        (Some(_), None) => VmidSource::Unreadable,
    };
    let sound = report.errors() == errors;
    let node = name.zip(kind).filter(|_| sound).map(|(name, kind)| Node {
        name,
        kind,
        spec,
        preset,
        image,
        vmid,
        disk: disk.and_then(NonZeroU32::new),
        parent,
        mode,
    });
    let parent_text = parent_field.and_then(|field| text_of(&field)).filter(|text| NodeName::parse(text).is_ok());
    Sketch {
        node,
        link: Link { name: name_text, kind, parent: parent_text, vmid: source },
        name_span: name_field.map_or(fields.span(), |field| field.span()),
        parent_span: parent_field.map(|field| field.span()),
        vmid_span: vmid_field.map(|field| field.span()),
    }
}

/// What a field says, wrong or not, without reporting it.
fn text_of<'v>(field: &Field<'v>) -> Option<&'v str> {
    match &field.value.kind {
        Kind::Scalar(scalar) => match scalar.resolve() {
            Resolved::Text(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// A name of something in the site; of something that the site has, where it is known.
fn reference(
    field: Field<'_>,
    known: Option<(&BTreeSet<SiteName>, Code)>,
    report: &mut Report<'_>,
) -> Option<SiteName> {
    let name = field.name(SiteName::parse, report)?;
    let Some((known, code)) = known.filter(|(known, _)| !known.contains(&name)) else { return Some(name) };
    let message = format!("{field}: the site has no {} {}", field.key(), report.quote(name.as_str()));
    let names = || known.iter().map(SiteName::as_str);
    report.unknown(code, field.span(), message, name.as_str(), names(), || match known.len() {
        0 => format!("the site has no {} at all", field.key()),
        1..=10 => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        more => format!("there are {more} to choose from"),
    });
    None
}

fn read_mode(field: &Field<'_>, kind: Option<NodeKind>, report: &mut Report<'_>) -> Option<Mode> {
    let mode = mode_of(field, "mode", report)?;
    if mode == Mode::Pull && kind == Some(NodeKind::Pve) {
        report
            .warning(Code::PullOnPve, field.span(), format!("{field}: a `pve` node is configured by push all the same"))
            .hint("remove `mode: pull` here");
    }
    Some(mode)
}

/// Keys that belong one level further in, or in a preset.
fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "mode" | "default_mode" => Some("write it under the node's `execution:` as `mode: `"),
        "cores" | "memory" => Some("the size of a node comes from its `preset`; only `disk` can be set here"),
        "children" | "nodes" => Some("list every node under the manifest's `nodes:` and give it a `parent`"),
        _ => None,
    }
}
