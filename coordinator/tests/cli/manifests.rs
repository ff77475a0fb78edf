//! `manifests`: the catalogue, drawn and in forms that can be read again.

use insta::assert_snapshot;

use crate::program::Place;

#[test]
fn the_catalogue_is_listed_and_drawn() {
    let place = Place::new();
    assert_snapshot!("manifests_list", place.run(&["manifests", "list"]));
    for format in ["tree", "yaml", "json", "dot", "mermaid"] {
        let told = place.run(&["manifests", "show", "n2-tiered", "--format", format]);
        assert_snapshot!(format!("manifests_show_{format}"), told);
    }
}

#[test]
fn every_manifest_of_the_catalogue_is_valid_and_survives_being_written_down() {
    let place = Place::new();
    let list = place.run(&["manifests", "list", "--json"]).json();
    let names: Vec<&str> = list["manifests"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["flat-3", "n1-pull", "n1-push", "n2-mixed", "n2-push", "n2-tiered", "n3-deep"]);
    for name in names {
        assert_eq!(place.run(&["validate", name]).code, 0, "{name}");
        let shown = place.run(&["manifests", "show", name]).stdout;
        for format in ["yaml", "json"] {
            let file = format!("copy.{format}");
            place.file(&file, place.run(&["manifests", "show", name, "--format", format]).stdout);
            assert_eq!(place.run(&["manifests", "show", &file]).stdout, shown, "{name} as {format}");
        }
    }
}

#[test]
fn one_that_is_not_there_is_refused_with_those_that_are() {
    let place = Place::new();
    place.file("mine", "");
    assert_snapshot!("manifests_unknown", place.run(&["manifests", "show", "n2-tired"]));
    assert_snapshot!("manifests_file_by_name", place.run(&["manifests", "show", "mine"]));
    let told = place.run(&["manifests", "show", "n2-tired", "--json"]);
    assert_eq!((told.code, told.json()["error"]["code"].as_str()), (3, Some("E200")));
}
