//! A stand-in for `pct`, which is part of Proxmox VE: a container's root file system is a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::stage::Stage;

/// A stand-in for `pct` in front of the agent's PATH: a container's root is a folder.
pub fn pct_stand_in(stage: &Stage) -> String {
    let file = pct(stage.folder());
    let folder = file.parent().expect("a file lies in a folder").display();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

/// A stand-in for `pct`, in `pct` below a folder; the roots of containers are in `containers` there.
pub fn pct(below: &Path) -> PathBuf {
    let (folder, roots) = (below.join("pct"), below.join("containers"));
    fs::create_dir_all(&folder).expect("a stage's folder can be written");
    let script = format!(
        "#!/bin/sh\nset -e\nroot='{}'/$2\necho \"$@\" >> '{}'\nmkdir -p \"$root/etc\"\n[ $1 = mount ] && echo \"mounted CT $2 in '$root'\"\nexit 0\n",
        roots.display(),
        folder.join("log").display(),
    );
    let file = folder.join("pct");
    fs::write(&file, script).expect("a stage's folder can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
    file
}
