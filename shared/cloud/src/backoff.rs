//! Waiting before a call is tried again: exponential with full jitter, bounded.

use std::time::Duration;

use crate::error::CloudError;

/// Attempts of what a service left undone.
pub const ATTEMPTS: u32 = 5;
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(1000);

/// Counts attempts and waits between them.
#[derive(Debug)]
pub struct Backoff {
    attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// No attempt made yet.
    #[must_use]
    pub fn new() -> Self {
        Self { attempts: 0 }
    }

    /// Counts an attempt that left something undone, and waits before the next.
    ///
    /// # Errors
    /// [`CloudError::Unprocessed`] when there were enough attempts.
    pub async fn wait(&mut self, service: &'static str, operation: &'static str) -> Result<(), CloudError> {
        match self.next() {
            Some(longest) => tokio::time::sleep(jittered(longest, random())).await,
            None => return Err(CloudError::Unprocessed { service, operation, attempts: self.attempts }),
        }
        Ok(())
    }

    /// Counts an attempt; gives the longest wait before the next, or nothing if there were enough.
    fn next(&mut self) -> Option<Duration> {
        self.attempts += 1;
        (self.attempts < ATTEMPTS).then(|| longest(self.attempts))
    }
}

/// The longest wait after so many attempts.
fn longest(attempts: u32) -> Duration {
    FIRST.saturating_mul(1 << (attempts - 1).min(10)).min(LONGEST)
}

/// A part of the longest wait, by a random number over all its range.
fn jittered(longest: Duration, random: u32) -> Duration {
    longest.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Without randomness every wait is as long as it may be.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        let waits: Vec<u128> = (1..8).map(|n| longest(n).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(jittered(LONGEST, 0), Duration::ZERO);
        assert_eq!(jittered(LONGEST, u32::MAX), LONGEST);
    }

    #[test]
    fn it_ends() {
        let mut backoff = Backoff::new();
        let waits = std::iter::from_fn(|| backoff.next()).count();
        assert_eq!(waits, ATTEMPTS as usize - 1);
    }
}
