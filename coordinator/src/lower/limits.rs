//! Time limits: the defaults, what `HOMESTAK_LIMITS` makes of them for tests and benches, and what each level adds.

use homestak_protocol::order::{Limits, Millis};

/// `HOMESTAK_LIMITS`: some limits, overridden: `answer=2s,grace=5s,boot=1m30s`. The names are `provision`, `boot`, `host`,
/// `configure`, `verify`, `destroy`, `answer` and `grace`. What is set here is exact: no level adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitOverrides {
    provision: Option<Millis>,
    boot: Option<Millis>,
    host: Option<Millis>,
    configure: Option<Millis>,
    verify: Option<Millis>,
    destroy: Option<Millis>,
    answer: Option<Millis>,
    grace: Option<Millis>,
}

impl LimitOverrides {
    /// Parses the variable's value; the error says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=DURATION"))?;
            let limit = match name.trim() {
                "provision" => &mut limits.provision,
                "boot" => &mut limits.boot,
                "host" => &mut limits.host,
                "configure" => &mut limits.configure,
                "verify" => &mut limits.verify,
                "destroy" => &mut limits.destroy,
                "answer" => &mut limits.answer,
                "grace" => &mut limits.grace,
                other => return Err(format!("there is no limit called `{other}`")),
            };
            let duration: jiff::SignedDuration =
                value.trim().parse().map_err(|_| format!("`{value}` is no duration such as 2s or 1m30s"))?;
            let millis = u64::try_from(duration.as_millis()).map_err(|_| format!("`{value}` is less than nothing"))?;
            *limit = Some(Millis(millis));
        }
        Ok(limits)
    }

    /// The limits for nodes on this level (0 on the host itself). A machine inside a machine is slower, and whoever waits
    /// for it waits longer: each level adds `buffer_s` to each phase. `answer` and `grace` are about links, not machines.
    pub fn at_level(&self, buffer_s: u32, level: usize) -> Limits {
        let usual = Limits::default();
        let levels = u64::try_from(level).unwrap_or(u64::MAX);
        let added = u64::from(buffer_s).saturating_mul(1000).saturating_mul(levels);
        let phase = |set: Option<Millis>, usual: Millis| set.unwrap_or(Millis(usual.0.saturating_add(added)));
        Limits {
            provision: phase(self.provision, usual.provision),
            boot: phase(self.boot, usual.boot),
            host: phase(self.host, usual.host),
            configure: phase(self.configure, usual.configure),
            verify: phase(self.verify, usual.verify),
            destroy: phase(self.destroy, usual.destroy),
            answer: self.answer.unwrap_or(usual.answer),
            grace: self.grace.unwrap_or(usual.grace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_exact_and_what_is_not_grows_with_the_level() {
        let overrides = LimitOverrides::parse("answer=2s, boot=1m30s,").unwrap();
        let limits = overrides.at_level(60, 2);
        assert_eq!((limits.answer, limits.boot), (Millis(2_000), Millis(90_000)));
        assert_eq!(limits.provision, Millis(Limits::default().provision.0 + 120_000));
        assert_eq!(limits.grace, Limits::default().grace);
        assert_eq!(LimitOverrides::default().at_level(60, 0), Limits::default());
    }

    #[test]
    fn what_is_no_limit_is_named() {
        for (bad, word) in [("boot", "boot"), ("bott=1s", "bott"), ("boot=soon", "soon"), ("boot=-1s", "-1s")] {
            assert!(LimitOverrides::parse(bad).unwrap_err().contains(word), "{bad}");
        }
    }
}
