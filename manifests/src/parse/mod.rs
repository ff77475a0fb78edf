//! Reading a manifest: everything that is wrong with a file at once, each with its code, its place and a remedy.
//!
//! Nodes that have mistakes are still checked for what can be read of them, so that one mistake does not hide another
//! and does not make new ones.

mod node;

use std::collections::BTreeSet;

use homestak_protocol::ids::Vmid;
use homestak_protocol::name::{ManifestName, SiteName};

use self::node::{Sketch, sketch};
use crate::diagnostic::{Code, Diagnostic, Report, Source};
use crate::model::{Manifest, Mode, Node, OnError, Pattern, SCHEMA_VERSION, Settings};
use crate::structure::{At, Defect, Finding, Link, Structure};
use crate::yaml::{self, Field, Fields, Kind, Resolved, Subject, Value};

const TOP_KEYS: &[&str] = &["schema_version", "name", "description", "pattern", "execution", "settings", "nodes"];
const SETTINGS_KEYS: &[&str] = &["verify_ssh", "cleanup_on_failure", "timeout_buffer", "on_error", "vmid_base"];

const PATTERNS: &[(&str, Pattern)] = &[("flat", Pattern::Flat), ("tiered", Pattern::Tiered)];
const MODES: &[(&str, Mode)] = &[("push", Mode::Push), ("pull", Mode::Pull)];
const ON_ERRORS: &[(&str, OnError)] =
    &[("stop", OnError::Stop), ("rollback", OnError::Rollback), ("continue", OnError::Continue)];

/// homestak's own vmids have five digits, which keeps them apart from those that people give by hand.
const USUAL_VMIDS: std::ops::RangeInclusive<u32> = 10_000..=99_999;

/// The longest `timeout_buffer`: an hour for each level is past any use.
const MAX_TIMEOUT_BUFFER: u32 = 3_600;

/// What a site has, for checking what a manifest refers to.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Its presets.
    pub presets: BTreeSet<SiteName>,
    /// Its specs.
    pub specs: BTreeSet<SiteName>,
}

/// A manifest that was read.
#[derive(Debug)]
pub struct Parsed {
    /// The manifest.
    pub manifest: Manifest,
    /// What in it is probably not meant, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the manifest in `text`, which is YAML or JSON. With `known`, the presets and specs that it names must be there.
/// Otherwise all that is wrong, warnings included, in the order of the file. `file` is only repeated. Linear in the text.
pub fn parse(file: &str, text: &str, known: Option<&Known>) -> Result<Parsed, Vec<Diagnostic>> {
    let mut report = Report::new(Source::new(file, text));
    let read = yaml::read(&mut report);
    let manifest = read.and_then(|value| manifest(&value, known, &mut report));
    match manifest.filter(|_| !report.has_errors()) {
        Some(manifest) => Ok(Parsed { manifest, warnings: report.into_diagnostics() }),
        None => Err(report.into_diagnostics()),
    }
}

fn manifest(value: &Value, known: Option<&Known>, report: &mut Report<'_>) -> Option<Manifest> {
    let fields = Fields::of(value, Subject::Whole("the manifest"), report)?;
    // A file of another version is not measured by this one's rules.
    version(&fields, report)?;
    fields.only(TOP_KEYS, top_elsewhere, report);
    let name = fields
        .require("name", Code::NameMissing, "add `name: ` and a name for the tree", report)
        .and_then(|field| field.name(ManifestName::parse, report));
    let description = fields.get("description").and_then(|field| field.text(report)).map(str::to_owned);
    let pattern = fields.get("pattern");
    let pattern_value = pattern.and_then(|field| field.choice(PATTERNS, report)).unwrap_or_default();
    let default_mode = fields.get("execution").and_then(|field| mode_of(&field, "default_mode", report));
    let settings = fields.get("settings").and_then(|field| field.fields(report));
    let settings_value = settings.map(|settings| read_settings(&settings, report)).unwrap_or_default();
    let nodes = nodes(&fields, settings_value.vmid_base, known, report);
    if let (Some(field), Pattern::Flat, Some(nodes)) = (pattern, pattern_value, &nodes)
        && nodes.iter().any(|node| node.parent.is_some())
    {
        report
            .warning(Code::FlatWithParents, field.span(), "`pattern: flat`, and nodes of the manifest have parents")
            .hint("write `pattern: tiered`; it is the parents that count");
    }
    let default_mode = default_mode.unwrap_or_default();
    Some(Manifest {
        name: name?,
        description,
        pattern: pattern_value,
        default_mode,
        settings: settings_value,
        nodes: nodes?,
    })
}

fn version(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<()> {
    let hint = "add `schema_version: 2`; manifests of version 1, which list levels, are not read any more";
    let field = fields.require("schema_version", Code::VersionMissing, hint, report)?;
    let Kind::Scalar(scalar) = &field.value.kind else {
        let message = format!("{field} is a whole number, not {}", field.value.describe());
        report.error(Code::WrongType, field.span(), message).hint("write `schema_version: 2`");
        return None;
    };
    if scalar.resolve() == Resolved::Integer(SCHEMA_VERSION.into()) {
        return Some(());
    }
    let message = format!("schema version {} is not read, only {SCHEMA_VERSION}", report.quote(scalar.as_str()));
    let hint = match scalar.resolve() {
        Resolved::Text("2") => "remove the quotes",
        Resolved::Integer(1) => "version 1 lists levels; version 2 lists nodes, each with its parent",
        _ => "write `schema_version: 2`",
    };
    report.error(Code::VersionUnsupported, field.span(), message).hint(hint);
    None
}

fn read_settings(fields: &Fields<'_>, report: &mut Report<'_>) -> Settings {
    fields.only(SETTINGS_KEYS, |_| None, report);
    let usual = Settings::default();
    let mut flag = |key, otherwise| fields.get(key).and_then(|field| field.boolean(report)).unwrap_or(otherwise);
    let verify_ssh = flag("verify_ssh", usual.verify_ssh);
    let cleanup_on_failure = flag("cleanup_on_failure", usual.cleanup_on_failure);
    let buffer = fields.get("timeout_buffer");
    let buffer = buffer.and_then(|field| field.number(0..=MAX_TIMEOUT_BUFFER, " seconds", report));
    let on_error = fields.get("on_error").and_then(|field| field.choice(ON_ERRORS, report));
    let vmid_base = fields.get("vmid_base").and_then(|field| read_vmid(&field, report));
    Settings {
        verify_ssh,
        cleanup_on_failure,
        timeout_buffer: buffer.unwrap_or(usual.timeout_buffer),
        on_error: on_error.unwrap_or(usual.on_error),
        vmid_base,
    }
}

fn mode_of(field: &Field<'_>, key: &'static str, report: &mut Report<'_>) -> Option<Mode> {
    let fields = field.fields(report)?;
    fields.only(&[key], |_| None, report);
    fields.get(key)?.choice(MODES, report)
}

fn read_vmid(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vmid> {
    let number = field.number(Vmid::MIN..=Vmid::MAX, "", report)?;
    if !USUAL_VMIDS.contains(&number) {
        report
            .warning(Code::UnusualVmid, field.span(), format!("{field} {number} does not have five digits"))
            .hint("homestak's own have, which keeps them apart from those given by hand");
    }
    Vmid::new(number)
}

fn nodes(
    fields: &Fields<'_>,
    vmid_base: Option<Vmid>,
    known: Option<&Known>,
    report: &mut Report<'_>,
) -> Option<Vec<Node>> {
    let field = fields.require("nodes", Code::NodesMissing, "add `nodes:` and a list of at least one", report)?;
    let items = field.items(report)?;
    if items.is_empty() {
        report
            .error(Code::NodesEmpty, field.span(), "the list of nodes is empty")
            .hint("add a node: `- name: edge` and, below it, `type: vm`");
    }
    let sketches: Vec<_> = items.iter().enumerate().map(|(index, item)| sketch(item, index, known, report)).collect();
    check_structure(&sketches, vmid_base, report);
    // A node that could not be read at all has left an error, so that nobody gets to see the others without it.
    sketches.into_iter().map(|sketch| sketch.node).collect()
}

fn check_structure(sketches: &[Sketch<'_>], vmid_base: Option<Vmid>, report: &mut Report<'_>) {
    let links: Vec<Link<'_>> = sketches.iter().map(|sketch| sketch.link).collect();
    for defect in Structure::new(&links, vmid_base).defects {
        let place = |node: usize| {
            sketches.get(node).map_or(String::new(), |other| format!(" on line {}", other.name_span.line))
        };
        let Finding { code, node, at, message, hint } = Finding::of(&defect, &links, place);
        let Some(sketch) = sketches.get(node) else { continue };
        let span = match at {
            At::Name => None,
            At::Parent => sketch.parent_span,
            At::Vmid => sketch.vmid_span,
        };
        let span = span.unwrap_or(sketch.name_span);
        if let (Defect::UnknownParent { .. }, Some(parent)) = (&defect, sketch.link.parent) {
            let others = links.iter().filter_map(|link| link.name).filter(|name| Some(*name) != sketch.link.name);
            report.unknown(code, span, message, parent, others, || hint);
        } else {
            report.error(code, span, message).hint(hint);
        }
    }
}

/// Keys that belong one level further in, and those of version 1.
fn top_elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "default_mode" | "mode" => Some("write it under `execution:` as `default_mode: `"),
        "verify_ssh" | "cleanup_on_failure" | "timeout_buffer" | "on_error" | "vmid_base" => {
            Some("write it under `settings:`")
        }
        "levels" => Some("version 2 has no levels: list `nodes:`, each with its `parent`"),
        _ => None,
    }
}
