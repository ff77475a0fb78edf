//! `preflight`: whether a host is ready to carry trees.

use homestak_coord::api::{Document, Request};
use homestak_coord::documents::{CheckStatus, PreflightDocument};

use super::Outcome;
use super::args::Preflight;
use super::context::{Context, beside_the_point};
use crate::show::style::{Style, Tone};

/// Asks the daemon, which knows what the host's agent has told.
pub(super) async fn run(context: &Context, given: &Preflight) -> Outcome {
    let (exit, document) = context.ask(&Request::Preflight { host: given.host.clone() }).await?;
    let Document::Preflight(preflight) = document else { return Err(beside_the_point()) };
    let printer = &context.printer;
    printer.document(&preflight);
    printer.data(&lines(&preflight, printer.out_style()));
    Ok(exit)
}

fn lines(preflight: &PreflightDocument, style: Style) -> Vec<String> {
    let width = preflight.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for check in &preflight.checks {
        let (mark, tone) = match check.status {
            CheckStatus::Passed => (style.pick("✓", "+"), Tone::Good),
            CheckStatus::Failed => (style.pick("✗", "x"), Tone::Bad),
            CheckStatus::Warning => ("!", Tone::Warn),
            CheckStatus::Skipped => (style.pick("·", "."), Tone::Dim),
        };
        lines.push(format!("{} {:width$}  {}", style.paint(tone, mark), check.name, check.seen));
        lines.extend(check.hint.as_ref().map(|hint| format!("  {:width$}  hint: {hint}", "")));
    }
    if !preflight.prepare.is_empty() {
        lines.push(format!("To let the agent of {} use the API, as root there:", preflight.host));
        lines.extend(preflight.prepare.iter().map(|line| format!("    {line}")));
    }
    let failed = preflight.checks.iter().filter(|check| check.status == CheckStatus::Failed).count();
    lines.push(match failed {
        0 => format!("{} is ready", preflight.host),
        n => format!("Pre-flight validation failed: {n} of {} checks", preflight.checks.len()),
    });
    lines
}
