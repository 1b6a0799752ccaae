//! What a night shows against a device: two blocks under one number, or two envelopes. Both are signed with its key, so the key was
//! cloned or the device was set back to an older state, and it is suspended; who is right is for an operator to find out.
//!
//! The evidence is kept before the device is suspended, and both may be done again with the same effect.

use vitro_cloud::CloudError;
use vitro_cloud::devices::{Cause, Suspension, suspend_by_rule};
use vitro_cloud::readings::Reading;
use vitro_cloud::rule_event::RuleEvent;
use vitro_proof::{Block, BlockMessage, DeviceId, Envelope, SequenceNumber, UnixMillis};

use crate::ports::Ports;

impl Ports {
    /// Suspends the device of a verified block that is a fork. The numbers before the block's run are believed: the chain up to
    /// there has one history.
    pub(crate) async fn charge_fork(&self, event: &RuleEvent) -> Result<(), CloudError> {
        let (Ok(thing), Some(first)) = (event.thing.parse::<DeviceId>(), first_number(&event.envelope)) else {
            return Ok(());
        };
        self.charge(&thing, first, event.received).await
    }

    /// Suspends a device of whose day several envelopes have one number: so many instances of ingest may have taken them that none
    /// saw both.
    pub(crate) async fn charge_equivocal(&self, thing: &DeviceId, readings: &[Reading]) -> Result<(), CloudError> {
        match equivocal(readings) {
            Some((lowest, received)) => self.charge(thing, lowest.0, received).await,
            None => Ok(()),
        }
    }

    async fn charge(&self, thing: &DeviceId, lowest: u64, received: UnixMillis) -> Result<(), CloudError> {
        let last_good = lowest.checked_sub(1).map(SequenceNumber);
        let suspension = Suspension { at: received, last_good, cause: Cause::Equivocation };
        let (status, outbox) = (self.status.as_ref(), self.outbox.as_ref());
        suspend_by_rule(status, outbox, thing, &suspension, received).await.map(|_| ())
    }
}

/// The first number of a block message's run.
fn first_number(message: &[u8]) -> Option<u64> {
    let message = BlockMessage::decode(message).ok()?;
    let envelope = Envelope::parse(&message.envelope).ok()?;
    Block::decode(envelope.payload()).ok().map(|block| block.first)
}

/// The lowest number with several envelopes, and when the newest of those that came second was received. `readings` are in order of
/// number and of received time.
fn equivocal(readings: &[Reading]) -> Option<(SequenceNumber, UnixMillis)> {
    let several = || readings.chunk_by(|a, b| a.number() == b.number()).filter(|of_number| of_number.len() > 1);
    let lowest = several().map(|of_number| of_number[0].number()).min()?;
    let received = several().filter_map(|of_number| of_number.iter().map(|reading| reading.received).max()).max()?;
    Some((lowest, received))
}

#[cfg(test)]
mod tests {
    use vitro_cloud::readings::ReadingKey;
    use vitro_proof::Leaf;

    use super::*;

    fn reading(number: u64, leaf: u8, received: i64) -> Reading {
        Reading {
            device: "dev-1".parse().unwrap(),
            key: ReadingKey::new(SequenceNumber(number), &Leaf([leaf; 32])),
            envelope: Vec::new(),
            time: None,
            received: UnixMillis(received),
            flags: std::collections::BTreeSet::new(),
            expires: None,
        }
    }

    #[test]
    fn several_envelopes_under_one_number_are_found() {
        assert_eq!(equivocal(&[]), None);
        assert_eq!(equivocal(&[reading(1, 1, 10), reading(2, 2, 20)]), None);
        let readings = [
            reading(1, 1, 10),
            reading(4, 1, 20),
            reading(4, 2, 70),
            reading(9, 1, 30),
            reading(9, 2, 60),
            reading(10, 1, 99),
        ];
        assert_eq!(equivocal(&readings), Some((SequenceNumber(4), UnixMillis(70))));
    }

    #[test]
    fn only_a_block_message_has_a_first_number() {
        assert_eq!(first_number(b"garbage"), None);
    }
}
