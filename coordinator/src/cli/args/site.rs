//! The commands about the site folder itself.

use clap::{Args, Subcommand, ValueEnum};
use homestak_protocol::path::NodePath;

/// Check the site folder, or print the JSON Schema of its files
#[derive(Debug, Subcommand)]
#[command(
    subcommand_required = true,
    after_long_help = "\
Examples:
  homestak-coord site check
  homestak-coord site schema spec > spec.schema.json
  homestak-coord site import-node father"
)]
pub(crate) enum Site {
    Check(Check),
    Schema(Schema),
    ImportNode(ImportNode),
}

/// Write nodes/NAME.yaml and the API token of a host that has joined, as its agent tells them
///
/// The token goes into the site's secrets file, below `api_tokens`; a file that is encrypted is encrypted again, for the same
/// recipients. What is there already and says something else is only replaced with --force.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord site import-node father
  homestak-coord site import-node father --force
  homestak-coord site import-node father/n2-tiered/root-pve --json")]
pub(crate) struct ImportNode {
    /// The host by its name, or a PVE node of a tree by its path, as `agents` shows it
    #[arg(value_name = "NAME")]
    pub(crate) node: NodePath,

    /// Replace what the site says of it already
    #[arg(long)]
    pub(crate) force: bool,
}

/// Say everything that is wrong with the site, in all of its files at once
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord site check
  homestak-coord site check --site ./site-config --json")]
pub(crate) struct Check {}

/// Print the JSON Schema (2020-12) of one kind of file, for editors
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  homestak-coord site schema manifest > manifest.schema.json
  homestak-coord site schema spec > spec.schema.json

An editor with a YAML language server takes it by a first line like
  # yaml-language-server: $schema=../spec.schema.json")]
pub(crate) struct Schema {
    /// The kind of file
    #[arg(value_name = "KIND", value_enum)]
    pub(crate) kind: SchemaKind,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaKind {
    /// manifests/NAME.yaml
    Manifest,
    /// specs/NAME.yaml
    Spec,
    /// postures/NAME.yaml
    Posture,
    /// presets/NAME.yaml
    Preset,
    /// site.yaml
    Site,
    /// nodes/NAME.yaml
    Node,
    /// hosts/NAME.yaml
    Host,
}
