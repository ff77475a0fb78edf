//! Lengths and points of time for people.

use std::time::Duration;

/// `0.34 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`, `5 d 07 h`: at most eleven columns.
pub(crate) fn span(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.as_millis());
    match seconds {
        0..10 => {
            let hundredths = millis / 10;
            format!("{}.{:02} s", hundredths / 100, hundredths % 100)
        }
        10..60 => format!("{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {:02} h", (seconds / 86_400).min(9999), seconds / 3600 % 24),
    }
}

/// The same in whole seconds, for what is redrawn all the time: `42 s`, `4 min 05 s`.
pub(crate) fn whole(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        _ => span(time),
    }
}

/// The same of a document's seconds; nonsense counts as none.
pub(crate) fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// `2026-01-02 03:04:05Z` of a document's time.
pub(crate) fn moment(at: &str) -> String {
    match at.split_once('T') {
        Some((date, time)) => format!("{date} {}Z", time.split(['.', 'Z']).next().unwrap_or_default()),
        None => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_say_their_unit() {
        let shown = |millis| span(Duration::from_millis(millis));
        assert_eq!(shown(0), "0.00 s");
        assert_eq!(shown(344), "0.34 s");
        assert_eq!(shown(9_999), "9.99 s");
        assert_eq!(shown(12_345), "12.3 s");
        assert_eq!(shown(65_000), "1 min 05 s");
        assert_eq!(shown(7_384_000), "2 h 03 min");
        assert_eq!(shown(200_000_000), "2 d 07 h");
        assert_eq!(seconds(f64::NAN), "0.00 s");
        assert_eq!(seconds(-1.0), "0.00 s");
    }

    #[test]
    fn no_time_takes_more_than_eleven_columns() {
        for exponent in 0..64 {
            assert!(span(Duration::from_millis(1 << exponent)).len() <= 11);
        }
    }
}
