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

/// A stand-in for `pct`, in `pct` below a folder; the roots of containers are in `containers` there. A container is locked for
/// as long as it is mounted, as on PVE. Where `pct/forgotten` is, a mount does not outlive whoever mounted it, and its lock does.
pub fn pct(below: &Path) -> PathBuf {
    let (folder, roots) = (below.join("pct"), below.join("containers"));
    fs::create_dir_all(&folder).expect("a stage's folder can be written");
    let script = format!(
        r#"#!/bin/sh
root='{roots}'/$2
echo "$@" >> '{folder}/log'
no() {{ echo "$1" >&2; exit 255; }}
case $1 in
mount)
  [ ! -e "$root.locked" ] || no "CT is locked (mounted)"
  mkdir -p "$root/etc"
  : > "$root.locked"
  echo "mounted CT $2 in '$root'" ;;
unmount)
  [ -e "$root.locked" ] || no "CT is not locked"
  [ ! -e '{folder}/forgotten' ] || no "umount: $root: not mounted."
  rm "$root.locked" ;;
unlock) rm -f "$root.locked" ;;
esac
"#,
        roots = roots.display(),
        folder = folder.display(),
    );
    let file = folder.join("pct");
    fs::write(&file, script).expect("a stage's folder can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a file can be made a program");
    file
}
