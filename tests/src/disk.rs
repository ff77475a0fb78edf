//! Disks that are full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, for as long as this lives.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of so many MiB at a folder; none where nothing may be mounted.
    pub fn at(folder: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("a stage's folder can be written");
        let size = format!("size={mib}m,mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Self(folder.to_owned()))
    }

    /// Leaves no room.
    pub fn fill(&self) {
        let mut size = 1 << 20;
        let mut n = 0;
        while size >= 512 {
            n += 1;
            let written = fs::write(self.0.join(format!("ballast-{n}")), vec![0; size]);
            if written.is_err() {
                size /= 2;
            }
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        for file in fs::read_dir(&self.0).expect("it is mounted").flatten() {
            if file.file_name().to_string_lossy().starts_with("ballast") {
                fs::remove_file(file.path()).expect("it is ours");
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
