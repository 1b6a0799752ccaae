//! When a device polls, and what of a poll it reports. Pure: the same samples give the same reports, so a replay can be resumed.

use std::collections::BTreeMap;

use vitro_proof::senml::Reading;
use vitro_proof::{DayBounds, Decimal, SensorName, UnixMillis};

use crate::config::{Sampling, SendMode};
use crate::recording::Sample;

/// A poll that found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When the device polls.
    pub due: UnixMillis,
    /// What it finds: the newest sample since the poll before, with its own time.
    pub sample: Sample,
}

/// The polls of a day: at its begin, then every interval, and once more at its end for what came after the last. Samples are in
/// ascending order and lie in the day; a poll that finds nothing new is left out, so a silence of the source stays a silence.
#[must_use]
pub fn polls(samples: Vec<Sample>, bounds: DayBounds, interval_seconds: u32) -> Vec<Poll> {
    let interval = i64::from(interval_seconds.max(1)) * 1000;
    let (from, to) = (bounds.from * 1000, bounds.to * 1000);
    let mut polls: Vec<Poll> = Vec::new();
    for sample in samples.into_iter().filter(|sample| (from..to).contains(&sample.time.0)) {
        let steps = (sample.time.0 - from + interval - 1).div_euclid(interval);
        let due = UnixMillis((from + steps * interval).min(to));
        match polls.last_mut() {
            Some(last) if last.due == due => last.sample = sample,
            _ => polls.push(Poll { due, sample }),
        }
    }
    polls
}

/// When a device polls what has no times of its own: at the begin of the day, then every interval, never at its end.
pub fn instants(bounds: DayBounds, interval_seconds: u32) -> impl Iterator<Item = UnixMillis> {
    let step = usize::try_from(interval_seconds.max(1)).unwrap_or(usize::MAX);
    (bounds.from..bounds.to).step_by(step).map(|second| UnixMillis(second * 1000))
}

/// Chooses what of a poll is reported. Starts anew each day, so every sensor stands in the day's first envelope.
#[derive(Clone, Debug)]
pub struct Reporter {
    mode: SendMode,
    /// A sensor that would be silent for longer than this by the poll after next is reported now: a poll that comes late does not
    /// make a gap.
    patience: i64,
    last: BTreeMap<SensorName, (UnixMillis, Option<Decimal>)>,
}

impl Reporter {
    /// A reporter for a day.
    #[must_use]
    pub fn new(sampling: &Sampling) -> Self {
        let limit = i64::from(sampling.report_at_least_minutes) * 60_000;
        let patience = limit - 2 * i64::from(sampling.poll_interval_seconds) * 1000;
        Self { mode: sampling.send, patience, last: BTreeMap::new() }
    }

    /// The readings to send of a sample; none if nothing is to be said.
    pub fn choose(&mut self, sample: &Sample) -> Vec<Reading> {
        let mut chosen = Vec::new();
        for reading in &sample.readings {
            let due = match (self.mode, self.last.get(&reading.sensor)) {
                (SendMode::Always, _) | (_, None) => true,
                (SendMode::OnChange, Some((time, value))) => {
                    *value != reading.value || sample.time.0 - time.0 > self.patience
                }
            };
            if due {
                self.last.insert(reading.sensor.clone(), (sample.time, reading.value.clone()));
                chosen.push(reading.clone());
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vitro_proof::liveness::{is_silent, recorded_gaps};

    use super::*;

    const BOUNDS: DayBounds = DayBounds { from: 0, to: 86_400 };

    fn sample(second: i64, values: &[Option<i64>]) -> Sample {
        let reading = |(index, value): (usize, &Option<i64>)| Reading {
            sensor: format!("s{index}").parse().unwrap(),
            unit: "Cel".into(),
            value: value.map(Decimal::from),
        };
        Sample { time: UnixMillis(second * 1000), readings: values.iter().enumerate().map(reading).collect() }
    }

    fn seconds(polls: &[Poll]) -> Vec<(i64, i64)> {
        polls.iter().map(|poll| (poll.due.0 / 1000, poll.sample.time.0 / 1000)).collect()
    }

    #[test]
    fn a_poll_takes_the_newest_sample_since_the_one_before() {
        let samples = [0, 20, 60, 61, 119, 240, 86_399].map(|second| sample(second, &[Some(1)])).to_vec();
        let polls = polls(samples, BOUNDS, 60);
        assert_eq!(seconds(&polls), [(0, 0), (60, 60), (120, 119), (240, 240), (86_400, 86_399)]);
    }

    #[test]
    fn samples_outside_of_the_day_are_not_polled() {
        let samples = [-1, 86_400].map(|second| sample(second, &[Some(1)])).to_vec();
        assert_eq!(polls(samples, BOUNDS, 60), []);
    }

    fn reporter(mode: SendMode) -> Reporter {
        Reporter::new(&Sampling { send: mode, ..Sampling::default() })
    }

    #[test]
    fn instants_begin_with_the_day_and_end_before_it_does() {
        let seconds: Vec<i64> = instants(BOUNDS, 40_000).map(|due| due.0 / 1000).collect();
        assert_eq!(seconds, [0, 40_000, 80_000]);
        assert_eq!(instants(BOUNDS, 3600).last(), Some(UnixMillis(23 * 3_600_000)));
    }

    #[test]
    fn always_sends_everything() {
        let mut reporter = reporter(SendMode::Always);
        for second in 0..3 {
            assert_eq!(reporter.choose(&sample(second * 60, &[Some(1), None])).len(), 2);
        }
    }

    #[test]
    fn on_change_sends_what_changed_and_what_was_silent_for_long() {
        let mut reporter = reporter(SendMode::OnChange);
        let mut names = |minute: i64, values: &[Option<i64>]| {
            let chosen = reporter.choose(&sample(minute * 60, values));
            chosen.iter().map(|reading| reading.sensor.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(0, &[Some(0), Some(5)]), ["s0", "s1"]);
        assert_eq!(names(1, &[Some(0), Some(5)]), [""; 0]);
        assert_eq!(names(2, &[Some(0), None]), ["s1"], "missing is a change");
        assert_eq!(names(58, &[Some(0), None]), [""; 0]);
        assert_eq!(names(59, &[Some(0), None]), ["s0"]);
        assert_eq!(names(60, &[Some(0), Some(5)]), ["s1"]);
    }

    proptest! {
        /// A device whose source never falls silent has no gap, neither in its day nor between what it sends.
        #[test]
        fn nobody_is_silent_for_an_hour(
            interval in 1u32..=1800,
            changes in proptest::collection::vec(0usize..86_400, 0..5),
            limit in 30u32..=60,
        ) {
            let sampling = Sampling { poll_interval_seconds: interval, send: SendMode::OnChange, report_at_least_minutes: limit };
            let samples: Vec<Sample> = (0..86_400i64)
                .step_by(interval as usize)
                .map(|second| sample(second, &[Some(changes.iter().filter(|&&at| at as i64 <= second).count() as i64)]))
                .collect();
            let mut reporter = Reporter::new(&sampling);
            let times: Vec<UnixMillis> = polls(samples, BOUNDS, interval)
                .iter()
                .filter(|poll| !reporter.choose(&poll.sample).is_empty())
                .map(|poll| poll.sample.time)
                .collect();
            prop_assert_eq!(recorded_gaps(&times, BOUNDS), vec![]);
            prop_assert!(times.windows(2).all(|pair| !is_silent(pair[0], pair[1])));
        }
    }
}
