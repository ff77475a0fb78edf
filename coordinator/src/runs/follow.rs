//! Following a run: how its tree stands, then every change, then what it came to.

use std::collections::BTreeMap;
use std::time::Duration;

use homestak_node::runtime::Update;
use homestak_protocol::event::NodeView;
use homestak_protocol::fault::{Code, Fault};
use homestak_protocol::ids::RunId;
use homestak_protocol::path::TreeId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::begin::summary;
use super::{Engine, Reach, clock, outcome, refuse, waiting, watch};
use crate::api::{Answer, Document, Exit, LiveNode, Refusal, RunView};
use crate::documents::{NodeDocument, RunSummary};
use crate::store::{Record, RunRow, RunState};

/// How long changes are gathered before they are sent: unnoticed by people, and it keeps a tree of 10,000 nodes from being
/// looked at for each of its 100,000 events.
const GATHER: Duration = Duration::from_millis(40);

impl<R: Record, C: Reach> Engine<R, C> {
    /// Sends everything about a run until it is over or nobody listens; `notes` first.
    pub async fn follow(&self, run: RunId, notes: Vec<String>, sink: &mpsc::Sender<Answer>) -> Result<(), Refusal> {
        let mut updates = self.core().updates();
        let over = self.live().get(&run).map(|live| live.over.clone());
        let row = self.row(run).await?;
        let tree = self.tree_id(&row.host, &row.manifest);
        let mut shown = BTreeMap::new();
        if sink.send(Answer::Started(self.view(&row, &mut shown).await?)).await.is_err() {
            return Ok(());
        }
        for note in notes {
            let _ = sink.send(Answer::Note(note)).await;
        }
        let mut flush_at: Option<Instant> = None;
        if let Some(mut over) = over {
            loop {
                let flush = async {
                    match flush_at {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sink.closed() => return Ok(()),
                    // An error means that its task has ended with the process.
                    ended = async { over.wait_for(|over| *over).await.is_ok() } => {
                        if !ended {
                            return Err(ending());
                        }
                        break;
                    }
                    () = flush => {
                        flush_at = None;
                        self.send_changes(&row, &mut shown, sink).await?;
                    }
                    update = updates.recv() => {
                        if !self.heard(&tree, update, &mut flush_at, sink).await {
                            return Err(ending());
                        }
                    }
                }
            }
        }
        let row = self.row(run).await?;
        let Some(result) = row.result else { return Err(ending()) };
        for node in &result.nodes {
            if shown.get(&node.path) != Some(node) {
                let live = LiveNode::over(node.clone());
                let _ = sink.send(Answer::Node(Box::new(live))).await;
            }
        }
        let exit = if result.success { Exit::Done } else { Exit::Failed };
        let _ = sink.send(Answer::Done { exit, document: Box::new(Document::Run(*result)) }).await;
        Ok(())
    }

    /// A run in a list.
    pub async fn summary(&self, run: RunId) -> Result<RunSummary, Refusal> {
        Ok(summary(&self.row(run).await?))
    }

    async fn row(&self, run: RunId) -> Result<RunRow, Refusal> {
        let row = self.store().run(run).await.map_err(|error| refuse(&error.fault()))?;
        row.ok_or_else(|| watch::unknown(run))
    }

    /// False once there will be no more updates.
    async fn heard(
        &self,
        tree: &TreeId,
        update: Result<Update, RecvError>,
        flush_at: &mut Option<Instant>,
        sink: &mpsc::Sender<Answer>,
    ) -> bool {
        match update {
            Ok(Update::Event(event)) if event.scope.tree == *tree => {}
            Ok(Update::Progress(progress)) if progress.scope.tree == *tree => {
                let (path, phase, text) = (progress.path.clone(), progress.phase, progress.text.clone());
                let _ = sink.send(Answer::Progress { path, phase, text }).await;
                return true;
            }
            Ok(_) => return true,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return false,
        }
        flush_at.get_or_insert_with(|| Instant::now() + GATHER);
        true
    }

    async fn view(&self, row: &RunRow, shown: &mut BTreeMap<String, NodeDocument>) -> Result<RunView, Refusal> {
        let nodes: Vec<LiveNode> = match &row.result {
            Some(result) => result.nodes.iter().map(|node| LiveNode::over(node.clone())).collect(),
            None => self.now(row).await?.iter().map(|view| self.live_node(row, view)).collect(),
        };
        shown.extend(nodes.iter().map(|live| (live.node.path.clone(), live.node.clone())));
        let until = row.ended_ms.unwrap_or_else(clock::now_ms);
        Ok(RunView { summary: summary(row), elapsed_ms: until.saturating_sub(row.started_ms), nodes })
    }

    fn live_node(&self, row: &RunRow, view: &NodeView) -> LiveNode {
        let now = clock::now_ms();
        let until = view.ended_ms.unwrap_or(now);
        let elapsed_ms = view.started_ms.map(|start| until.saturating_sub(start));
        let waiting = self.0.words.of(&self.tree_id(&row.host, &row.manifest), view);
        let waited_ms = waiting.as_ref().and_then(|_| waiting::since(view)).map(|since| now.saturating_sub(since));
        // What is said next comes as progress, and is no other state.
        let text = waiting.and_then(|waiting| waiting.text);
        LiveNode { node: outcome::document(view), elapsed_ms, waited_ms, text }
    }

    async fn now(&self, row: &RunRow) -> Result<Vec<NodeView>, Refusal> {
        let tree = self.tree_id(&row.host, &row.manifest);
        let snapshot = self.core().tree(tree).await.map_err(|fault| refuse(&fault))?;
        match snapshot {
            Some(snapshot) => self.views(row, &snapshot).await.map_err(|fault| refuse(&fault)),
            None => Ok(Vec::new()),
        }
    }

    async fn send_changes(
        &self,
        row: &RunRow,
        shown: &mut BTreeMap<String, NodeDocument>,
        sink: &mpsc::Sender<Answer>,
    ) -> Result<(), Refusal> {
        // Once the run is over the tree may be dropped; then its result says the rest.
        if self.store().run(row.id).await.is_ok_and(|row| row.is_some_and(|row| row.state != RunState::Running)) {
            return Ok(());
        }
        for view in self.now(row).await? {
            let live = self.live_node(row, &view);
            if shown.get(&live.node.path) != Some(&live.node) {
                shown.insert(live.node.path.clone(), live.node.clone());
                if sink.send(Answer::Node(Box::new(live))).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn ending() -> Refusal {
    let fault = Fault::new(Code::Unreachable, "the daemon ends; the run goes on below, and with the next daemon")
        .hint("`homestak-coord runs` lists it");
    Refusal::new(Exit::Unreachable, &fault)
}
