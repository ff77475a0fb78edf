//! What runs promise, against a core that does as it is told.

mod fake;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use homestak_node::lifecycle::Lifecycle;
use homestak_protocol::event::{Action, Status};
use homestak_protocol::fault::Code;
use homestak_protocol::token::SigningKey;
use tokio::sync::mpsc;
use tokio::time::timeout;

use self::fake::{Fake, Script};
use super::*;
use crate::api::{Answer, Document, Exit, ManifestSource, Refusal, RunRequest, RunVerb};
use crate::documents::{RunDocument, StatusDocument};
use crate::settings::SiteChoice;
use crate::site::secrets::Keys;
use crate::store::{RunState, SealKey, Store};

/// The limit of everything that is waited for: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const TIERED: &str = "{schema_version: 2, name: m, nodes: [
    {name: root, type: pve, image: pve-9, vmid: 10001}, {name: edge, type: vm, image: debian-12, parent: root}]}";

struct World {
    engine: Engine<Store, Fake>,
    core: Fake,
    folder: PathBuf,
    life: Lifecycle,
    troubles: signal::Sender<Troubles>,
}

impl World {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("homestak-runs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self::over(folder, Fake::new())
    }

    fn over(folder: PathBuf, core: Fake) -> Self {
        let (troubles, troubled) = signal::channel(Troubles::new());
        let life = Lifecycle::new();
        let engine = Engine::new(Parts {
            store: Store::open(&folder.join("store.db"), SealKey::new(&[1; 32]).unwrap(), 7).unwrap(),
            core: core.clone(),
            site: Arc::new(Site::open(&SiteChoice::Demo, &Keys::default()).unwrap()),
            key: SigningKey::from_bytes([2; 32]),
            limits: LimitOverrides::parse("grace=1s").unwrap(),
            life: life.clone(),
            troubles: troubled,
        });
        Self { engine, core, folder, life, troubles }
    }

    /// The same daemon, killed and started again; the agents' side of the world stays.
    async fn restarted(mut self) -> Self {
        self.life.ending.cancel();
        self.life.tracker.close();
        self.life.tracker.wait().await;
        let again = Self::over(std::mem::take(&mut self.folder), self.core.clone());
        again.engine.resume().await.unwrap();
        again
    }

    fn tree(&self, manifest: &str) -> TreeId {
        self.engine.tree_id(&HostName::local(), &ManifestName::parse(manifest).unwrap())
    }

    async fn begin(&self, verb: RunVerb, request: RunRequest) -> Result<RunId, Refusal> {
        match self.engine.begin(verb, request).await? {
            Begun::Run { run, .. } => Ok(run),
            Begun::Nothing { note, .. } => panic!("there was something to do, not: {note}"),
        }
    }

    async fn run(&self, verb: RunVerb, request: RunRequest) -> RunDocument {
        let run = self.begin(verb, request).await.unwrap();
        self.end(run).await
    }

    async fn end(&self, run: RunId) -> RunDocument {
        let (sink, mut answers) = mpsc::channel(64);
        let engine = self.engine.clone();
        let following = tokio::spawn(async move { engine.follow(run, Vec::new(), &sink).await });
        let mut first = true;
        let end = async {
            while let Some(answer) = answers.recv().await {
                assert_eq!(std::mem::take(&mut first), matches!(answer, Answer::Started(_)));
                if let Answer::Done { exit, document } = answer {
                    let Document::Run(document) = *document else { panic!("{document:?}") };
                    assert_eq!(exit == Exit::Done, document.success);
                    return document;
                }
            }
            panic!("following ended without a document: {:?}", following.await);
        };
        timeout(PATIENCE, end).await.expect("the run comes to an end")
    }

    async fn status(&self) -> Vec<(String, String)> {
        let StatusDocument::Trees { trees } = self.engine.status(None, None).await.unwrap() else { panic!() };
        trees.into_iter().map(|tree| (tree.manifest, tree.state)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.life.ending.cancel();
        if self.folder.as_os_str().is_empty() {
            return;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn text(text: &str) -> RunRequest {
    let source = ManifestSource::Text { file: "/x/m.yaml".into(), text: text.into() };
    RunRequest::new(source, HostName::local())
}

fn named(name: &str) -> RunRequest {
    RunRequest::new(ManifestSource::Name(name.into()), HostName::local())
}

fn statuses(document: &RunDocument) -> Vec<(&str, Status, Action)> {
    document.nodes.iter().map(|node| (node.name.as_str(), node.status, node.action)).collect()
}

#[tokio::test]
async fn a_tree_is_applied_applied_again_and_destroyed_without_its_file() {
    let world = World::new("whole");
    let first = world.run(RunVerb::Apply, text(TIERED)).await;
    assert!(first.success && first.error.is_none());
    let made = (Status::Completed, Action::Created);
    assert_eq!(statuses(&first), [("root", made.0, made.1), ("edge", made.0, made.1)]);
    assert_eq!(first.nodes[1].parent.as_deref(), Some("root"));
    assert_eq!(first.context["edge_ip"], "127.1.0.1");
    assert!(first.context.contains_key("root_vm_id"));
    assert_eq!(world.status().await, [("m".to_owned(), "ready".to_owned())]);

    let second = world.run(RunVerb::Apply, text(TIERED)).await;
    assert!(second.nodes.iter().all(|node| node.action == Action::Unchanged));

    let gone = world.run(RunVerb::Destroy, named("m")).await;
    assert!(gone.success && gone.nodes.iter().all(|node| node.status == Status::Destroyed));
    assert!(world.status().await.is_empty());
    assert!(world.engine.is_idle().await.unwrap());
    assert_eq!(world.core.heard(), ["order local/m 1", "order local/m 2", "Destroy local/m 3"]);

    let Begun::Nothing { document, .. } = world.engine.begin(RunVerb::Destroy, named("m")).await.unwrap() else {
        panic!("there is nothing left to destroy")
    };
    assert!(document.success && document.run.is_none());
    assert!(world.core.heard().is_empty());
}

#[tokio::test]
async fn a_second_run_on_a_tree_is_refused_and_names_the_first() {
    let world = World::new("busy");
    world.core.script(Script::Hangs);
    let first = world.begin(RunVerb::Apply, text(TIERED)).await.unwrap();
    for verb in [RunVerb::Apply, RunVerb::Destroy, RunVerb::Test] {
        let refused = world.engine.begin(verb, text(TIERED)).await.unwrap_err();
        assert_eq!((refused.exit, refused.error.code.as_str()), (Exit::Configuration, "E716"));
        assert!(refused.error.message.contains(&first.to_string()));
        let hint = refused.error.hint.unwrap();
        assert!(hint.contains(&format!("logs {first} --follow")) && hint.contains(&format!("cancel {first}")));
    }
    // Another tree is nobody's business.
    world.core.script(Script::Works);
    assert!(world.run(RunVerb::Apply, named("flat-3")).await.success);
    world.core.settle(&world.tree("m"), Script::Works);
    assert!(world.end(first).await.success);
    assert!(world.run(RunVerb::Destroy, named("m")).await.success);
}

#[tokio::test]
async fn an_id_that_another_tree_has_on_the_host_is_refused_and_nothing_is_touched() {
    let world = World::new("conflict");
    world.run(RunVerb::Apply, named("n2-tiered")).await;
    world.core.heard();
    let request = "{schema_version: 2, name: other, nodes: [{name: edge, type: ct, vmid: 99011}]}";
    let refused = world.engine.begin(RunVerb::Apply, text(request)).await.unwrap_err();
    assert_eq!((refused.exit, refused.error.code.as_str()), (Exit::Configuration, "E703"));
    assert!(refused.error.message.contains("local/n2-tiered"), "{}", refused.error.message);
    assert!(world.core.heard().is_empty());
    assert_eq!(world.status().await.len(), 1);
    assert_eq!(world.engine.plan(RunVerb::Apply, &text(request)).await.unwrap_err().error.code, "E703");
    // The same id further in is another host's.
    let inner = "{schema_version: 2, name: other, nodes: [{name: p, type: pve, image: pve-9, vmid: 20000},
        {name: edge, type: ct, vmid: 99011, parent: p}]}";
    assert!(world.run(RunVerb::Apply, text(inner)).await.success);
}

#[tokio::test]
async fn a_test_reports_what_it_verified_and_leaves_nothing() {
    let world = World::new("test");
    let document = world.run(RunVerb::Test, text(TIERED)).await;
    assert!(document.success, "{:?}", document.error);
    for node in &document.nodes {
        assert_eq!((node.status, node.action, node.destroyed), (Status::Completed, Action::Created, Some(true)));
    }
    assert!(world.status().await.is_empty());
    assert_eq!(world.core.heard(), ["order local/m 1", "Destroy local/m 2"]);

    let kept = world.run(RunVerb::Test, RunRequest { keep: true, ..text(TIERED) }).await;
    assert!(kept.success && kept.nodes[0].destroyed.is_none());
    let refused = world.engine.begin(RunVerb::Test, text(TIERED)).await.unwrap_err();
    assert_eq!(refused.exit, Exit::Configuration);
    assert!(refused.error.message.contains("local/m/root exists already"));
}

#[tokio::test]
async fn a_test_that_failed_cleans_up_only_if_the_manifest_says_so() {
    let world = World::new("cleanup");
    world.core.script(Script::Fails("edge"));
    let hanging_on = format!("{}, settings: {{cleanup_on_failure: false}}}}", TIERED.trim_end_matches('}'));
    let kept = world.run(RunVerb::Test, text(&hanging_on)).await;
    assert!(!kept.success && kept.nodes[0].destroyed.is_none());
    assert_eq!(kept.error.as_ref().unwrap().node.as_deref(), Some("local/m/root/edge"));
    world.core.script(Script::Works);
    world.run(RunVerb::Destroy, named("m")).await;
    world.core.heard();

    world.core.script(Script::Hangs);
    let run = world.begin(RunVerb::Test, text(TIERED)).await.unwrap();
    // It fails going up, and works going down.
    world.core.script(Script::Works);
    world.core.settle(&world.tree("m"), Script::Fails("edge"));
    let cleaned = world.end(run).await;
    assert_eq!(world.core.heard(), ["order local/m 3", "Destroy local/m 4"]);
    assert_eq!(cleaned.error.as_ref().unwrap().code, "E701");
    assert_eq!(cleaned.nodes[1].status, Status::Failed);
    assert!(cleaned.nodes.iter().all(|node| node.destroyed == Some(true)));
    assert!(world.status().await.is_empty());
}

#[tokio::test]
async fn a_cancelled_run_says_so_and_a_destroy_is_not_cancelled_half_way() {
    let world = World::new("cancel");
    world.core.script(Script::Hangs);
    let run = world.begin(RunVerb::Apply, text(TIERED)).await.unwrap();
    let summary = world.engine.cancel(run).await.unwrap();
    assert_eq!(summary.run, run);
    let until = async {
        let mut heard = Vec::new();
        while !heard.iter().any(|word: &String| word == "Cancel local/m 1") {
            heard.extend(world.core.heard());
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until).await.expect("the core is told");
    world.core.settle(&world.tree("m"), Script::Works);
    let document = world.end(run).await;
    assert_eq!(document.error.as_ref().unwrap().code, "E712");
    assert!(document.nodes.iter().all(|node| node.status == Status::Cancelled));
    assert_eq!(world.engine.store().run(run).await.unwrap().unwrap().state, RunState::Cancelled);
    assert_eq!(world.engine.cancel(run).await.unwrap_err().exit, Exit::Failed);

    let destroy = world.begin(RunVerb::Destroy, named("m")).await.unwrap();
    assert_eq!(world.engine.cancel(destroy).await.unwrap_err().error.code, "E716");
    world.core.settle(&world.tree("m"), Script::Works);
    assert!(world.end(destroy).await.success);
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_cancelled_and_says_so() {
    let world = World::new("timeout");
    world.core.script(Script::Hangs);
    let run = world.begin(RunVerb::Apply, RunRequest { timeout_ms: Some(50), ..text(TIERED) }).await.unwrap();
    let until = async {
        while !world.core.heard().iter().any(|word| word.starts_with("Cancel")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until).await.expect("the core is told");
    world.core.settle(&world.tree("m"), Script::Works);
    assert_eq!(world.end(run).await.error.unwrap().code, "E710");
}

#[tokio::test]
async fn a_run_goes_on_after_a_restart_wherever_it_was() {
    // The core had it, and was done while nobody was there.
    let world = World::new("resume");
    world.core.script(Script::Hangs);
    let run = world.begin(RunVerb::Test, text(TIERED)).await.unwrap();
    world.core.script(Script::Works);
    let (core, tree) = (world.core.clone(), world.tree("m"));
    world.life.ending.cancel();
    world.life.tracker.close();
    world.life.tracker.wait().await;
    core.settle(&tree, Script::Works);
    let world = world.restarted().await;
    let document = world.end(run).await;
    assert!(document.success && document.nodes.iter().all(|node| node.destroyed == Some(true)));
    world.core.heard();

    // It was on record, and the core had not heard of it.
    let row = {
        let engine = &world.engine;
        let former = engine.store().run(run).await.unwrap().unwrap();
        crate::store::RunRow {
            id: RunId::from_bits(77),
            verb: RunVerb::Apply,
            state: RunState::Running,
            stage: crate::store::Stage::Up,
            generation: homestak_protocol::ids::Generation(9),
            ended_ms: None,
            error: None,
            result: None,
            request: text(TIERED),
            ..former
        }
    };
    world.engine.store().begin(row, None).await.unwrap();
    let world = world.restarted().await;
    assert!(world.end(RunId::from_bits(77)).await.success);
    assert_eq!(world.core.heard(), ["order local/m 9"]);
}

#[tokio::test]
async fn a_run_that_the_core_refuses_leaves_the_record_as_it_was() {
    let world = World::new("refused");
    world.core.script(Script::Refuses(Code::Behind));
    let refused = world.engine.begin(RunVerb::Apply, text(TIERED)).await.unwrap_err();
    assert_eq!((refused.exit, refused.error.code.as_str()), (Exit::Configuration, "E721"));
    assert!(world.status().await.is_empty());
    assert!(world.engine.runs(None, None, 10).await.unwrap().runs.is_empty());
}

#[tokio::test]
async fn a_host_that_is_not_there_is_said_to_be_unreachable() {
    let world = World::new("absent");
    let elsewhere = |host: &str| RunRequest { host: HostName::parse(host).unwrap(), ..text(TIERED) };
    let stranger = world.engine.begin(RunVerb::Apply, elsewhere("father")).await.unwrap_err();
    assert_eq!(stranger.exit, Exit::Unreachable);
    assert!(stranger.error.hint.unwrap().contains("agents join -H father"));
    world.core.host("local", false);
    let trouble = Fault::new(Code::Unreachable, "homestak-agent is not beside this program");
    world.troubles.send_replace(Troubles::from([(HostName::local(), trouble)]));
    let broken = world.engine.begin(RunVerb::Apply, text(TIERED)).await.unwrap_err();
    assert_eq!(broken.error.message, "homestak-agent is not beside this program");
    assert!(world.core.heard().is_empty());
}

#[tokio::test]
async fn a_node_that_is_no_longer_named_is_kept_as_an_orphan() {
    let world = World::new("orphan");
    world.run(RunVerb::Apply, text(TIERED)).await;
    let edited = TIERED.replace("name: edge", "name: other");
    let plan = world.engine.plan(RunVerb::Apply, &text(&edited)).await.unwrap();
    let planned: Vec<_> = plan.nodes.iter().map(|node| (node.name.as_str(), node.action)).collect();
    assert_eq!(planned, [("root", Action::Unchanged), ("other", Action::Created), ("edge", Action::Orphaned)]);
    assert_eq!(plan.changes, 1);
    let document = world.run(RunVerb::Apply, text(&edited)).await;
    assert!(document.success, "{:?}", document.error);
    assert_eq!(document.nodes[2].action, Action::Orphaned);
    // It stays known as one.
    let plan = world.engine.plan(RunVerb::Apply, &text(&edited)).await.unwrap();
    assert_eq!((plan.changes, plan.nodes[2].action), (0, Action::Orphaned));
    let plan = world.engine.plan(RunVerb::Destroy, &named("m")).await.unwrap();
    assert_eq!((plan.changes, plan.nodes.len()), (3, 3));
}

#[tokio::test]
async fn a_failure_names_the_node_and_keeps_what_exists() {
    let world = World::new("failure");
    world.core.script(Script::Fails("edge"));
    let document = world.run(RunVerb::Apply, text(TIERED)).await;
    assert!(!document.success);
    let error = document.error.unwrap();
    assert_eq!((error.code.as_str(), error.node.as_deref()), ("E701", Some("local/m/root/edge")));
    assert!(document.context.contains_key("root_vm_id"));
    assert_eq!(world.status().await, [("m".to_owned(), "incomplete".to_owned())]);
    // A destroy that leaves something is no success, and the tree stays on record.
    let left = world.run(RunVerb::Destroy, named("m")).await;
    assert_eq!(left.error.unwrap().code, "E709");
    assert_eq!(world.status().await.len(), 1);
}

#[tokio::test]
async fn what_a_host_has_is_on_record_after_it_was_adopted() {
    let world = World::new("adopt");
    world.run(RunVerb::Apply, text(TIERED)).await;
    world.engine.store().drop_tree(HostName::local(), ManifestName::parse("m").unwrap()).await.unwrap();
    assert!(world.status().await.is_empty());
    world.engine.adopt(&HostName::local()).await.unwrap();
    assert_eq!(world.status().await, [("m".to_owned(), "ready".to_owned())]);
    assert!(world.run(RunVerb::Destroy, named("m")).await.success);
}
