//! The built-in site: files in `demo/`, compiled in and read as any others.

use super::files::{File, Files, Kind};

macro_rules! files {
    ($($kind:ident $path:literal),* $(,)?) => {
        &[$((Kind::$kind, $path, include_str!(concat!("demo/", $path)))),*]
    };
}

const DEMO: &[(Kind, &str, &str)] = files![
    Site "site.yaml",
    Preset "presets/vm-xsmall.yaml",
    Preset "presets/vm-small.yaml",
    Preset "presets/vm-medium.yaml",
    Preset "presets/vm-large.yaml",
    Preset "presets/vm-xlarge.yaml",
    Posture "postures/dev.yaml",
    Posture "postures/local.yaml",
    Posture "postures/stage.yaml",
    Posture "postures/prod.yaml",
    Spec "specs/base.yaml",
    Spec "specs/pve.yaml",
];

/// Its files.
pub(super) fn files() -> Files {
    let file = |(kind, path, text): &(Kind, &str, &str)| {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.strip_suffix(".yaml").unwrap_or(name);
        File { kind: *kind, stem: stem.into(), path: format!("demo/{path}"), text: (*text).into() }
    };
    Files { files: DEMO.iter().map(file).collect(), problems: Vec::new() }
}
