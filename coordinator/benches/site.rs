//! From the files of a large site to a subtree that is ready to be sent. The budget is 500 ms for 1,000 specs, 200 presets,
//! 100 hosts and a manifest of 10,000 nodes; memory grows with the number of nodes.
#![expect(clippy::expect_used, reason = "a bench whose input is not sound has nothing to measure")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use divan::{AllocProfiler, Bencher, black_box};
use homestak_coord::api::ManifestSource;
use homestak_coord::lower::{Chance, LimitOverrides, Ordering, order, resolve};
use homestak_coord::manifest;
use homestak_coord::settings::SiteChoice;
use homestak_coord::site::Site;
use homestak_coord::site::secrets::Keys;
use homestak_protocol::ids::{Generation, RunId, SiteId};
use homestak_protocol::name::HostName;
use homestak_protocol::order::Policy;
use homestak_protocol::path::TreeId;
use homestak_protocol::token::SigningKey;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const NODES: [usize; 3] = [2_500, 5_000, 10_000];

fn main() {
    divan::main();
}

/// A site with every kind of file, and a manifest in which hosts carry twenty nodes each.
fn write(folder: &Path, nodes: usize) {
    for kind in ["specs", "presets", "postures", "hosts", "nodes", "manifests"] {
        fs::create_dir(folder.join(kind)).expect("a folder");
    }
    let file = |path: String, text: String| fs::write(folder.join(path), text).expect("a file");
    file("site.yaml".into(), "defaults: {timezone: Etc/UTC, packages: [curl, jq, rsync], datastore: tank}\n".into());
    file("secrets.yaml".into(), "ssh_keys: {a@b: ssh-ed25519 AAAA a, c@d: ssh-ed25519 BBBB c}\n".into());
    file("postures/dev.yaml".into(), "ssh: {port: 22}\npackages: [strace]\n".into());
    for n in 0..1_000 {
        let text = format!(
            "schema_version: 1\naccess:\n  posture: dev\n  users:\n    - {{name: keeper, sudo: true, ssh_keys: [a@b]}}\n\
             platform:\n  packages: [htop, nginx, p{n}]\n  services: {{enable: [nginx]}}\n"
        );
        file(format!("specs/spec-{n}.yaml"), text);
    }
    for n in 0..200 {
        file(format!("presets/preset-{n}.yaml"), format!("cores: 2\nmemory: {}\ndisk: 20\n", 1024 + n));
    }
    for n in 0..100 {
        file(format!("hosts/host-{n}.yaml"), format!("ip: 192.0.2.{n}\naccess: {{ssh_user: root}}\n"));
        let text = format!("host: host-{n}\napi_endpoint: https://192.0.2.{n}:8006\nip: 192.0.2.{n}\n");
        file(format!("nodes/host-{n}.yaml"), text);
    }
    let mut text = String::from("schema_version: 2\nname: large\npattern: tiered\nnodes:\n");
    for n in 0..nodes {
        let (spec, preset) = (n % 1_000, n % 200);
        let _ = write!(text, "  - {{name: n{n}, type: pve, spec: spec-{spec}, preset: preset-{preset}, image: pve-9");
        let parent = if n == 0 { String::new() } else { format!(", parent: n{}", (n - 1) / 20) };
        let _ = writeln!(text, "{parent}}}");
    }
    file("manifests/large.yaml".into(), text);
}

fn lower(choice: &SiteChoice) -> usize {
    let site = Site::open(choice, &Keys::default()).expect("sound");
    let found = manifest::read(&site, &ManifestSource::Name("large".into()), None).expect("sound");
    let host = HostName::parse("host-7").expect("a name");
    let resolved = resolve(&site, &found.manifest, &host).expect("sound");
    let tree = TreeId { site: SiteId::from_bits(1), host, manifest: found.manifest.name.clone() };
    let with = Ordering {
        tree: &tree,
        run: RunId::from_bits(2),
        generation: Generation(1),
        policy: Policy::default(),
        limits: LimitOverrides::default(),
        timeout_buffer: 60,
        key: &SigningKey::from_bytes([1; 32]),
        now_s: 1_700_000_000,
        chance: &Chance::Kernel,
        plain: &Default::default(),
    };
    order(&with, resolved).expect("sound").nodes.len()
}

/// Everything, the reading of the files included.
#[divan::bench(args = NODES, sample_count = 10)]
fn files_to_subtree(bencher: Bencher<'_, '_>, nodes: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), nodes);
    let choice = SiteChoice::Folder(folder.path().to_owned());
    bencher.bench(|| lower(black_box(&choice)));
}

/// The folder alone, as it is looked at before every command.
#[divan::bench(sample_count = 20)]
fn look_again(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), 1);
    let choice = SiteChoice::Folder(folder.path().to_owned());
    let site = Site::open(&choice, &Keys::default()).expect("sound");
    bencher.bench(|| homestak_coord::site::has_changed(black_box(&site), &choice));
}
