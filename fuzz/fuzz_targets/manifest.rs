//! Random text as a manifest: read or refused with places in the text, in a time and memory that libFuzzer bounds. What is
//! read draws, orders and cuts without surprise, and says the same after it has been written and read again.
#![no_main]

use homestak_manifests::draw;
use homestak_manifests::{Graph, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = homestak_manifests::yaml::text("fuzz.yaml", data) else { return };
    let parsed = match parse("fuzz.yaml", text, None) {
        Ok(parsed) => parsed,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.is_error()), "refused without a reason");
            for problem in &problems {
                let _ = problem.to_string();
            }
            return;
        }
    };
    let manifest = parsed.manifest;
    let graph = Graph::new(&manifest).expect("a manifest that was taken is a tree");

    let created: Vec<_> = graph.create_order().map(|member| member.index()).collect();
    let mut destroyed: Vec<_> = graph.destroy_order().map(|member| member.index()).collect();
    assert_eq!(created.len(), manifest.nodes.len());
    for member in graph.create_order() {
        if let Some(parent) = member.parent() {
            let place = |index| created.iter().position(|at| *at == index);
            assert!(place(parent.index()) < place(member.index()), "a child before its parent");
        }
    }
    destroyed.reverse();
    assert_eq!(created, destroyed);

    draw::tree(&graph, draw::Lines::Unicode);
    draw::dot(&graph);
    draw::mermaid(&graph);
    for written in [draw::yaml(&manifest), draw::json(&manifest)] {
        let again = parse("written.yaml", &written, None).expect("what was written is read");
        assert_eq!(again.manifest, manifest);
    }
});
