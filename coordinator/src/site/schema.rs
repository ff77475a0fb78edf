//! JSON Schemas (2020-12) of the files of a site, for editors. They agree with the readers in `model` and with the manifest's:
//! a test holds each of them against good files and bad ones. References to other files are what they cannot check.

/// A kind of file that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SchemaKind {
    /// `manifests/NAME.yaml`.
    Manifest,
    /// `specs/NAME.yaml`.
    Spec,
    /// `postures/NAME.yaml`.
    Posture,
    /// `presets/NAME.yaml`.
    Preset,
    /// `site.yaml`.
    Site,
    /// `nodes/NAME.yaml`.
    Node,
    /// `hosts/NAME.yaml`.
    Host,
}

/// The schema, as JSON.
pub const fn schema(kind: SchemaKind) -> &'static str {
    match kind {
        SchemaKind::Manifest => include_str!("schemas/manifest.schema.json"),
        SchemaKind::Spec => include_str!("schemas/spec.schema.json"),
        SchemaKind::Posture => include_str!("schemas/posture.schema.json"),
        SchemaKind::Preset => include_str!("schemas/preset.schema.json"),
        SchemaKind::Site => include_str!("schemas/site.schema.json"),
        SchemaKind::Node => include_str!("schemas/node.schema.json"),
        SchemaKind::Host => include_str!("schemas/host.schema.json"),
    }
}
