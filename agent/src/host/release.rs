//! Which Debian this is, and which Proxmox VE.

use crate::config::resources::dpkg::Packages;
use crate::config::system::Target;
use crate::config::trouble::Trouble;

const OS_RELEASE: &str = "/etc/os-release";
/// The package whose version is Proxmox VE's.
const MANAGER: &str = "pve-manager";

/// A Debian that Proxmox VE is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debian {
    /// 12, for PVE 8.
    Bookworm,
    /// 13, for PVE 9.
    Trixie,
}

impl Debian {
    /// This machine's.
    pub(super) fn of(target: &Target) -> Result<Self, Trouble> {
        let text = target.read(OS_RELEASE)?.unwrap_or_default();
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        match field("VERSION_CODENAME").as_str() {
            "bookworm" => Ok(Debian::Bookworm),
            "trixie" => Ok(Debian::Trixie),
            _ => Err(Trouble::Refused {
                what: format!(
                    "Proxmox VE 8 is for Debian 12 and 9 for Debian 13, and this is {}",
                    field("PRETTY_NAME")
                ),
                hint: Some("name an image of Debian 12 or 13 for this node in the manifest, or one that brings PVE"),
            }),
        }
    }

    /// As repositories call it.
    pub(super) const fn codename(self) -> &'static str {
        match self {
            Debian::Bookworm => "bookworm",
            Debian::Trixie => "trixie",
        }
    }
}

/// The version of Proxmox VE that is installed, as dpkg has it: `8.4.1`; none where there is none.
pub(crate) fn pve_version(target: &Target) -> Result<Option<String>, Trouble> {
    let installed = Packages::read(target)?;
    Ok(installed.version(MANAGER).map(str::to_owned))
}

/// Major and minor number of a version.
pub(super) fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(['.', '-', '~', '+']).map(|part| part.parse::<u32>());
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        (Some(Ok(major)), _) => Some((major, 0)),
        _ => None,
    }
}

/// Those of the version that is installed.
pub(super) fn installed(target: &Target) -> Result<(u32, u32), Trouble> {
    let version = pve_version(target)?;
    version.as_deref().and_then(numbers).ok_or_else(|| Trouble::Refused {
        what: "Proxmox VE is not installed".to_owned(),
        hint: Some("look at what apt says of the package proxmox-ve on that machine"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_first_two_numbers() {
        assert_eq!(numbers("8.4.1"), Some((8, 4)));
        assert_eq!(numbers("9.0~11"), Some((9, 0)));
        assert_eq!(numbers("9"), Some((9, 0)));
        assert_eq!(numbers("sid"), None);
    }
}
