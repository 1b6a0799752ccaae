//! What was decided of a batch, on its way to be carried out.

use std::collections::BTreeMap;
use std::rc::Rc;

use vitro_cloud::admission::Refusal;
use vitro_cloud::devices::Registered;
use vitro_cloud::readings::Reading;
use vitro_cloud::rule_event::RuleEvent;
use vitro_proof::{DeviceId, Envelope, Leaf, LocalDay, SequenceNumber, UnixMillis};

use crate::evidence::Evidence;

/// A message whose form is right.
pub(crate) struct Opened<'e> {
    pub(crate) index: usize,
    pub(crate) event: &'e RuleEvent,
    pub(crate) envelope: Envelope<'e>,
    pub(crate) device: DeviceId,
}

impl Opened<'_> {
    pub(crate) fn number(&self) -> SequenceNumber {
        SequenceNumber(self.envelope.header().number)
    }
}

/// A message that verifies.
pub(crate) struct Admitted<'e> {
    pub(crate) opened: Opened<'e>,
    pub(crate) registered: Rc<Registered>,
    pub(crate) leaf: Leaf,
}

/// A message that is kept apart.
pub(crate) struct Refused<'e> {
    pub(crate) index: usize,
    pub(crate) event: &'e RuleEvent,
    pub(crate) refusal: Refusal,
    /// For people, beyond what the refusal says.
    pub(crate) detail: String,
    pub(crate) keep: Keep,
    /// The message of this batch that it contradicts: that one has to be stored first, or the two would change places.
    pub(crate) after: Option<usize>,
}

/// Where the bytes of a refused message stay.
pub(crate) enum Keep {
    /// In quarantine, within the cap of what anybody may send.
    Capped,
    /// In quarantine, whatever came before: the device signed it.
    Quarantined,
    /// In the time series, beside the envelope that has its number.
    Evidence(Box<Reading>),
}

/// A message that is about to be stored.
pub(crate) struct Storing {
    pub(crate) index: usize,
    pub(crate) reading: Reading,
    pub(crate) day: LocalDay,
}

/// A message that is in the time series: it may move its device's mark.
pub(crate) struct Sign {
    pub(crate) index: usize,
    pub(crate) device: DeviceId,
    pub(crate) message: (SequenceNumber, UnixMillis, Option<UnixMillis>),
}

/// What was decided of a batch.
#[derive(Default)]
pub(crate) struct Plan<'e> {
    pub(crate) refused: Vec<Refused<'e>>,
    pub(crate) storing: Vec<Storing>,
    pub(crate) signs: Vec<Sign>,
    /// What it shows against devices.
    pub(crate) charges: BTreeMap<DeviceId, Charge>,
}

/// What a batch shows against a device, and the messages that show it: they come again if it cannot be acted upon.
#[derive(Default)]
pub(crate) struct Charge {
    pub(crate) evidence: Evidence,
    pub(crate) indices: Vec<usize>,
}

impl Plan<'_> {
    /// What is shown against a device, by the message of this place in the batch.
    pub(crate) fn charge(&mut self, device: &DeviceId, index: usize) -> &mut Evidence {
        let charge = self.charges.entry(device.clone()).or_default();
        charge.indices.push(index);
        &mut charge.evidence
    }

    /// Notes how far the batch goes with the devices that something is shown against.
    pub(crate) fn date_charges(&mut self, events: &[(usize, RuleEvent)]) {
        for (device, charge) in &mut self.charges {
            let of_device = events.iter().filter(|(_, event)| event.thing == device.as_str());
            of_device.for_each(|(_, event)| charge.evidence.see(event.received));
        }
    }
}

impl<'e> Refused<'e> {
    /// A message that nobody vouches for.
    pub(crate) fn stranger(index: usize, event: &'e RuleEvent, refusal: Refusal) -> Self {
        Self { index, event, refusal, detail: String::new(), keep: Keep::Capped, after: None }
    }
}

impl Sign {
    pub(crate) fn of(storing: &Storing) -> Self {
        let reading = &storing.reading;
        Self {
            index: storing.index,
            device: reading.device.clone(),
            message: (reading.number(), reading.received, reading.time),
        }
    }
}
