//! The way that everything else departs from: enrol, join, be asked, answer, report, be acknowledged.

use homestak_protocol::event::{Change, Entry, Event, Origin, Scope, Settled};
use homestak_protocol::ids::{Generation, JournalId, Position, RunId, Seq, SiteId};
use homestak_protocol::message::{Reply, Report, Request};
use homestak_protocol::name::{HostName, ManifestName};
use homestak_protocol::path::TreeId;

use super::fake::{Kid, Parent, life, path};

pub(super) fn entry(position: u64) -> Entry {
    let tree = TreeId {
        site: SiteId::from_bits(1),
        host: HostName::parse("father").unwrap(),
        manifest: ManifestName::parse("m").unwrap(),
    };
    let event = Event {
        origin: Origin { path: path("father"), journal: JournalId::from_bits(1) },
        seq: Seq(position),
        at_ms: 0,
        scope: Scope { tree, run: RunId::from_bits(1), generation: Generation(1) },
        change: Change::Settled(Settled { path: path("father"), word: None }),
    };
    Entry { position: Position(position), event }
}

#[tokio::test]
async fn a_machine_enrols_joins_answers_and_reports() {
    let parent = Parent::start();
    parent.expect("token", "father", life(1));
    let mut kid = Kid::start(parent.options("token"));
    kid.connected().await;
    assert_eq!(parent.request("father", Request::Survey).await, Some(Reply::Surveyed(Vec::new())));
    assert!(kid.requests.lock().unwrap().contains("Survey"));
    kid.report(Report::Entries(vec![entry(1), entry(2)])).await;
    kid.acked.wait_for(|upto| *upto == Position(2)).await.unwrap();
    let reports = parent.until("a report", |memory| (!memory.reports.is_empty()).then(|| memory.reports.clone())).await;
    assert_eq!(reports, [(path("father"), Report::Entries(vec![entry(1), entry(2)]))]);
    kid.stop().await;
    let left = parent.until("its end", |memory| memory.left.pop()).await;
    assert_eq!((left.0, left.2.as_str()), (path("father"), "the agent is shutting down"));
    parent.stop().await;
}
