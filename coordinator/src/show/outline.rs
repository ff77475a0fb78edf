//! The shape of a tree: nodes in drawing order, each with the lines that lead to it.

use std::collections::HashMap;

use homestak_coord::documents::NodeDocument;

use super::style::Style;

/// Where one node is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its position among the nodes that were given.
    pub(crate) index: usize,
    /// For each level above it below the root, whether that branch goes on after it; the last one is its own.
    branches: Vec<bool>,
}

impl Place {
    /// The lines that lead to it.
    pub(crate) fn lead(&self, style: Style) -> String {
        let Some((own, above)) = self.branches.split_last() else { return String::new() };
        let mut lead = String::new();
        for goes_on in above {
            lead.push_str(if *goes_on { style.pick("│  ", "|  ") } else { "   " });
        }
        lead.push_str(if *own { style.pick("├─ ", "|- ") } else { style.pick("└─ ", "`- ") });
        lead
    }
}

/// Puts each node below the one that carries it, siblings in the order given. A node whose carrier is not among them stands
/// at the root.
pub(crate) fn places<'n>(nodes: impl IntoIterator<Item = &'n NodeDocument>) -> Vec<Place> {
    let paths: Vec<&str> = nodes.into_iter().map(|node| node.path.as_str()).collect();
    let by_path: HashMap<&str, usize> = paths.iter().enumerate().map(|(index, path)| (*path, index)).collect();
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        match path.rsplit_once('/').and_then(|(parent, _)| by_path.get(parent)) {
            Some(parent) => below.entry(*parent).or_default().push(index),
            None => roots.push(index),
        }
    }
    let mut places = Vec::with_capacity(paths.len());
    let mut ahead: Vec<Place> = roots.into_iter().rev().map(|index| Place { index, branches: Vec::new() }).collect();
    while let Some(place) = ahead.pop() {
        let children = below.remove(&place.index).unwrap_or_default();
        for (from_last, index) in children.into_iter().rev().enumerate() {
            let branches = place.branches.iter().copied().chain([from_last > 0]).collect();
            ahead.push(Place { index, branches });
        }
        places.push(place);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;

    #[test]
    fn nodes_stand_below_what_carries_them_in_the_order_given() {
        let nodes = sample::nodes(&["h/m/a", "h/m/b", "h/m/a/c", "h/m/a/d", "h/m/a/c/e", "h/m/b/f"]);
        let style = Style { colour: false, unicode: true };
        let drawn: Vec<String> =
            places(&nodes).iter().map(|place| format!("{}{}", place.lead(style), nodes[place.index].name)).collect();
        assert_eq!(drawn, ["a", "├─ c", "│  └─ e", "└─ d", "b", "└─ f"]);
    }

    #[test]
    fn every_node_is_drawn_once_even_without_its_carrier() {
        let nodes = sample::nodes(&["h/m/x/y", "h/m/x/y/z", "h/m/q"]);
        let mut seen: Vec<usize> = places(&nodes).iter().map(|place| place.index).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    }
}
