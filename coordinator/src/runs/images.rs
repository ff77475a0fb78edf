//! Where the image of each machine that is to be made would come from: its own host, one above it, or the site's URL, in
//! this order. Hosts are asked for as long as somebody waits for a plan; what could not be asked is not told.

use std::collections::BTreeMap;
use std::time::Duration;

use homestak_protocol::event::Action;
use homestak_protocol::message::Source;
use homestak_protocol::name::SiteName;
use homestak_protocol::order::NodeKind;
use homestak_protocol::path::{NodePath, TreeId};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::{Engine, Reach};
use crate::documents::ImageSourceDocument;
use crate::lower::{Comparison, Resolved, Sight};
use crate::store::Record;

/// How long a plan waits for hosts to look.
const LIMIT: Duration = Duration::from_secs(3);

/// What hosts have of images.
type Stock = BTreeMap<NodePath, BTreeMap<SiteName, Source>>;

impl<R: Record, C: Reach> Engine<R, C> {
    /// Where images come from, by node.
    pub(super) async fn image_sources(
        &self,
        tree: &TreeId,
        resolved: &Resolved,
        comparison: &Comparison,
        sight: &Sight,
    ) -> BTreeMap<NodePath, ImageSourceDocument> {
        let made = |path: &NodePath| {
            comparison.nodes.iter().any(|planned| planned.node.path == *path && planned.action == Action::Created)
        };
        let wanted: Vec<Wanted<'_>> = resolved
            .nodes
            .iter()
            .filter(|node| node.planned.kind != NodeKind::Ct && made(&node.planned.path))
            .filter_map(|node| {
                let image = node.planned.machine.image.as_ref()?;
                let url = node.extras.image.as_ref().map(|source| source.url.as_str());
                Some(Wanted { path: &node.planned.path, image, url })
            })
            .collect();
        let root = NodePath::host_root(&tree.host);
        let mut asked: BTreeMap<NodePath, Vec<SiteName>> = BTreeMap::new();
        for one in &wanted {
            for host in above(one.path).filter(|host| *host == root || sight.holds(host)) {
                let images = asked.entry(host).or_default();
                if !images.contains(one.image) {
                    images.push(one.image.clone());
                }
            }
        }
        let stock = self.stock_of(asked).await;
        let found = |one: &Wanted<'_>| Some((one.path.clone(), one.source(&stock, &root, sight)?));
        wanted.iter().filter_map(found).collect()
    }

    async fn stock_of(&self, asked: BTreeMap<NodePath, Vec<SiteName>>) -> Stock {
        let end = Instant::now() + LIMIT;
        let mut asking = JoinSet::new();
        for (at, images) in asked {
            let core = self.core().clone();
            asking.spawn(async move {
                let told = timeout_at(end, core.sources(at.clone(), images.clone())).await;
                Some((at, images.into_iter().zip(told.ok()?.ok()?).collect()))
            });
        }
        let mut stock = Stock::new();
        while let Some(told) = asking.join_next().await {
            stock.extend(told.ok().flatten());
        }
        stock
    }
}

/// An image that a machine needs.
struct Wanted<'a> {
    path: &'a NodePath,
    image: &'a SiteName,
    url: Option<&'a str>,
}

impl Wanted<'_> {
    /// Where it comes from, as far as hosts have told.
    fn source(&self, stock: &Stock, root: &NodePath, sight: &Sight) -> Option<ImageSourceDocument> {
        for host in above(self.path) {
            if host != *root && !sight.holds(&host) {
                // It does not exist yet, and will have what comes with it or from above.
                continue;
            }
            match stock.get(&host)?.get(self.image)? {
                Source::Simulated => return None,
                Source::Absent => {}
                Source::Volume(volume) => {
                    let own = self.path.parent().as_ref() == Some(&host);
                    let (host, volume) = (host.to_string(), volume.clone());
                    return Some(match own {
                        true => ImageSourceDocument::Volume { host, volume },
                        false => ImageSourceDocument::Parent { host, volume },
                    });
                }
            }
        }
        Some(match self.url {
            Some(url) => ImageSourceDocument::Url { url: url.to_owned() },
            None => ImageSourceDocument::Missing,
        })
    }
}

/// The hosts above a node, the nearest first.
fn above(path: &NodePath) -> impl Iterator<Item = NodePath> {
    std::iter::successors(path.parent(), NodePath::parent)
}

#[cfg(test)]
mod tests {
    use homestak_protocol::ids::Vmid;
    use homestak_protocol::message::Seen;

    use super::*;

    #[test]
    fn an_image_comes_from_the_nearest_that_has_it_then_from_the_url_then_from_nowhere() {
        let path = |text: &str| NodePath::parse(text).unwrap();
        let (root, inner, leaf) = (path("f"), path("f/m/inner"), path("f/m/inner/leaf"));
        let image = SiteName::parse("debian-12").unwrap();
        let mut sight = Sight::default();
        let there = Seen { path: inner.clone(), vmid: Vmid::new(100), running: true, known: true };
        sight.add(root.clone(), vec![there]);
        let stock = |at_root: Source, at_inner: Source| -> Stock {
            let one = |source| BTreeMap::from([(image.clone(), source)]);
            BTreeMap::from([(root.clone(), one(at_root)), (inner.clone(), one(at_inner))])
        };
        let volume = || Source::Volume("local:import/d.qcow2".into());
        let source = |url: Option<&str>, stock: &Stock, sight: &Sight| {
            Wanted { path: &leaf, image: &image, url }.source(stock, &root, sight)
        };
        let host = |place: &NodePath| place.to_string();
        let v = || "local:import/d.qcow2".to_owned();
        assert_eq!(
            source(None, &stock(volume(), volume()), &sight),
            Some(ImageSourceDocument::Volume { host: host(&inner), volume: v() })
        );
        let parent = Some(ImageSourceDocument::Parent { host: host(&root), volume: v() });
        assert_eq!(source(Some("https://a.example/i"), &stock(volume(), Source::Absent), &sight), parent);
        assert_eq!(
            source(None, &stock(volume(), volume()), &Sight::default()),
            parent,
            "what is not there has nothing"
        );
        let nowhere = stock(Source::Absent, Source::Absent);
        let url = Some(ImageSourceDocument::Url { url: "https://a.example/i".into() });
        assert_eq!(source(Some("https://a.example/i"), &nowhere, &sight), url);
        assert_eq!(source(None, &nowhere, &sight), Some(ImageSourceDocument::Missing));
        assert_eq!(source(None, &Stock::new(), &sight), None, "who could not be asked has told nothing");
    }
}
