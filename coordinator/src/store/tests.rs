//! What the store promises, on a real file.

use homestak_node::core::record::{Record as CoreRecord, TreeState};
use homestak_protocol::event::{Change, Entry, Event, Origin, Scope, Settled};
use homestak_protocol::ids::{Generation, Incarnation, JournalId, Position, RunId, Seq};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::order::Policy;
use homestak_protocol::path::{NodePath, TreeId};
use homestak_protocol::secret::Secret;

use super::*;
use crate::api::{ManifestSource, RunRequest, RunVerb};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("homestak-store-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.0.join("store.db"), SealKey::new(&[7; 32]).unwrap(), 42)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tree() -> TreeId {
    TreeId { site: SiteId::from_bits(42), host: HostName::local(), manifest: ManifestName::parse("n1").unwrap() }
}

fn event(path: &str, journal: u128, seq: u64, run: u64) -> Event {
    let path = NodePath::parse(path).unwrap();
    let scope = Scope { tree: tree(), run: RunId::from_bits(run), generation: Generation(1) };
    Event {
        origin: Origin { path: path.clone(), journal: JournalId::from_bits(journal) },
        seq: Seq(seq),
        at_ms: 1,
        scope,
        change: Change::Settled(Settled { path, word: None }),
    }
}

fn entry(position: u64, event: Event) -> CoreRecord {
    CoreRecord::Entry(Entry { position: Position(position), event })
}

fn run(id: u64) -> RunRow {
    RunRow {
        id: RunId::from_bits(id),
        verb: RunVerb::Apply,
        host: HostName::local(),
        manifest: ManifestName::parse("n1").unwrap(),
        state: RunState::Running,
        stage: Stage::Up,
        generation: Generation(1),
        given_up: None,
        request: RunRequest::new(ManifestSource::Name("n1".into()), HostName::local()),
        started_ms: id,
        ended_ms: None,
        error: None,
        verified: None,
        cleanup_on_failure: true,
        result: None,
    }
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_crash_and_nothing_of_it_twice() {
    let folder = Folder::new("reopen");
    let me = JournalId::from_bits(9);
    let state = TreeState {
        run: RunId::from_bits(1),
        generation: Generation(3),
        policy: Policy::default(),
        word: None,
        own: None,
        settled: false,
    };
    let store = folder.open().unwrap();
    let mut journal = store.journal();
    journal
        .append(&[
            CoreRecord::Journal(me),
            CoreRecord::Tree(tree(), state.clone()),
            entry(1, event("@", 9, 1, 1)),
            entry(2, event("local", 5, 1, 1)),
        ])
        .unwrap();
    // The same event again, as a repeated delivery would bring it, and the next.
    journal.append(&[entry(3, event("local", 5, 1, 1)), entry(4, event("local", 5, 2, 1))]).unwrap();
    // Nothing is closed in order: this is how a kill leaves it.
    std::mem::forget(store);

    let store = folder.open().unwrap();
    assert_eq!(store.site(), SiteId::from_bits(42));
    let image = store.journal().load().unwrap();
    assert_eq!(image.journal, Some(me));
    assert_eq!(image.trees[&tree()].state, Some(state));
    assert!(image.outbox.is_empty());
    assert_eq!((image.last_position, image.last_seq), (Position(4), Seq(1)));
    let events = store.events(RunId::from_bits(1), Position(0)).await.unwrap();
    let numbers: Vec<_> = events.iter().map(|(_, e)| (e.origin.path.to_string(), e.seq.0)).collect();
    assert_eq!(numbers, [("@".to_owned(), 1), ("local".to_owned(), 1), ("local".to_owned(), 2)]);
}

#[test]
fn a_peer_that_is_gone_takes_what_was_seen_of_it_along() {
    let folder = Folder::new("gone");
    let store = folder.open().unwrap();
    let mut journal = store.journal();
    let path = NodePath::parse("local").unwrap();
    let origin = |path: &str| Origin { path: NodePath::parse(path).unwrap(), journal: JournalId::from_bits(1) };
    journal
        .append(&[
            CoreRecord::Seen(path.clone(), JournalId::from_bits(1), Position(4)),
            CoreRecord::Mark(origin("local"), Seq(1)),
            CoreRecord::Mark(origin("local/n1/a"), Seq(2)),
            CoreRecord::Mark(origin("local2"), Seq(3)),
        ])
        .unwrap();
    journal.append(&[CoreRecord::PeerGone(path.clone()), CoreRecord::MarksGone(path)]).unwrap();
    let image = journal.load().unwrap();
    assert!(image.seen.is_empty());
    assert_eq!(image.marks.into_keys().collect::<Vec<_>>(), [origin("local2")]);
}

#[test]
fn a_token_is_not_in_the_file_and_another_key_cannot_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("sealed");
    let peer = homestak_node::core::record::PeerState {
        path: NodePath::parse("local").unwrap(),
        incarnation: Incarnation::from_bits(1),
        token: Secret::new("tell-nobody-of-this-token".into()),
        key: None,
        revoked: false,
    };
    // Held, as the last to close it takes files away.
    let store = folder.open().unwrap();
    store.journal().append(&[CoreRecord::Peer(peer)]).unwrap();
    for file in std::fs::read_dir(&folder.0).unwrap() {
        let file = file.unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(!bytes.windows(11).any(|part| part == b"tell-nobody"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    drop(store);
    let other = Store::open(&folder.0.join("store.db"), SealKey::new(&[8; 32]).unwrap(), 42).unwrap();
    assert!(other.journal().load().is_err());
    assert_eq!(folder.open().unwrap().journal().load().unwrap().peers.len(), 1);
}

#[test]
fn a_store_of_a_newer_program_or_another_one_is_refused_and_left_alone() {
    let folder = Folder::new("newer");
    folder.open().unwrap();
    let path = folder.0.join("store.db");
    let db = Connection::open(&path).unwrap();
    let newer = schema::SCHEMA + 1;
    db.pragma_update(None, "user_version", newer).unwrap();
    let refused = folder.open().err().unwrap();
    assert!(
        matches!(refused, StoreError::Newer { found, known, .. } if found == newer && known == schema::SCHEMA),
        "{refused}"
    );
    let version: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, newer);

    let foreign = Folder::new("foreign");
    let db = Connection::open(foreign.0.join("store.db")).unwrap();
    db.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(foreign.open(), Err(StoreError::Damaged { .. })));
    let garbage = Folder::new("garbage");
    std::fs::write(garbage.0.join("store.db"), [b'x'; 8192]).unwrap();
    let refused = garbage.open().err().unwrap();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

#[tokio::test]
async fn a_full_disk_is_told_as_one_and_what_was_there_stays() {
    let folder = Folder::new("full");
    let store = folder.open().unwrap();
    store.begin(run(1), None).await.unwrap();
    let pages: u32 =
        store.reader.call(|db| Ok(db.pragma_query_value(None, "page_count", |row| row.get(0))?)).await.unwrap();
    store.writer.call(move |db| Ok(db.pragma_update(None, "max_page_count", pages)?)).await.unwrap();
    let mut big = run(2);
    big.request.manifest = ManifestSource::Text { file: "f".into(), text: "x".repeat(1 << 20) };
    let refused = store.begin(big, None).await.err().unwrap();
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert_eq!(refused.fault().code.as_str(), "E720");
    assert_eq!(store.runs(RunFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn old_runs_make_room_with_their_events_and_those_in_progress_stay() {
    let folder = Folder::new("room");
    let store = folder.open().unwrap();
    let mut journal = store.journal();
    for id in 1..=6 {
        store.begin(run(id), None).await.unwrap();
        journal.append(&[entry(id, event("local", 5, id, id))]).unwrap();
        if id != 1 {
            store.update(RunRow { state: RunState::Succeeded, ..run(id) }).await.unwrap();
        }
    }
    store.writer.transact(|tx| runs::make_room(tx, 3, 100)).await.unwrap();
    let kept: Vec<_> = store.runs(RunFilter::default()).await.unwrap().iter().map(|r| r.started_ms).collect();
    assert_eq!(kept, [6, 5, 4, 1]);
    assert!(store.events(RunId::from_bits(2), Position(0)).await.unwrap().is_empty());
    assert_eq!(store.events(RunId::from_bits(1), Position(0)).await.unwrap().len(), 1);
    // Too many events: those of the oldest that are over go first, those of the latest never.
    store.writer.transact(|tx| runs::make_room(tx, 3, 1)).await.unwrap();
    let left = |id| store.events(RunId::from_bits(id), Position(0));
    assert!(left(4).await.unwrap().is_empty() && left(5).await.unwrap().is_empty());
    assert_eq!((left(1).await.unwrap().len(), left(6).await.unwrap().len()), (1, 1));
    // The numbers go on where they were.
    assert_eq!(store.journal().load().unwrap().last_position, Position(6));
}

#[tokio::test]
async fn a_copy_taken_while_it_is_written_to_is_whole() {
    let folder = Folder::new("copy");
    let store = folder.open().unwrap();
    store.begin(run(1), None).await.unwrap();
    let file = folder.0.join("copy.db");
    let (copied, written) = tokio::join!(store.copy(file.clone()), store.begin(run(2), None));
    copied.and(written).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap()) & 0o777, 0o600);
    let copy = Store::open(&file, SealKey::new(&[7; 32]).unwrap(), 43).unwrap();
    assert_eq!(copy.site(), store.site());
    assert!(copy.run(RunId::from_bits(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_run_that_was_taken_back_leaves_its_tree_as_it_was() {
    let folder = Folder::new("back");
    let store = folder.open().unwrap();
    let row = |file: &str| TreeRow {
        host: HostName::local(),
        manifest: ManifestName::parse("n1").unwrap(),
        file: Some(file.into()),
        nodes: Vec::new(),
    };
    store.begin(run(1), Some(row("first"))).await.unwrap();
    store.begin(run(2), Some(row("second"))).await.unwrap();
    let (host, manifest) = (HostName::local(), ManifestName::parse("n1").unwrap());
    store.take_back(RunId::from_bits(2), host.clone(), manifest.clone(), Some(row("first"))).await.unwrap();
    assert_eq!(store.tree(host.clone(), manifest.clone()).await.unwrap(), Some(row("first")));
    assert!(store.run(RunId::from_bits(2)).await.unwrap().is_none());
    store.take_back(RunId::from_bits(1), host.clone(), manifest.clone(), None).await.unwrap();
    assert!(store.trees().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_store_of_the_first_schema_gets_its_ledger_and_what_is_in_it_stays() {
    let folder = Folder::new("ledger");
    drop(folder.open().unwrap());
    let db = Connection::open(folder.0.join("store.db")).unwrap();
    db.execute_batch("DROP TABLE tokens; DROP TABLE revocations; DROP TABLE drifts; PRAGMA user_version = 1;").unwrap();
    drop(db);
    let shown = |spent| Shown { id: "00".into(), node: "edge".into(), path: None, spent };
    let store = folder.open().unwrap();
    store.put_shown(shown(true), 1).await.unwrap();
    store.put_shown(shown(false), 2).await.unwrap();
    store.revoke_tokens("edge".into(), 7).await.unwrap();
    store.revoke_tokens("edge".into(), 5).await.unwrap();
    drop(store);
    let store = folder.open().unwrap();
    assert_eq!(store.shown().await.unwrap(), [shown(true)], "what is used up stays so");
    assert_eq!(store.revocations().await.unwrap(), [("edge".to_owned(), 7)]);
}
