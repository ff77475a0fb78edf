//! What a run came to: its nodes, what went wrong, what still runs, and what to do next.

use homestak_coord::api::RunVerb;
use homestak_coord::documents::{NodeDocument, PlanDocument, RunDocument};

use super::command::{Commands, listed};
use super::style::{Style, Tone};
use super::{count, diagnostic, elapsed, nodes};

/// How many different first boots a plan tells of.
const MAX_BOOTS: usize = 4;

/// The result itself: for stdout.
pub(crate) fn lines(run: &RunDocument, columns: Option<usize>, style: Style) -> Vec<String> {
    let mut lines = vec![title(run, style)];
    if run.nodes.is_empty() {
        return lines;
    }
    lines.push(String::new());
    lines.extend(nodes::states(&run.nodes, columns, style));
    lines.push(String::new());
    lines.push(totals(run));
    if run.nodes.iter().any(|node| node.simulated) {
        lines.push("Machines, packages and services are simulated: nothing real was made.".to_owned());
    }
    if let Some(report) = &run.report {
        lines.push(format!("The report is {report}."));
    }
    lines
}

/// `apply n2-tiered on local: done in 1.84 s (run 3f9c21d04b7e)`.
fn title(run: &RunDocument, style: Style) -> String {
    let Some(id) = run.run else {
        return format!("{} {} on {}: nothing to do", run.verb.as_str(), run.manifest, run.host);
    };
    let cancelled = run.error.as_ref().is_some_and(|error| error.code == "E712");
    let (word, tone) = match (run.success, cancelled) {
        (true, _) => ("done", Tone::Good),
        (false, true) => ("cancelled", Tone::Warn),
        (false, false) => ("failed", Tone::Bad),
    };
    let title = format!("{} {} on {}:", run.verb.as_str(), run.manifest, run.host);
    let time = elapsed::seconds(run.duration_seconds);
    format!("{} {} in {time}, run {id}", style.paint(Tone::Strong, title), style.paint(tone, word))
}

/// `2 nodes: 2 completed (1 created, 1 unchanged)`.
fn totals(run: &RunDocument) -> String {
    let nodes = &run.nodes;
    let statuses = count::statuses(nodes.iter().map(|node| node.status));
    let actions = count::actions(nodes.iter().map(|node| node.action));
    let told = actions.is_empty() || run.verb == RunVerb::Destroy;
    let actions = if told { String::new() } else { format!(" ({actions})") };
    format!("{}: {statuses}{actions}", count::of(nodes.len(), "node"))
}

/// What went wrong, node by node: for stderr.
pub(crate) fn problems(run: &RunDocument, commands: &Commands, columns: usize, style: Style) -> Vec<String> {
    let logs = run.run.map(|id| format!("`{}` says what happened", commands.line(&["logs", &id.to_string()])));
    let of_nodes = run.nodes.iter().filter_map(|node| {
        let mut error = node.error.clone()?;
        // Skipped and cancelled nodes are told of by the table; their cause is another node's error.
        let own = !matches!(error.code.as_str(), "E712" | "E713");
        error.node.get_or_insert_with(|| node.path.clone());
        error.hint = error.hint.or_else(|| logs.clone());
        own.then_some(error)
    });
    let mut seen = Vec::new();
    for error in of_nodes.chain(run.error.clone().filter(|_| !run.success)) {
        if !seen.contains(&error) {
            seen.push(error);
        }
    }
    let told = seen.iter().flat_map(|error| diagnostic::error(error, columns, style));
    seen.first().map(|_| String::new()).into_iter().chain(told).collect()
}

/// What still runs, and the commands that look after it: for stderr.
pub(crate) fn next(run: &RunDocument, commands: &Commands, columns: usize, style: Style) -> Vec<String> {
    let exists = |node: &&NodeDocument| {
        let made =
            node.vm_id.is_some() || node.ip.is_some() || node.status == homestak_protocol::event::Status::Completed;
        made && !node.status.is_gone() && node.destroyed != Some(true)
    };
    let machines = run.nodes.iter().filter(exists).count();
    let mut proposed = Vec::new();
    let mut lines = Vec::new();
    if machines > 0 {
        let what = count::of(machines, "machine");
        lines.push(format!("Still running: {what} of {} on {}, and the daemon.", run.manifest, run.host));
        proposed.push((commands.on_tree("status", &run.manifest, &run.host), "how they stand"));
        if !run.success && run.verb != RunVerb::Destroy {
            proposed.push((commands.on_tree("apply", &run.manifest, &run.host), "go on from here"));
        }
        proposed.push((commands.on_tree("destroy", &run.manifest, &run.host), "take them down"));
    }
    if let (false, Some(id)) = (run.success, run.run) {
        proposed.push((commands.line(&["logs", &id.to_string()]), "what happened"));
    }
    if !lines.is_empty() || !proposed.is_empty() {
        lines.extend(listed(&proposed, columns));
        lines.insert(0, String::new());
    }
    lines.iter().map(|line| style.paint(Tone::Dim, line)).collect()
}

/// What a verb would do: for stdout.
pub(crate) fn plan(plan: &PlanDocument, columns: Option<usize>, style: Style) -> Vec<String> {
    let title = format!("{} {} on {}", plan.plans.as_str(), plan.manifest, plan.host);
    let title = style.paint(Tone::Strong, title);
    if plan.nodes.is_empty() {
        return vec![format!("{title} would do nothing: nothing is recorded.")];
    }
    let mut lines = vec![format!("{title} would do this:"), String::new()];
    lines.extend(nodes::plan(&plan.nodes, columns, style));
    lines.push(String::new());
    let actions = count::actions(plan.nodes.iter().map(|node| node.action));
    let changes = match plan.changes {
        0 => "Nothing would change".to_owned(),
        _ => format!("{} would change", count::of(usize::try_from(plan.changes).unwrap_or(usize::MAX), "node")),
    };
    lines.push(format!("{changes}: {actions}."));
    if plan.nodes.iter().any(|node| node.simulated) {
        lines.push("Machines, packages and services of this host are simulated.".to_owned());
    }
    lines.extend(first_boots(plan));
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    lines
}

/// What first boots are told, where it is the same for all machines of one kind of network; `--json` has it for each.
fn first_boots(plan: &PlanDocument) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for boot in plan.nodes.iter().filter_map(|node| node.resolved.as_ref()).map(|resolved| &resolved.first_boot) {
        let user = boot.user.as_deref().unwrap_or("root");
        let keys = count::of(boot.ssh_keys.len(), "SSH key");
        let root = if boot.root_password.is_some() { "root's password set" } else { "no password for root" };
        let network = match (&boot.address, &boot.gateway) {
            (Some(address), Some(gateway)) => format!("address {address} by {gateway}"),
            (Some(address), None) => format!("address {address}"),
            (None, _) => "address by DHCP".to_owned(),
        };
        let packages = if boot.packages.is_empty() { "no packages".into() } else { boot.packages.join(" ") };
        let line = format!("First boot: user {user} with {keys}, {root}, {network}; {packages}");
        if !told.contains(&line) {
            told.push(line);
        }
    }
    let more = told.len().saturating_sub(MAX_BOOTS);
    told.truncate(MAX_BOOTS);
    if more > 0 {
        told.push(format!("First boot: {more} more that differ; --json has them all"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::sample;
    use homestak_protocol::event::{Action, Status};
    use insta::assert_snapshot;

    const ROOT: &str = "local/n2-tiered/root-pve";
    const EDGE: &str = "local/n2-tiered/root-pve/edge";

    fn whole(run: &RunDocument, columns: usize) -> String {
        let style = Style { colour: false, unicode: true };
        let parts = [
            lines(run, Some(columns), style),
            problems(run, &Commands::default(), columns, style),
            next(run, &Commands::default(), columns, style),
        ];
        parts.concat().join("\n")
    }

    #[test]
    fn a_tree_that_stands_is_told_with_what_ends_it() {
        let nodes = vec![sample::completed(ROOT, 99011), sample::completed(EDGE, 99012)];
        let run = sample::document(RunVerb::Apply, nodes);
        assert_snapshot!("done_80", whole(&run, 80));
        assert_snapshot!("done_40", whole(&run, 40));
    }

    #[test]
    fn a_failure_is_told_with_its_cause_and_what_exists() {
        let skipped = NodeDocument { status: Status::Skipped, ..sample::node(&format!("{EDGE}2")) };
        let nodes = vec![sample::completed(ROOT, 99011), sample::failed(EDGE), skipped];
        assert_snapshot!(whole(&sample::document(RunVerb::Apply, nodes), 80));
    }

    #[test]
    fn nothing_is_said_to_run_when_nothing_does() {
        let gone = |path: &str| NodeDocument {
            status: Status::Destroyed,
            action: Action::Destroyed,
            ..sample::completed(path, 99011)
        };
        let run = sample::document(RunVerb::Destroy, vec![gone(ROOT), gone(EDGE)]);
        assert_snapshot!(whole(&run, 80));
        let nothing = RunDocument { run: None, nodes: Vec::new(), ..run };
        assert_snapshot!(whole(&nothing, 80), @"destroy n2-tiered on local: nothing to do");
    }

    #[test]
    fn a_plan_says_what_would_change_and_what_is_not_known_yet() {
        let created = |path: &str, known_after: Option<&str>| NodeDocument {
            action: Action::Created,
            known_after: known_after.map(Into::into),
            ..sample::node(path)
        };
        let document = PlanDocument {
            verb: "plan".into(),
            plans: RunVerb::Apply,
            manifest: "n2-tiered".into(),
            host: "local".into(),
            nodes: vec![created(ROOT, None), created(EDGE, Some(ROOT))],
            changes: 2,
            notes: vec!["edge: no spec given, base is used".into()],
            error: None,
        };
        assert_snapshot!(plan(&document, Some(80), Style { colour: false, unicode: true }).join("\n"));
    }
}
