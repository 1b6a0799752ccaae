//! How often something may happen: a token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Lets things happen at a steady rate, with bursts of at most a tenth of a second's worth.
#[derive(Clone, Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A bucket for so many things a second, at least one.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        let burst = (per_second / 10.0).max(1.0);
        Self { per_second, burst, tokens: burst, filled: now }
    }

    /// Takes one, or says when there will be one.
    ///
    /// # Errors
    /// The instant from which on it makes sense to try again.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.burst);
        self.filled = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Timers go by the millisecond; never an instant that is already here.
        let wait = ((1.0 - self.tokens) / self.per_second).max(0.001);
        Err(now + Duration::from_secs_f64(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_as_allowed_after_the_first_burst() {
        for rate in [1, 7, 50, 100, 2000] {
            let start = Instant::now();
            let mut bucket = Bucket::new(rate, start);
            let (mut now, mut taken) = (start, 0);
            while now < start + Duration::from_secs(10) {
                match bucket.take(now) {
                    Ok(()) => taken += 1,
                    Err(later) => {
                        assert!(later > now);
                        now = later;
                    }
                }
            }
            let most = f64::from(rate) * 10.0 + (f64::from(rate) / 10.0).max(1.0);
            assert!(f64::from(taken) <= most + 1.0, "{taken} of {rate}");
            assert!(f64::from(taken) >= f64::from(rate) * 9.0, "{taken} of {rate}");
        }
    }
}
