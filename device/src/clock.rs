//! The device's clock, and when it may be believed.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use vitro_proof::UnixMillis;

/// A clock that goes ahead by more than this, against the time that passed, has leapt.
pub const LEAP: Duration = Duration::from_secs(3600);
/// A clock that has leapt is not believed for so long: a wrong time that is corrected by then did no harm.
pub const HOLD: Duration = Duration::from_secs(600);
/// The longest sleep: a clock that is set meanwhile is seen after it.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// Tells what time it is; handed in, so that tests and replays can say so themselves.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> UnixMillis;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Why the clock is not believed, and nothing is signed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unset {
    /// It shows a time before the device's certificate begins, as one that was never set.
    #[error("the clock is not set: it shows a time before the device's certificate begins")]
    BeforeCertificate,
    /// It shows a time after the certificate's end.
    #[error("the clock shows a time after the device's certificate has ended")]
    AfterCertificate,
    /// It shows an earlier time than the newest stored reading.
    #[error("the clock is behind the newest stored reading")]
    Behind,
    /// It went ahead by more than an hour at once, and the hold is not over.
    #[error("the clock went ahead by more than an hour at once: it is believed when it has stood for ten minutes")]
    Leapt,
}

/// A clock that is only believed while it can be right: within the certificate's validity, and without a leap ahead.
///
/// A leap is the worst that a clock can do: by it the days up to a far future would be closed, and nothing that is true could be said
/// any more until then.
pub struct Guard {
    clock: Arc<dyn Clock>,
    valid: RangeInclusive<UnixMillis>,
    seen: Option<(UnixMillis, Instant)>,
    held_until: Option<Instant>,
}

impl Guard {
    /// A guard over a clock; `valid` is when the device's certificate is.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, valid: RangeInclusive<UnixMillis>) -> Self {
        Self { clock, valid, seen: None, held_until: None }
    }

    /// What the clock shows, believed or not.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// The time, if the clock can be believed. It must be asked often: what it showed last is how a leap is seen.
    ///
    /// # Errors
    /// [`Unset`].
    pub fn time(&mut self) -> Result<UnixMillis, Unset> {
        let (now, at) = (self.clock.now(), Instant::now());
        if let Some((then, since)) = self.seen {
            let passed = i64::try_from((at - since).as_millis()).unwrap_or(i64::MAX);
            let leap = i64::try_from(LEAP.as_millis()).unwrap_or(i64::MAX);
            let ahead = now.0.saturating_sub(then.0).saturating_sub(passed);
            if ahead > leap {
                self.held_until = Some(at + HOLD);
            } else if ahead < -leap {
                // It was set back: the leap is undone.
                self.held_until = None;
            }
        }
        self.seen = Some((now, at));
        if now < *self.valid.start() {
            Err(Unset::BeforeCertificate)
        } else if now > *self.valid.end() {
            Err(Unset::AfterCertificate)
        } else if self.held_until.is_some_and(|until| at < until) {
            Err(Unset::Leapt)
        } else {
            Ok(now)
        }
    }

    /// Waits until the clock can be believed and shows at least `newest`. Says once why it waits.
    pub async fn ready(&mut self, newest: Option<UnixMillis>) -> UnixMillis {
        let mut told = None;
        loop {
            let unset = match self.time() {
                Ok(now) if newest.is_none_or(|newest| now >= newest) => return now,
                Ok(_) => Unset::Behind,
                Err(unset) => unset,
            };
            if told != Some(unset) {
                tracing::warn!("{unset}; nothing is signed until then");
                told = Some(unset);
            }
            let left = newest.map_or(i64::MAX, |newest| newest.0.saturating_sub(self.now().0));
            let behind = unset == Unset::Behind;
            sleep(if behind { left } else { i64::MAX }).await;
        }
    }

    /// Sleeps until the clock shows this time, looking at it often.
    pub async fn sleep_until(&mut self, time: UnixMillis) {
        loop {
            // Whether it can be believed is asked when something is to be signed.
            let _ = self.time();
            let left = time.0.saturating_sub(self.now().0);
            if left <= 0 {
                return;
            }
            sleep(left).await;
        }
    }
}

async fn sleep(millis: i64) {
    let wait = Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST_SLEEP);
    tokio::time::sleep(wait).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const VALID: RangeInclusive<UnixMillis> = UnixMillis(1_000_000)..=UnixMillis(900_000_000);
    const HOUR: i64 = 3_600_000;

    /// A clock that goes with tokio's, set off by so much.
    struct Set(Instant, AtomicI64);

    impl Clock for Set {
        fn now(&self) -> UnixMillis {
            let passed = i64::try_from(self.0.elapsed().as_millis()).unwrap();
            UnixMillis(passed + self.1.load(Ordering::Relaxed))
        }
    }

    fn guard(set: i64) -> (Arc<Set>, Guard) {
        let clock = Arc::new(Set(Instant::now(), AtomicI64::new(set)));
        (clock.clone(), Guard::new(clock, VALID))
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_believed_within_the_certificates_validity() {
        for (set, expected) in [
            (0, Err(Unset::BeforeCertificate)),
            (999_999, Err(Unset::BeforeCertificate)),
            (1_000_000, Ok(UnixMillis(1_000_000))),
            (900_000_000, Ok(UnixMillis(900_000_000))),
            (900_000_001, Err(Unset::AfterCertificate)),
        ] {
            assert_eq!(guard(set).1.time(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leap_ahead_is_held_and_an_undone_one_is_forgotten() {
        let (clock, mut guard) = guard(2_000_000);
        assert!(guard.time().is_ok());
        // Time that passes is no leap, nor is a step within the hour, nor one back.
        tokio::time::advance(Duration::from_secs(7200)).await;
        assert!(guard.time().is_ok());
        for step in [HOUR, -5 * HOUR / 2] {
            clock.1.fetch_add(step, Ordering::Relaxed);
            assert!(guard.time().is_ok(), "{step}");
        }
        clock.1.fetch_add(HOUR + 1, Ordering::Relaxed);
        assert_eq!(guard.time(), Err(Unset::Leapt));
        tokio::time::advance(HOLD - Duration::from_millis(1)).await;
        assert_eq!(guard.time(), Err(Unset::Leapt));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(guard.time().is_ok(), "it has stood for long enough");
        clock.1.fetch_add(10 * HOUR, Ordering::Relaxed);
        assert_eq!(guard.time(), Err(Unset::Leapt));
        clock.1.fetch_add(-10 * HOUR, Ordering::Relaxed);
        assert!(guard.time().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_clock_is_set_and_has_caught_up() {
        let (clock, mut guard) = guard(0);
        let start = Instant::now();
        let set = async {
            tokio::time::sleep(Duration::from_secs(95)).await;
            clock.1.store(2_000_000, Ordering::Relaxed);
        };
        let (ready, ()) = tokio::join!(guard.ready(Some(UnixMillis(2_200_000))), set);
        assert!(ready >= UnixMillis(2_200_000));
        assert!(start.elapsed() < Duration::from_secs(220), "{:?}", start.elapsed());
    }
}
