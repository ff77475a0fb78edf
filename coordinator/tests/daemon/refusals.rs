//! What is refused for a file says everything that is wrong with it, whichever command met it.

use std::fs;

use crate::stage::Stage;

const WRONG: &str = "\
schema_version: 2
name: shop
nodes:
  - {name: Web, type: vm, presett: vm-small, image: debian-12}
  - {name: cart, type: container}
";

#[test]
fn every_verb_tells_all_errors_of_a_manifest_beside_the_first() {
    let stage = Stage::set();
    let file = stage.folder().join("shop.yaml");
    fs::write(&file, WRONG).unwrap();
    let file = file.to_str().unwrap();
    let due = stage.json(3, &["validate", file])["manifests"][0]["errors"].clone();
    assert!(due.as_array().unwrap().len() >= 3, "{due:#}");
    for words in [["apply", file], ["test", file], ["plan", file], ["destroy", file]] {
        let document = stage.json(3, &words);
        assert_eq!(document["errors"], due, "{words:?}");
        assert_eq!(document["error"]["code"], due[0]["code"], "{words:?}");
    }
    // A refusal that no file is to blame for is as it was.
    let bare = stage.json(3, &["apply", "no-such-manifest"]);
    assert!(bare["error"].is_object() && bare.get("errors").is_none(), "{bare:#}");
}
