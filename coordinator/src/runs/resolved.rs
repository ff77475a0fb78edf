//! What a node was resolved to, for plans: everything that its order says of it, with what is secret masked.

use homestak_protocol::order::{CloudInit, Configuration};

use crate::documents::{FirstBootDocument, ResolvedDocument};
use crate::lower::ResolvedNode;

/// What stands in the place of a secret.
const MASK: &str = "[secret]";

/// A node's machine, first boot and configuration.
pub(super) fn document(node: &ResolvedNode) -> ResolvedDocument {
    let (machine, planned) = (&node.planned.machine, &node.planned);
    let mode = match &node.configuration {
        Configuration::Nothing => None,
        Configuration::Push(_) => Some("push".to_owned()),
        Configuration::Pull(_) => Some("pull".to_owned()),
    };
    ResolvedDocument {
        image: machine.image.as_ref().map(|image| image.as_str().to_owned()),
        cores: machine.cores,
        memory: machine.memory_mib,
        disk: machine.disk_gib,
        bridge: machine.bridge.clone(),
        spec: planned.spec.as_ref().map(|spec| spec.as_str().to_owned()),
        mode,
        token: MASK.into(),
        first_boot: first_boot(&node.cloud_init),
    }
}

fn first_boot(cloud_init: &CloudInit) -> FirstBootDocument {
    FirstBootDocument {
        user: cloud_init.user.clone(),
        ssh_keys: cloud_init.ssh_keys.iter().map(|key| masked(key)).collect(),
        root_password: cloud_init.root_password_hash.as_ref().map(|_| MASK.to_owned()),
        packages: cloud_init.packages.clone(),
        address: cloud_init.address.clone(),
        gateway: cloud_init.gateway.clone(),
        dns_servers: cloud_init.dns_servers.clone(),
        domain: cloud_init.domain.clone(),
    }
}

/// `ssh-ed25519 [secret] zora@tower`: enough to know which key it is.
fn masked(key: &str) -> String {
    let mut parts = key.splitn(3, ' ');
    let (kind, _, comment) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
    let kind =
        if kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-") { kind } else { "" };
    [kind, MASK, comment].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_key_its_kind_and_comment_are_shown() {
        assert_eq!(masked("ssh-ed25519 AAAA zora@tower east"), "ssh-ed25519 [secret] zora@tower east");
        assert_eq!(masked("ssh-rsa AAAA"), "ssh-rsa [secret]");
        assert_eq!(masked("AAAA"), "[secret]");
    }
}
