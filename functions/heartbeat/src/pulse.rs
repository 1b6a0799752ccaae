//! One look at all devices.

use std::cmp::max;

use serde::{Deserialize, Serialize};
use vitro_cloud::CloudError;
use vitro_cloud::devices::{LIVE_SHARDS, Mark};
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use crate::watch::Watch;

/// What the function is invoked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Pulse {
    /// Now, in Unix milliseconds; the clock's time if absent.
    #[serde(default)]
    pub now: Option<UnixMillis>,
    /// Look at the hours that are over instead ([`crate::hours`]).
    #[serde(default)]
    pub hours: bool,
    /// At how many of them.
    #[serde(default)]
    pub back: Option<u32>,
}

/// A device that is silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LiveGap {
    /// The device.
    pub device: DeviceId,
    /// When it was last heard of, in Unix milliseconds of received time.
    pub last: UnixMillis,
    /// For how many whole minutes it has been silent.
    pub silent_minutes: i64,
    /// Whether this look opened the gap; else it was open before.
    pub new: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pulsed {
    /// The instant that devices were held against, in Unix milliseconds.
    pub now: i64,
    /// How many devices had to be looked at.
    pub checked: u64,
    /// The silent ones, by name.
    pub gaps: Vec<LiveGap>,
    /// Devices that had a gap and were heard of since.
    pub closed: Vec<DeviceId>,
}

/// Whether a device last heard of at `last` is silent at `now`; `limit_minutes` are still fine.
#[must_use]
pub fn is_silent(last: UnixMillis, now: UnixMillis, limit_minutes: u32) -> bool {
    now.0.saturating_sub(last.0) > i64::from(limit_minutes) * 60_000
}

/// Looks for silent devices. Done twice at the same instant, it finds the same.
///
/// # Errors
/// [`CloudError`] if the index or a device cannot be read or changed.
pub async fn look(watch: &dyn Watch, now: UnixMillis, limit_minutes: u32) -> Result<Pulsed, CloudError> {
    let mut pulsed = Pulsed { now: now.0, ..Pulsed::default() };
    let before = UnixMillis(now.0.saturating_sub(i64::from(limit_minutes) * 60_000));
    // Open gaps first: those that are opened below are told once.
    for shard in LIVE_SHARDS..2 * LIVE_SHARDS {
        for device in watch.quiet(shard, UnixMillis(i64::MAX)).await? {
            pulsed.checked += 1;
            check(watch, device, now, limit_minutes, &mut pulsed, false).await?;
        }
    }
    for shard in 0..LIVE_SHARDS {
        for device in watch.quiet(shard, before).await? {
            pulsed.checked += 1;
            check(watch, device, now, limit_minutes, &mut pulsed, true).await?;
        }
    }
    pulsed.gaps.sort_by(|a, b| a.device.cmp(&b.device));
    pulsed.closed.sort();
    Ok(pulsed)
}

async fn check(
    watch: &dyn Watch,
    device: DeviceId,
    now: UnixMillis,
    limit_minutes: u32,
    pulsed: &mut Pulsed,
    new: bool,
) -> Result<(), CloudError> {
    let Some(seen) = watch.seen(&device).await? else { return Ok(()) };
    let newest = watch.newest(&device).await?;
    let last = newest.map_or(seen.received, |(_, received)| max(received, seen.received));
    if !is_silent(last, now, limit_minutes) {
        if !new {
            let number = newest.map_or(seen.number, |(number, _)| max(number, seen.number));
            watch.close_gap(&device, Mark { number, received: last, time: seen.time }).await?;
            tracing::info!(%device, last = last.0, "heard of again");
            pulsed.closed.push(device);
        }
        return Ok(());
    }
    if new && !watch.open_gap(&device, last, &seen).await? {
        // A message came meanwhile, or the device is not active any more.
        return Ok(());
    }
    let silent_minutes = now.0.saturating_sub(last.0) / 60_000;
    tracing::warn!(%device, last = last.0, silent_minutes, new, "silent");
    pulsed.gaps.push(LiveGap { device, last, silent_minutes, new });
    Ok(())
}

/// What the newest stored readings tell: the highest number and the last received time.
pub type Newest = (SequenceNumber, UnixMillis);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use vitro_cloud::devices::live_shard;

    use super::*;

    const MINUTE: i64 = 60_000;

    #[derive(Clone, Copy)]
    struct Entry {
        mark: i64,
        gap: bool,
        newest: Option<i64>,
    }

    struct Fleet(Mutex<BTreeMap<DeviceId, Entry>>);

    impl Fleet {
        fn of(entries: &[(&str, i64, Option<i64>)]) -> Self {
            let entry = |&(name, mark, newest): &(&str, i64, Option<i64>)| {
                (name.parse().unwrap(), Entry { mark, gap: false, newest })
            };
            Self(Mutex::new(entries.iter().map(entry).collect()))
        }

        fn set_newest(&self, name: &str, newest: i64) {
            self.0.lock().unwrap().get_mut(&name.parse().unwrap()).unwrap().newest = Some(newest);
        }
    }

    fn mark(received: i64) -> Mark {
        Mark { number: SequenceNumber(7), received: UnixMillis(received), time: None }
    }

    #[async_trait]
    impl Watch for Fleet {
        async fn quiet(&self, shard: u8, before: UnixMillis) -> Result<Vec<DeviceId>, CloudError> {
            let entries = self.0.lock().unwrap();
            let in_part = |(id, entry): &(&DeviceId, &Entry)| {
                live_shard(id) + if entry.gap { LIVE_SHARDS } else { 0 } == shard && entry.mark < before.0
            };
            Ok(entries.iter().filter(in_part).map(|(id, _)| id.clone()).collect())
        }

        async fn seen(&self, device: &DeviceId) -> Result<Option<Mark>, CloudError> {
            Ok(self.0.lock().unwrap().get(device).map(|entry| mark(entry.mark)))
        }

        async fn newest(&self, device: &DeviceId) -> Result<Option<Newest>, CloudError> {
            let newest = self.0.lock().unwrap().get(device).and_then(|entry| entry.newest);
            Ok(newest.map(|received| (SequenceNumber(9), UnixMillis(received))))
        }

        async fn open_gap(&self, device: &DeviceId, _since: UnixMillis, seen: &Mark) -> Result<bool, CloudError> {
            let mut entries = self.0.lock().unwrap();
            let entry = entries.get_mut(device).unwrap();
            let held = entry.mark == seen.received.0;
            entry.gap |= held;
            Ok(held)
        }

        async fn close_gap(&self, device: &DeviceId, mark: Mark) -> Result<(), CloudError> {
            let mut entries = self.0.lock().unwrap();
            let entry = entries.get_mut(device).unwrap();
            entry.gap = false;
            entry.mark = mark.received.0;
            Ok(())
        }
    }

    fn names(pulsed: &Pulsed) -> Vec<(&str, bool)> {
        pulsed.gaps.iter().map(|gap| (gap.device.as_str(), gap.new)).collect()
    }

    #[tokio::test]
    async fn the_silent_one_is_told_and_not_the_others() {
        // The marks of all lag behind; only the newest reading tells who speaks.
        let fleet = Fleet::of(&[("dev-1", 0, Some(9 * MINUTE)), ("dev-5", 0, Some(MINUTE)), ("dev-6", 0, None)]);
        let now = UnixMillis(62 * MINUTE);
        let pulsed = look(&fleet, now, 60).await.unwrap();
        assert_eq!(pulsed.checked, 3);
        assert_eq!(names(&pulsed), [("dev-5", true), ("dev-6", true)]);
        assert_eq!((pulsed.gaps[0].last, pulsed.gaps[0].silent_minutes), (UnixMillis(MINUTE), 61));
        let again = look(&fleet, now, 60).await.unwrap();
        assert_eq!(names(&again), [("dev-5", false), ("dev-6", false)], "an open gap is told again");
    }

    #[tokio::test]
    async fn exactly_sixty_minutes_are_fine() {
        let fleet = Fleet::of(&[("dev-1", 0, Some(0))]);
        assert!(look(&fleet, UnixMillis(60 * MINUTE), 60).await.unwrap().gaps.is_empty());
        assert_eq!(look(&fleet, UnixMillis(60 * MINUTE + 1), 60).await.unwrap().gaps.len(), 1);
    }

    #[tokio::test]
    async fn a_gap_ends_when_the_device_is_heard() {
        let fleet = Fleet::of(&[("dev-1", 0, Some(0))]);
        look(&fleet, UnixMillis(61 * MINUTE), 60).await.unwrap();
        fleet.set_newest("dev-1", 63 * MINUTE);
        let pulsed = look(&fleet, UnixMillis(65 * MINUTE), 60).await.unwrap();
        assert_eq!((pulsed.gaps.len(), pulsed.closed.len()), (0, 1));
        assert_eq!(
            look(&fleet, UnixMillis(66 * MINUTE), 60).await.unwrap(),
            Pulsed { now: 66 * MINUTE, ..Pulsed::default() }
        );
        assert_eq!(look(&fleet, UnixMillis(124 * MINUTE), 60).await.unwrap().gaps.len(), 1, "and the next one is told");
    }

    #[test]
    fn the_event_may_say_what_time_it_is() {
        let parse = |text| serde_json::from_str::<Pulse>(text).unwrap().now;
        assert_eq!(parse("{}"), None);
        assert_eq!(parse(r#"{"now":5}"#), Some(UnixMillis(5)));
        let hours: Pulse = serde_json::from_str(r#"{"hours":true,"back":3}"#).unwrap();
        assert_eq!((hours.hours, hours.back, hours.now), (true, Some(3), None));
        assert_eq!(parse(r#"{"version":"0","time":"2026-01-01T00:00:00Z"}"#), None);
    }
}
