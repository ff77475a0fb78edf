//! Lengths of time as people write them: `90s`, `5m`, `1h30m`, `250ms`; a bare number counts seconds.

use std::time::Duration;

/// The longest that is accepted: a month is past any run, and far below where arithmetic ends.
const MAX: Duration = Duration::from_secs(31 * 24 * 3600);

/// Parses a length of time.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write it like 90s, 5m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        let one = match unit.trim() {
            "ms" => Duration::from_millis(1),
            "" if total.is_zero() && tail.is_empty() => Duration::from_secs(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            "d" => Duration::from_secs(24 * 3600),
            _ => return Err(wrong()),
        };
        let part = u32::try_from(count).ok().and_then(|count| one.checked_mul(count));
        total = part
            .and_then(|part| total.checked_add(part))
            .filter(|sum| *sum <= MAX)
            .ok_or_else(|| format!("{text:?} is longer than {} days", MAX.as_secs() / 86_400))?;
        rest = tail;
    }
    if total.is_zero() { Err(format!("{text:?} is no time at all")) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        let read = |text| parse(text).map(|span| span.as_millis());
        assert_eq!(read("90s"), Ok(90_000));
        assert_eq!(read("5m"), Ok(300_000));
        assert_eq!(read("1h30m"), Ok(5_400_000));
        assert_eq!(read("250ms"), Ok(250));
        assert_eq!(read("45"), Ok(45_000));
        assert_eq!(read(" 2 m "), Ok(120_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in ["", " ", "m", "5x", "-5s", "1.5m", "5m3", "0", "0s", "999999d", "99999999999999999999s", "5 m s"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
