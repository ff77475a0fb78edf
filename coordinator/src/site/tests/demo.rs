//! What a site promises, on the demo site.

use homestak_protocol::name::NodeName;

use crate::site::secrets::Keys;
use crate::site::*;

#[test]
fn the_demo_site_is_whole() {
    let site = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    let content = &site.content;
    assert_eq!((content.presets.len(), content.postures.len(), content.specs.len()), (5, 4, 2));
    let node = NodeName::parse("n").unwrap();
    for name in site.specs() {
        site.spec(name, &node).unwrap();
    }
    assert!(site.preset(None).is_some() && site.warnings().is_empty());
}

#[test]
fn a_resolved_spec_has_the_nodes_name_and_the_whole_posture() {
    let site = Site::open(&SiteChoice::Demo, &Keys::default()).unwrap();
    let spec = site.spec(&SiteName::parse("pve").unwrap(), &NodeName::parse("root-pve").unwrap()).unwrap();
    let document: serde_json::Value = serde_json::from_str(&spec.document).unwrap();
    assert_eq!(document["identity"]["hostname"], "root-pve");
    assert_eq!(document["identity"]["domain"], "demo.example");
    assert_eq!(document["access"]["security"]["ssh"]["permit_root_login"], "yes");
    assert_eq!(document["access"]["security"]["packages"][1], "strace");
    assert_eq!(document["platform"]["services"]["disable"][0], "rpcbind");
    assert_eq!(document["config"]["pve"]["remove_subscription_nag"], true);
    assert_eq!(document["config"]["timezone"], "Etc/UTC");
}
