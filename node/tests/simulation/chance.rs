//! Chance, the same for the same seed, and misfortune: what goes wrong, how often, and a way to leave single strokes of it
//! out of a replay.

use std::collections::BTreeSet;

/// Draws of one seed.
#[derive(Clone)]
pub(crate) struct Chance(fastrand::Rng);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number below `end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.0.u64(0..end) }
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        if len == 0 { 0 } else { self.0.usize(0..len) }
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        self.0.u64(from..=to)
    }

    /// True in `n` of a thousand cases.
    pub(crate) fn mille(&mut self, n: u64) -> bool {
        self.below(1000) < n
    }

    pub(crate) fn bits(&mut self) -> u128 {
        self.0.u128(..)
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}

/// How often what goes wrong while the weather is bad. Odds are in a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Climate {
    /// A process dies in a turn, before its records are on disk or between two effects.
    pub(crate) crash: u64,
    /// A piece of work fails for now.
    pub(crate) fail: u64,
    /// A piece of work fails for good.
    pub(crate) fail_for_good: u64,
    /// A piece of work hangs until it is cancelled.
    pub(crate) hang: u64,
    /// A request is delivered once more, within its link or over a later one.
    pub(crate) again: u64,
    /// The pause between two strokes of bad weather, in milliseconds; none where there are none.
    pub(crate) storm_every: Option<u64>,
    /// Of these strokes: a process dies, wherever it is.
    pub(crate) power: u64,
    /// A link breaks.
    pub(crate) cut: u64,
    /// A link carries nothing for less than the grace.
    pub(crate) outage: u64,
    /// A link carries nothing for longer than the grace.
    pub(crate) long_outage: u64,
    /// Somebody removes a machine by hand.
    pub(crate) theft: u64,
    /// A host's agent loses what it remembers and is expected anew.
    pub(crate) amnesia: u64,
}

impl Climate {
    /// One of the climates that schedules live in.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let calm = Self::default();
        let providers = Self { fail: 30, fail_for_good: 15, hang: 8, ..calm };
        match chance.below(100) {
            0..5 => calm,
            5..25 => providers,
            25..40 => Self { crash: 6, again: 20, storm_every: Some(8_000), power: 1000, ..calm },
            40..55 => Self { again: 20, storm_every: Some(4_000), cut: 500, outage: 500, ..calm },
            55..65 => Self { storm_every: Some(12_000), cut: 300, outage: 300, long_outage: 300, power: 100, ..calm },
            65..95 => Self {
                crash: 4,
                again: 20,
                storm_every: Some(6_000),
                power: 400,
                cut: 200,
                outage: 200,
                long_outage: 100,
                theft: 0,
                ..providers
            },
            _ => Self {
                crash: 3,
                again: 20,
                storm_every: Some(10_000),
                power: 300,
                cut: 200,
                outage: 200,
                long_outage: 60,
                theft: 120,
                amnesia: 60,
                ..providers
            },
        }
    }
}

/// Decides what goes wrong.
#[derive(Clone)]
pub(crate) struct Fate {
    dice: Chance,
    pub(crate) climate: Climate,
    /// Whether anything goes wrong at all just now.
    pub(crate) awake: bool,
    /// How often it has struck, or would have.
    pub(crate) strokes: u32,
    /// Strokes that are left out.
    pub(crate) spared: BTreeSet<u32>,
    /// Strokes from here on are left out.
    pub(crate) only_first: u32,
}

impl Fate {
    pub(crate) fn new(seed: u64, climate: Climate) -> Self {
        let dice = Chance::seeded(seed ^ 0x5eed_0fa7_e000_0000);
        Self { dice, climate, awake: false, strokes: 0, spared: BTreeSet::new(), only_first: u32::MAX }
    }

    /// Whether it strikes, at these odds in a thousand.
    pub(crate) fn strikes(&mut self, mille: u64) -> bool {
        self.awake && mille > 0 && self.dice.mille(mille) && self.strikes_now()
    }

    /// It strikes, unless this stroke is left out.
    pub(crate) fn strikes_now(&mut self) -> bool {
        let stroke = self.strokes;
        self.strokes += 1;
        stroke < self.only_first && !self.spared.contains(&stroke)
    }
}
