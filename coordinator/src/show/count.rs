//! Counting nodes by how they stand, in words.

use homestak_protocol::event::{Action, Status};

/// `1 node`, `2 nodes`.
pub(crate) fn of(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// `2 completed, 1 failed`: states in the order of their weight, those that do not occur left out.
pub(crate) fn statuses(statuses: impl Iterator<Item = Status> + Clone) -> String {
    const ORDER: [Status; 9] = [
        Status::Failed,
        Status::Unreachable,
        Status::Running,
        Status::Completed,
        Status::Pending,
        Status::Skipped,
        Status::Cancelled,
        Status::RolledBack,
        Status::Destroyed,
    ];
    let part = |wanted: &Status| {
        let count = statuses.clone().filter(|status| status == wanted).count();
        (count > 0).then(|| format!("{count} {wanted}"))
    };
    ORDER.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// `2 created, 1 unchanged`; nodes to which nothing was done are left out.
pub(crate) fn actions(actions: impl Iterator<Item = Action> + Clone) -> String {
    let part = |wanted: &Action| {
        let count = actions.clone().filter(|action| action == wanted).count();
        (count > 0 && *wanted != Action::None).then(|| format!("{count} {wanted}"))
    };
    Action::ALL.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_counted_once() {
        assert_eq!(of(1, "node"), "1 node");
        assert_eq!(of(0, "node"), "0 nodes");
        let one_of_each = statuses(Status::ALL.iter().copied());
        assert_eq!(one_of_each.matches("1 ").count(), Status::ALL.len());
        assert_eq!(actions([Action::Created, Action::None, Action::Created].into_iter()), "2 created");
    }
}
