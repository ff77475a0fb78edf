//! What is encrypted and decrypted here is what it was, whatever the tree.

use homestak_coord::site::secrets::{Creation, decrypt, encrypt, remove_plain};
use proptest::prelude::*;

use crate::stage::{folder, identity, recipient, shape};

/// A tree as YAML in flow style, in JSON's own notation so that its writer is not ours.
fn tree() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e6..1e6_f64).prop_map(|number| (number + 0.5).into()),
        "\\PC{0,20}".prop_map(Into::into),
        "(yes|no|on|~|null|true|0x1f|0640|1_000|1:30|ENC\\[AES256_GCM|# no comment|- item|a: b| |\n|\")"
            .prop_map(Into::into),
    ];
    let key = "[a-z_]{1,8}|[ -~]{1,12}";
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back_as_it_went(tree in tree(), rule in prop::sample::select(vec![
        "", "encrypted_regex: '^[a-m]'", "unencrypted_regex: '[aeiou]$'", "encrypted_suffix: e", "unencrypted_suffix: _",
    ]), only in any::<bool>()) {
        let text = serde_json::json!({ "other": tree }).to_string();
        let dir = folder("secrets.yaml", &text);
        let rules = format!("creation_rules:\n  - age: {}\n    mac_only_encrypted: {only}\n    {rule}\n", recipient());
        std::fs::write(dir.path().join(".sops.yaml"), rules).unwrap();
        let creation = Creation::of_folder(dir.path()).unwrap().unwrap();
        encrypt(dir.path(), &creation, "2024-05-01T12:00:00Z").unwrap();
        remove_plain(dir.path()).unwrap();
        let back = decrypt(dir.path(), &identity()).unwrap();
        prop_assert_eq!(shape(&back), shape(&text));
    }
}
