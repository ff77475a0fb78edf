//! The commands about manifests that can be named.

use clap::{Args, Subcommand, ValueEnum};

/// List the manifests that can be named, or show one
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord manifests list
  homestak-coord manifests show n2-tiered"
)]
pub(crate) enum Manifests {
    List(List),
    Show(Show),
}

/// List the site's manifests and the built-in catalogue
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord manifests list
  homestak-coord manifests list --json")]
pub(crate) struct List {}

/// Show one manifest
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord manifests show n2-tiered
  homestak-coord manifests show n2-tiered --format yaml > my-tree.yaml
  homestak-coord manifests show my-tree.yaml --format dot | dot -Tsvg > my-tree.svg")]
pub(crate) struct Show {
    /// A name, or the path of a file
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// How to show it
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Tree)]
    pub(crate) format: Format,
}

/// A way to show a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A drawing for people
    Tree,
    /// The manifest, as YAML
    Yaml,
    /// The manifest, as JSON
    Json,
    /// For Graphviz
    Dot,
    /// For Mermaid
    Mermaid,
}
