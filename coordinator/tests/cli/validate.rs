//! `validate`: every problem at once, with its place; the same as JSON.

use insta::assert_snapshot;

use crate::program::Place;

const WRONG: &str = "\
schema_version: 2
name: shop
nodes:
  - name: root-pve
    type: pve
    preset: vm-medium
    image: debian-13-pve
    vmid: 99011
  - name: Web
    type: vm
    presett: vm-small
    image: debian-12
    parent: root
  - name: cart
    type: vm
    image: debian-12
    vmid: 99011
  - name: cart
    type: container
";

const GOOD: &str = "\
schema_version: 2
name: shop
nodes:
  - {name: root-pve, type: pve, image: debian-13-pve, execution: {mode: pull}}
  - {name: web, type: vm, image: debian-12, parent: root-pve}
";

#[test]
fn every_problem_is_shown_with_its_place_and_remedy() {
    let place = Place::new();
    place.file("shop.yaml", WRONG);
    let told = place.run(&["validate", "shop.yaml"]);
    assert_eq!(told.code, 3);
    assert_snapshot!("validate_wrong", told);
}

#[test]
fn several_are_checked_and_one_wrong_one_decides() {
    let place = Place::new();
    place.file("shop.yaml", WRONG);
    place.file("good.yaml", GOOD);
    let told = place.run(&["validate", "good.yaml", "shop.yaml", "n2-tiered", "nowhere.yaml", "n2-tired"]);
    assert_eq!(told.code, 3);
    assert_snapshot!("validate_several", told.stdout);
    let good = place.run(&["validate", "good.yaml", "n2-tiered"]);
    assert_eq!(good.code, 0);
    assert_snapshot!("validate_good", good);
}

#[test]
fn the_document_has_every_error_with_its_place() {
    let place = Place::new();
    place.file("shop.yaml", WRONG);
    let told = place.run(&["validate", "shop.yaml", "n2-tiered", "--json"]);
    assert_eq!(told.code, 3);
    let document = told.json();
    assert_eq!(document["valid"], false);
    let manifests = document["manifests"].as_array().unwrap();
    assert_eq!((&manifests[0]["valid"], &manifests[1]["valid"]), (&false.into(), &true.into()));
    assert_eq!(manifests[1]["name"], "n2-tiered");
    let errors = manifests[0]["errors"].as_array().unwrap();
    assert!(errors.len() >= 5, "{told}");
    for error in errors {
        for key in ["code", "message", "file"] {
            assert!(error[key].is_string(), "{key} of {error}");
        }
        assert!(error["line"].as_u64() > Some(0) && error["column"].as_u64() > Some(0), "{error}");
        assert!(error.as_object().unwrap().contains_key("hint"), "{error}");
    }
}

#[test]
fn the_older_spelling_and_text_on_the_command_line_are_understood() {
    let place = Place::new();
    place.file("good.yaml", GOOD);
    let inline = r#"{"schema_version":2,"name":"shop","nodes":[{"name":"web","type":"vm"}]}"#;
    let cases: [(&[&str], i32); 5] = [
        (&["manifest", "validate", "-M", "n2-tiered", "-H", "father"], 0),
        (&["manifest", "validate", "--manifest-file", "good.yaml", "--json-output"], 0),
        (&["validate", "--manifest-json", inline], 3),
        (&["validate", "./good.yaml"], 0),
        (&["validate", "good"], 3),
    ];
    for (words, code) in cases {
        assert_eq!(place.run(words).code, code, "{words:?}");
    }
}

#[test]
fn what_is_no_manifest_at_all_is_told_and_never_a_panic() {
    let place = Place::new();
    place.file("binary.yaml", [0xff, 0xfe, 0x00, 0x01]);
    place.file("empty.yaml", "");
    place.file("huge.yaml", vec![b'#'; 100 * 1024 * 1024]);
    place.file("deep.yaml", "[".repeat(10_000));
    for name in ["binary.yaml", "empty.yaml", "huge.yaml", "deep.yaml", "nowhere.yaml", "."] {
        let told = place.run(&["validate", "--manifest-file", name]);
        assert_eq!(told.code, 3, "{name}: {told}");
        assert!(told.stderr.starts_with("error[E") && told.stderr.contains("hint:"), "{name}: {told}");
        assert!(!told.stderr.contains("panicked"), "{name}: {told}");
        let json = place.run(&["validate", "--json", "--manifest-file", name]).json();
        assert_eq!((&json["valid"], json["manifests"][0]["errors"].as_array().unwrap().len()), (&false.into(), 1));
    }
}
