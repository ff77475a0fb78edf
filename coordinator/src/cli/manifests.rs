//! `manifests list` and `manifests show`. Needs no daemon.

use homestak_coord::api::{Exit, ManifestFormat};
use homestak_coord::manifest;
use serde_json::Value;

use super::Outcome;
use super::args::{Format, Show, Source};
use super::context::Context;
use crate::show::lists;

/// Lists the manifests that can be named.
pub(super) fn list(context: &Context) -> Outcome {
    let list = manifest::list(&context.site()?);
    let printer = &context.printer;
    printer.document(&list);
    printer.data(&lists::manifests(&list.manifests, printer.out_columns(), printer.out_style()));
    Ok(Exit::Done)
}

/// Shows one; with `--json` as JSON, whatever the format.
pub(super) fn show(context: &Context, given: &Show) -> Outcome {
    let (site, source) = (context.site()?, Source::guess(&given.name));
    let printer = &context.printer;
    let format = if printer.json() { ManifestFormat::Json } else { wire(given.format) };
    let shown = manifest::show(&site, &source.read()?, format).map_err(|refusal| source.explain(refusal))?;
    if printer.json() {
        // It was JSON a moment ago.
        printer.document(&serde_json::from_str::<Value>(&shown).unwrap_or(Value::Null));
    } else if given.format == Format::Tree && !printer.out_style().unicode {
        printer.raw(&ascii(&shown));
    } else {
        printer.raw(&shown);
    }
    Ok(Exit::Done)
}

fn wire(format: Format) -> ManifestFormat {
    match format {
        Format::Tree => ManifestFormat::Tree,
        Format::Yaml => ManifestFormat::Yaml,
        Format::Json => ManifestFormat::Json,
        Format::Dot => ManifestFormat::Dot,
        Format::Mermaid => ManifestFormat::Mermaid,
    }
}

/// The branches of a tree where there are no box-drawing characters.
fn ascii(tree: &str) -> String {
    tree.chars()
        .map(|c| match c {
            '├' | '│' => '|',
            '└' => '`',
            '─' => '-',
            other => other,
        })
        .collect()
}
