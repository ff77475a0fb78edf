//! Reading, checking and planning manifests of 1,000 and 10,000 nodes. The budget is 250 ms for 10,000, growing linearly.
#![expect(clippy::expect_used, reason = "a bench whose input is not sound has nothing to measure")]

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use homestak_manifests::{Graph, parse};

fn main() {
    divan::main();
}

const NODES: [usize; 2] = [1_000, 10_000];

/// Every key used, as somebody would write it: hosts of 20 nodes each, five levels deep, or all nodes on the host itself.
fn manifest(nodes: usize, bushy: bool) -> String {
    let mut text = String::from("# A large one.\nschema_version: 2\nname: large\npattern: tiered\n\nnodes:\n");
    for i in 0..nodes {
        let _ = write!(
            text,
            "  - name: node-{i}\n    type: pve\n    spec: pve\n    preset: vm-large\n    image: debian-13-pve\n    vmid: {}\n    disk: 64\n",
            10_000 + i
        );
        if bushy && i > 0 {
            let _ = writeln!(text, "    parent: node-{}", (i - 1) / 20);
        }
        text.push_str("    execution:\n      mode: push\n\n");
    }
    text
}

fn plan(text: &str) -> usize {
    let parsed = parse("large.yaml", text, None).expect("sound");
    let graph = Graph::new(&parsed.manifest).expect("sound");
    graph.create_order().map(|member| member.depth()).sum()
}

#[divan::bench(args = NODES)]
fn flat(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.with_inputs(|| manifest(nodes, false)).bench_refs(|text| plan(black_box(text)));
}

#[divan::bench(args = NODES)]
fn bushy(bencher: Bencher<'_, '_>, nodes: usize) {
    bencher.with_inputs(|| manifest(nodes, true)).bench_refs(|text| plan(black_box(text)));
}

/// The same as JSON, as it comes from another program.
#[divan::bench(args = NODES)]
fn bushy_json(bencher: Bencher<'_, '_>, nodes: usize) {
    let manifest = parse("large.yaml", &manifest(nodes, true), None).expect("sound").manifest;
    let text = homestak_manifests::draw::json(&manifest);
    bencher.bench(|| plan(black_box(&text)));
}
