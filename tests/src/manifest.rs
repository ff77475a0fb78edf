//! Manifests that tests write themselves.

use std::fmt::Write as _;

/// A manifest in the making.
#[derive(Debug)]
pub struct Manifest {
    text: String,
    vmid: u32,
}

impl Manifest {
    /// With no nodes yet. Their ids count up from `vmid`.
    pub fn new(name: &str, vmid: u32) -> Self {
        Self { text: format!("schema_version: 2\nname: {name}\npattern: tiered\nnodes:\n"), vmid }
    }

    /// Adds a host.
    #[must_use]
    pub fn host(self, name: &str, parent: Option<&str>) -> Self {
        self.node(name, "pve", parent)
    }

    /// Adds a virtual machine.
    #[must_use]
    pub fn vm(self, name: &str, parent: Option<&str>) -> Self {
        self.node(name, "vm", parent)
    }

    /// Adds a container.
    #[must_use]
    pub fn ct(self, name: &str, parent: Option<&str>) -> Self {
        self.node(name, "ct", parent)
    }

    fn node(mut self, name: &str, kind: &str, parent: Option<&str>) -> Self {
        let (spec, preset, image) = match kind {
            "pve" => ("pve", "vm-medium", "debian-13-pve"),
            _ => ("base", "vm-xsmall", "debian-12"),
        };
        let vmid = self.vmid;
        self.vmid += 1;
        let node =
            format!("  - {{name: {name}, type: {kind}, spec: {spec}, preset: {preset}, image: {image}, vmid: {vmid}");
        self.text.push_str(&node);
        if let Some(parent) = parent {
            write!(self.text, ", parent: {parent}").expect("a text takes text");
        }
        self.text.push_str("}\n");
        self
    }

    /// Three levels and twenty nodes: two hosts, on each a host and two machines, in each of those five machines, and two
    /// machines beside.
    pub fn twenty(name: &str) -> Self {
        let mut manifest = Self::new(name, 5000);
        for side in ["left", "right"] {
            let inner = format!("{side}-inner");
            manifest = manifest.host(side, None).host(&inner, Some(side));
            manifest = manifest.vm(&format!("{side}-a"), Some(side)).ct(&format!("{side}-b"), Some(side));
            for n in 1..=5 {
                manifest = manifest.vm(&format!("{side}-leaf-{n}"), Some(&inner));
            }
        }
        manifest.vm("alone", None).ct("boxed", None)
    }

    /// As YAML.
    pub fn text(&self) -> &str {
        &self.text
    }
}
