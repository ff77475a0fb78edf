//! What packages ask when they are installed, answered beforehand: nobody is there to answer then. grub-pc stops dpkg where
//! it does not know its disk, which no cloud image tells it, and postfix takes the machine for a mail server of the world.
//!
//! What somebody has answered already stays: a machine's own disks, another kind of mail server.

use crate::config::command::Command;
use crate::config::resources::dpkg::Packages as Installed;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

const GRUB: &str = "grub-pc";
const POSTFIX: &str = "postfix";
/// grub-pc's question: which disks hold the boot loader that a BIOS starts.
const DISKS: &str = "grub-pc/install_devices";

/// The answers, as debconf-set-selections(1) takes them. `name` is the machine's, with its domain if it has one.
pub(super) async fn answers(target: &Target, name: &str) -> Result<Vec<String>, Trouble> {
    let mut answers = Vec::new();
    let told = target.run(Command::new("debconf-show").args([GRUB])).await?.stdout;
    if !answered(&told).is_some_and(|disks| disks.iter().all(|disk| target.has(disk))) {
        let disks = disks(target).await?;
        if !disks.is_empty() {
            answers.push(format!("{GRUB} {DISKS} multiselect {}", disks.join(", ")));
        }
    }
    if !Installed::read(target)?.has(POSTFIX) {
        answers.push(format!("{POSTFIX} postfix/main_mailer_type select Local only"));
        answers.push(format!("{POSTFIX} postfix/mailname string {name}"));
    }
    Ok(answers)
}

/// The disks that grub-pc was told, by what debconf-show(1) says; none where it was told none.
fn answered(told: &str) -> Option<Vec<&str>> {
    let value =
        told.lines().find_map(|line| line.trim_start_matches(['*', ' ']).strip_prefix(DISKS)?.strip_prefix(':'));
    let disks: Vec<&str> = value?.split(',').map(str::trim).filter(|disk| !disk.is_empty()).collect();
    (!disks.is_empty()).then_some(disks)
}

/// The disks below what `/boot` lies on; none where it lies on none, as in a container.
async fn disks(target: &Target) -> Result<Vec<String>, Trouble> {
    let find = Command::new("findmnt").args(["--noheadings", "--output", "SOURCE", "--target", "/boot"]);
    let found = target.run(find).await?.stdout;
    // Of btrfs and of what is bound from elsewhere it tells the folder too: `/dev/sda1[/@]`.
    let source = found.lines().next().unwrap_or_default().split('[').next().unwrap_or_default().trim();
    if !source.starts_with("/dev/") {
        return Ok(Vec::new());
    }
    let list = ["--inverse", "--noheadings", "--paths", "--list", "--output", "NAME,TYPE", source];
    Ok(those_of_type_disk(&target.run(Command::new("lsblk").args(list)).await?.stdout))
}

fn those_of_type_disk(told: &str) -> Vec<String> {
    let mut disks: Vec<String> =
        told.lines().filter_map(|line| Some(line.trim().strip_suffix(" disk")?.trim().to_owned())).collect();
    disks.sort();
    disks.dedup();
    disks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disks_are_those_below_boot_however_it_lies_on_them() {
        assert_eq!(those_of_type_disk("/dev/sda1 part\n/dev/sda  disk\n"), ["/dev/sda"]);
        let raid =
            "/dev/mapper/vg-root lvm\n/dev/md0 raid1\n/dev/sda2 part\n/dev/sda disk\n/dev/sdb2 part\n/dev/sdb disk\n";
        assert_eq!(those_of_type_disk(raid), ["/dev/sda", "/dev/sdb"]);
        assert!(those_of_type_disk("/dev/loop0 loop\n").is_empty());
    }

    #[test]
    fn what_grub_was_told_is_known() {
        let told =
            "  grub-pc/hidden_timeout: false\n* grub-pc/install_devices: /dev/sda, /dev/sdb\n  grub-pc/timeout: 5\n";
        assert_eq!(answered(told), Some(vec!["/dev/sda", "/dev/sdb"]));
        assert_eq!(answered("  grub-pc/install_devices:\n  grub-pc/install_devices_empty: false\n"), None);
        assert_eq!(answered(""), None);
    }
}
