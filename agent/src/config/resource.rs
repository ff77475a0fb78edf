//! Resources: one thing each that a machine should have. `check` says how it differs, `apply` puts it right, and a second
//! `check` then finds nothing.

use std::future::Future;
use std::pin::Pin;

use super::system::Target;
use super::trouble::Trouble;

/// What a resource does, boxed, so that it can be a trait object.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// How a resource is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// In a line, after the resource's name: "lack htop, curl".
    pub what: String,
    /// Line by line, where it is a text.
    pub diff: Option<String>,
}

/// One thing that a machine should have.
pub trait Resource: Send + Sync {
    /// What it is, for people. No two of a configuration have the same.
    fn name(&self) -> String;

    /// Those without which it makes no sense: where one of them has failed, it is skipped.
    fn needs(&self) -> Vec<String> {
        Vec::new()
    }

    /// How it differs; none where it is as it should be.
    fn check<'a>(&'a self, target: &'a Target) -> Step<'a, Option<Difference>>;

    /// Puts it right.
    fn apply<'a>(&'a self, target: &'a Target) -> Step<'a, ()>;
}

/// What a resource lacks, gathered one by one.
#[derive(Debug, Default)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Adds one.
    pub fn add(&mut self, what: impl Into<String>) {
        self.0.push(Difference { what: what.into(), diff: None });
    }

    /// Adds that a text is another, if it is.
    pub fn text(&mut self, path: &str, is: Option<&str>, should: &str) {
        if is != Some(should) {
            let what = format!("{path} {}", if is.is_some() { "has other content" } else { "is missing" });
            self.0.push(Difference { what, diff: Some(diff(path, is.unwrap_or_default(), should)) });
        }
    }

    /// All of it in one; none where there is nothing.
    pub fn whole(self) -> Option<Difference> {
        let diffs: Vec<&str> = self.0.iter().filter_map(|one| one.diff.as_deref()).collect();
        let diff = (!diffs.is_empty()).then(|| diffs.concat());
        let what: Vec<&str> = self.0.iter().map(|one| one.what.as_str()).collect();
        (!what.is_empty()).then(|| Difference { what: what.join(", "), diff })
    }
}

/// What changes between two texts, as diff(1) writes it: one hunk, without the lines that both begin and end with.
fn diff(path: &str, is: &str, should: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (is.lines().collect(), should.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(same..).unwrap_or_default(), new.get(same..).unwrap_or_default());
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = |rest: &[&str], sign: char| -> String {
        rest.iter().take(rest.len() - end).map(|line| format!("{sign}{line}\n")).collect()
    };
    let count = |rest: &[&str]| rest.len() - end;
    format!(
        "--- {path}\n+++ {path}\n@@ -{from},{} +{from},{} @@\n{}{}",
        count(old_rest),
        count(new_rest),
        middle(old_rest, '-'),
        middle(new_rest, '+'),
        from = same + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_changes_and_nothing_else() {
        let shown = diff("/etc/f", "a\nb\nc\nd\n", "a\nx\ny\nd\n");
        assert_eq!(shown, "--- /etc/f\n+++ /etc/f\n@@ -2,2 +2,2 @@\n-b\n-c\n+x\n+y\n");
        assert_eq!(diff("/f", "", "one\n"), "--- /f\n+++ /f\n@@ -1,0 +1,1 @@\n+one\n");
        assert!(diff("/f", "a\na\n", "a\n").ends_with("-a\n"));
    }
}
