//! Putting resources right one by one: what depends on one that has failed is skipped, the others have their turn.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use homestak_protocol::fault::{Code, Fault};
use serde::Serialize;

use super::resource::{Difference, Resource};
use super::system::Target;
use super::trouble::Trouble;

/// What is to be done about differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// They are told.
    Check,
    /// They are put right.
    Apply,
}

/// How a resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It is as it should be.
    Unchanged,
    /// It was put right.
    Changed,
    /// It is not as it should be.
    Differs,
    /// It could not be looked at or put right.
    Failed,
    /// It makes no sense without one that has failed.
    Skipped,
}

/// What became of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its name.
    pub resource: String,
    /// How it stands.
    pub status: Standing,
    /// How it differed.
    pub difference: Option<String>,
    /// The same line by line, where it is a text.
    pub diff: Option<String>,
    /// Why it failed or was skipped, in the tool's own words.
    pub error: Option<String>,
    /// What to do about that.
    pub hint: Option<&'static str>,
}

/// What became of all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In their order.
    pub lines: Vec<Line>,
}

impl Report {
    /// How many stand so.
    pub fn count(&self, status: Standing) -> usize {
        self.lines.iter().filter(|line| line.status == status).count()
    }

    /// Those that stand so.
    pub fn with(&self, status: Standing) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |line| line.status == status)
    }

    /// How the machine is not as it should be, in a line; none where it is.
    pub fn differences(&self) -> Option<String> {
        let told = self.deviations();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// How the machine is not as it should be, a line for each resource.
    pub fn deviations(&self) -> Vec<String> {
        let differ = self.lines.iter().filter(|line| line.status != Standing::Unchanged);
        differ
            .map(|line| {
                let what = line.error.as_ref().or(line.difference.as_ref()).map_or("", String::as_str);
                format!("{} {what}", line.resource)
            })
            .collect()
    }

    /// That something failed; none where nothing did. What the tool said last stands last, since a long message keeps its
    /// end.
    pub fn fault(&self) -> Option<Fault> {
        let mut failed = self.with(Standing::Failed);
        let first = failed.next()?;
        let mut text = String::new();
        let others: Vec<&str> = failed.map(|line| line.resource.as_str()).collect();
        let skipped: Vec<&str> = self.with(Standing::Skipped).map(|line| line.resource.as_str()).collect();
        for (names, what) in [(others, "failed too"), (skipped, "were skipped")] {
            if !names.is_empty() {
                let _infallible = write!(text, "{} {what}; ", names.join(", "));
            }
        }
        let words = first.error.as_deref().unwrap_or_default();
        let fault = Fault::new(Code::Configure, format!("{text}{} failed: {words}", first.resource));
        Some(fault.hint(first.hint.unwrap_or("see the log of the agent there for more")))
    }
}

/// Looks at every resource, and puts it right where that is the deed.
pub async fn run(resources: &[Box<dyn Resource>], target: &Target, deed: Deed) -> Result<Report, Trouble> {
    let (mut report, mut lost) = (Report::default(), BTreeSet::new());
    let total = resources.len();
    for (index, resource) in resources.iter().enumerate() {
        if target.task.cancel.is_cancelled() {
            return Err(Trouble::Cancelled);
        }
        let name = resource.name();
        if let Some(need) = resource.needs().into_iter().find(|need| lost.contains(need)) {
            report.lines.push(line(&name, Standing::Skipped, Some(format!("{need} could not be put right"))));
            lost.insert(name);
            continue;
        }
        let of_this = numbered(target, &format!("{}/{total} {name}", index + 1));
        let done = match deed {
            Deed::Check => check(resource.as_ref(), &of_this).await,
            Deed::Apply => apply(resource.as_ref(), &of_this).await,
        };
        match done {
            Ok((status, difference)) => {
                let (what, diff) = difference.map_or((None, None), |found| (Some(found.what), found.diff));
                if let (Standing::Changed, Some(what)) = (status, &what) {
                    tracing::info!(resource = %name, %what, "put right");
                }
                report.lines.push(Line { difference: what, diff, ..line(&name, status, None) });
            }
            Err(Trouble::Cancelled) => return Err(Trouble::Cancelled),
            Err(trouble) => {
                tracing::warn!(resource = %name, error = %trouble, "cannot be put right");
                let failed = line(&name, Standing::Failed, Some(trouble.to_string()));
                report.lines.push(Line { hint: Some(trouble.hint()), ..failed });
                lost.insert(name);
            }
        }
    }
    Ok(report)
}

fn line(resource: &str, status: Standing, error: Option<String>) -> Line {
    Line { resource: resource.to_owned(), status, difference: None, diff: None, error, hint: None }
}

/// The same target, whose progress says which resource it is about.
fn numbered(target: &Target, which: &str) -> Target {
    let (told, which) = (target.task.progress.clone(), which.to_owned());
    let mut target = target.clone();
    target.task.progress = std::sync::Arc::new(move |text| told(format!("{which}: {text}")));
    target
}

async fn check(resource: &dyn Resource, target: &Target) -> Result<(Standing, Option<Difference>), Trouble> {
    let found = resource.check(target).await?;
    Ok((if found.is_some() { Standing::Differs } else { Standing::Unchanged }, found))
}

async fn apply(resource: &dyn Resource, target: &Target) -> Result<(Standing, Option<Difference>), Trouble> {
    let Some(found) = resource.check(target).await? else { return Ok((Standing::Unchanged, None)) };
    (target.task.progress)(found.what.clone());
    resource.apply(target).await?;
    // What says that it has done its work is believed when it shows.
    match resource.check(target).await? {
        None => Ok((Standing::Changed, Some(found))),
        Some(still) => Err(Trouble::refused(format!("was put right, and still {}", still.what))),
    }
}
