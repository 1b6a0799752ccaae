//! When a device was last asked to seal an interim block: asks for one device are answered together, and never faster than a setting.
//!
//! Two attributes of the device's row say it: `seal_asked` is when the last command to seal was decided on, `seal_ask` the ask that it
//! was decided for, until the command is on its way. So a function that dies in between sends it when the ask comes again, and an ask
//! that comes again after that does nothing. A command that is not known to be on its way answers nobody: the other asks wait for it
//! for `PATIENCE_MILLIS`, and then one of them takes the turn over.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use vitro_proof::{DeviceId, UnixMillis};

use super::Devices;
use super::table::Updated;
use crate::error::CloudError;
use crate::item::{Reader, n, s};

/// So long is a command that was decided on waited for to be on its way, in milliseconds. Signing and publishing it takes some tens.
const PATIENCE_MILLIS: i64 = 5_000;

/// What becomes of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The device is to be told to seal now.
    Now,
    /// It was told after this was asked: the block that it seals answers this ask, too.
    Covered,
    /// It was told a short while before this was asked; not before this instant again. Or another ask has the turn, and it is not known
    /// until then whether its command is on its way.
    After(UnixMillis),
}

/// An ask as the registry needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Its name.
    pub id: &'a str,
    /// When it was asked.
    pub asked: UnixMillis,
    /// Now.
    pub now: UnixMillis,
    /// The least time between two commands to one device, in milliseconds.
    pub interval: i64,
}

impl Ask<'_> {
    /// When the command is said to have been decided on: never before the ask, whatever the two clocks say.
    fn decided(&self) -> UnixMillis {
        self.now.max(self.asked)
    }

    /// A last command at or before this instant does not stand in the way.
    fn free_from(&self) -> UnixMillis {
        UnixMillis((self.now.0.saturating_sub(self.interval)).min(self.asked.0.saturating_sub(1)))
    }

    /// A last command at or before this instant that is not on its way yet never will be.
    fn stale_from(&self) -> UnixMillis {
        UnixMillis(self.now.0.saturating_sub(PATIENCE_MILLIS))
    }

    /// What becomes of the ask, by the last command and the ask that it still waits for.
    pub(crate) fn turn(&self, last: Option<UnixMillis>, pending: Option<&str>) -> Turn {
        match last {
            None => Turn::Now,
            Some(_) if pending == Some(self.id) => Turn::Now,
            Some(last) if last <= self.free_from() => Turn::Now,
            Some(last) if pending.is_some() && last <= self.stale_from() => Turn::Now,
            Some(last) if pending.is_some() => Turn::After(UnixMillis(last.0.saturating_add(PATIENCE_MILLIS))),
            Some(last) if last >= self.asked => Turn::Covered,
            Some(last) => Turn::After(UnixMillis(last.0.saturating_add(self.interval))),
        }
    }
}

/// Where it is kept who was asked when.
#[async_trait]
pub trait SealStore: Send + Sync {
    /// Whether it is an ask's turn. If so ([`Turn::Now`]) that is noted, and no other ask of this device has a turn for a while.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if the device is not registered.
    async fn take_turn(&self, thing: &DeviceId, ask: &Ask<'_>) -> Result<Turn, CloudError>;

    /// Notes that the command of an ask's turn is on its way.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn end_turn(&self, thing: &DeviceId, id: &str) -> Result<(), CloudError>;
}

#[async_trait]
impl SealStore for Devices {
    async fn take_turn(&self, thing: &DeviceId, ask: &Ask<'_>) -> Result<Turn, CloudError> {
        let update = self
            .update(thing)
            .update_expression("SET seal_asked = :decided, seal_ask = :id")
            .condition_expression(
                "attribute_exists(device) AND (attribute_not_exists(seal_asked) OR seal_asked <= :free OR seal_ask = :id \
                 OR (attribute_exists(seal_ask) AND seal_asked <= :stale))",
            )
            .expression_attribute_values(":decided", n(ask.decided().0))
            .expression_attribute_values(":free", n(ask.free_from().0))
            .expression_attribute_values(":stale", n(ask.stale_from().0))
            .expression_attribute_values(":id", s(ask.id));
        match self.send(update).await? {
            Updated::Done => Ok(Turn::Now),
            Updated::Refused(None) => Err(CloudError::NotFound(format!("the device {thing}"))),
            Updated::Refused(Some(item)) => {
                let r = Reader::new("a registry entry", &item);
                let last = r.number_opt("seal_asked")?.map(UnixMillis);
                Ok(ask.turn(last, r.text_opt("seal_ask")?))
            }
        }
    }

    async fn end_turn(&self, thing: &DeviceId, id: &str) -> Result<(), CloudError> {
        let update = self
            .update(thing)
            .update_expression("REMOVE seal_ask")
            .condition_expression("seal_ask = :id")
            .expression_attribute_values(":id", AttributeValue::S(id.to_owned()));
        self.send(update).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_seals_after_every_ask_and_not_too_often() {
        let ask = |asked, now| Ask { id: "a", asked: UnixMillis(asked), now: UnixMillis(now), interval: 20 };
        let turn = |ask: Ask<'_>, last: Option<i64>, pending| ask.turn(last.map(UnixMillis), pending);
        assert_eq!(turn(ask(100, 101), None, None), Turn::Now);
        assert_eq!(turn(ask(100, 101), Some(80), None), Turn::Now);
        // Sealed shortly before the ask: that block does not answer it, and the next one waits.
        assert_eq!(turn(ask(100, 101), Some(90), None), Turn::After(UnixMillis(110)));
        assert_eq!(turn(ask(100, 110), Some(90), None), Turn::Now);
        // Sealed after it, by whomever: answered, also long after.
        assert_eq!(turn(ask(100, 101), Some(100), None), Turn::Covered);
        assert_eq!(turn(ask(100, 900), Some(101), None), Turn::Covered);
        // Its own turn, of which nobody knows whether the command left.
        assert_eq!(turn(ask(100, 101), Some(101), Some("a")), Turn::Now);
        // Another's turn, of which nobody knows whether the command left: it answers nobody, and is waited for, but not for ever.
        assert_eq!(turn(ask(100, 101), Some(100), Some("b")), Turn::After(UnixMillis(5_100)));
        assert_eq!(turn(ask(100, 5_099), Some(100), Some("b")), Turn::After(UnixMillis(5_100)));
        assert_eq!(turn(ask(100, 5_100), Some(100), Some("b")), Turn::Now);
        let slow = |now| Ask { id: "a", asked: UnixMillis(4_000), now: UnixMillis(now), interval: 20_000 };
        assert_eq!(turn(slow(4_001), Some(100), Some("b")), Turn::After(UnixMillis(5_100)));
        assert_eq!(turn(slow(5_100), Some(100), Some("b")), Turn::Now);
        assert_eq!(turn(slow(5_100), Some(100), None), Turn::After(UnixMillis(20_100)));
        // A clock that is behind the queue's decides nothing before the ask.
        assert_eq!((ask(100, 90).decided(), ask(100, 90).free_from()), (UnixMillis(100), UnixMillis(70)));
    }
}
