//! "Did you mean": the nearest of the names that would have been right.

/// The longest name that is compared; what is longer was not mistyped from one of ours.
const MAX_LENGTH: usize = 80;

/// The candidate nearest to `found`, if it is near enough to have been meant: at most one edit for each three characters,
/// letters' case aside. The first of equals. Each comparison is taken off `budget`; with none left there is no suggestion.
pub(crate) fn nearest<'c>(
    found: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    budget: &mut usize,
) -> Option<&'c str> {
    if found.is_empty() || found.len() > MAX_LENGTH {
        return None;
    }
    let wanted = found.to_lowercase();
    let length = wanted.chars().count();
    let allowed = (length / 3).max(1);
    let mut best: Option<(usize, &'c str)> = None;
    for candidate in candidates {
        *budget = budget.checked_sub(1)?;
        let other = candidate.chars().count();
        if candidate.len() > MAX_LENGTH || length.abs_diff(other) > allowed {
            continue;
        }
        let distance = strsim::osa_distance(&wanted, &candidate.to_lowercase());
        let near = distance <= allowed && distance < length;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(found: &str, candidates: &[&'static str]) -> Option<&'static str> {
        nearest(found, candidates.iter().copied(), &mut 1_000)
    }

    #[test]
    fn a_slip_finds_what_was_meant_and_a_stranger_does_not() {
        assert_eq!(find("presett", &["spec", "preset", "parent"]), Some("preset"));
        assert_eq!(find("root-pev", &["edge", "root-pve"]), Some("root-pve"));
        assert_eq!(find("VM", &["ct", "vm", "pve"]), Some("vm"));
        assert_eq!(find("vm-smal", &["vm-large", "vm-xsmall", "vm-small"]), Some("vm-small"));
        assert_eq!(find("kubernetes", &["vm", "ct", "pve"]), None);
        assert_eq!(find("x", &["y"]), None);
        assert_eq!(find("", &["vm"]), None);
    }

    #[test]
    fn comparisons_end_with_the_budget() {
        let mut budget = 2;
        assert_eq!(nearest("preset", ["a", "b", "preset"], &mut budget), None);
        assert_eq!(budget, 0);
    }
}
