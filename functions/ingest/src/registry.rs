//! The registry as this instance remembers it, with what it has learnt of each device itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use vitro_cloud::CloudError;
use vitro_cloud::devices::{Mark, Registered};
use vitro_proof::{DayBounds, DeviceId, LocalDay, ProofError, SequenceNumber, UnixMillis};

use crate::decide;
use crate::store::Store;

/// A remembered entry is good for so long, in milliseconds. A suspension must hold within 60 seconds of its instant; the rest of them is for
/// the way of a message from the broker to here.
pub(crate) const MAX_AGE: i64 = 45_000;
/// Nothing is refused on an entry older than this: the operator may just have changed it.
pub(crate) const FRESH: i64 = 5_000;
/// So many devices are remembered at most.
const REMEMBERED: usize = 10_000;
/// So many days of a device are remembered at most.
const DAYS: usize = 8;

struct Entry {
    registered: Rc<Registered>,
    read_at: UnixMillis,
    /// The registry's mark, or a newer one that this instance has set.
    mark: Option<Mark>,
    /// The highest number that this instance has stored.
    highest: Option<SequenceNumber>,
    /// The day that was computed last.
    day: Option<(LocalDay, DayBounds)>,
    /// The ranges of numbers that `days` is known to hold.
    noted: BTreeMap<LocalDay, (u64, u64)>,
}

#[derive(Default)]
pub(crate) struct Registry {
    entries: RefCell<HashMap<DeviceId, Entry>>,
}

impl Registry {
    /// Makes sure that entries are not older than `max_age`. Those that could not be read are in the answer. Who is not registered is
    /// not remembered: a device may be registered just before it speaks.
    pub(crate) async fn load(
        &self,
        store: &impl Store,
        ids: &BTreeSet<DeviceId>,
        max_age: i64,
        now: UnixMillis,
    ) -> BTreeMap<DeviceId, Rc<CloudError>> {
        let wanted: Vec<DeviceId> = ids.iter().filter(|id| !self.is_younger(id, max_age, now)).cloned().collect();
        if wanted.is_empty() {
            return BTreeMap::new();
        }
        let mut failed = BTreeMap::new();
        match store.devices(&wanted).await {
            Err(error) => {
                let error = Rc::new(error);
                failed.extend(wanted.into_iter().map(|id| (id, Rc::clone(&error))));
            }
            Ok(mut found) => {
                let mut entries = self.entries.borrow_mut();
                if entries.len() + wanted.len() > REMEMBERED {
                    entries.retain(|id, _| ids.contains(id));
                }
                for id in wanted {
                    match found.remove(&id).map(|device| device.and_then(Registered::new)) {
                        None => _ = entries.remove(&id),
                        Some(Ok(registered)) => remember(&mut entries, id, registered, now),
                        Some(Err(error)) => _ = failed.insert(id, Rc::new(error)),
                    }
                }
            }
        }
        failed
    }

    fn is_younger(&self, id: &DeviceId, max_age: i64, now: UnixMillis) -> bool {
        // A clock that was set back makes an entry old, not young.
        self.entries.borrow().get(id).is_some_and(|entry| (0..max_age).contains(&(now.0 - entry.read_at.0)))
    }

    /// Whether there is an entry, but one that is older.
    pub(crate) fn is_older(&self, id: &DeviceId, age: i64, now: UnixMillis) -> bool {
        self.entries.borrow().contains_key(id) && !self.is_younger(id, age, now)
    }

    /// The entry is read again before the device's next message; what this instance learnt of it is lost.
    pub(crate) fn forget(&self, id: &DeviceId) {
        self.entries.borrow_mut().remove(id);
    }

    pub(crate) fn get(&self, id: &DeviceId) -> Option<Rc<Registered>> {
        self.entries.borrow().get(id).map(|entry| Rc::clone(&entry.registered))
    }

    pub(crate) fn mark(&self, id: &DeviceId) -> Option<Mark> {
        self.entries.borrow().get(id).and_then(|entry| entry.mark)
    }

    pub(crate) fn set_mark(&self, id: &DeviceId, mark: Mark) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(id) {
            entry.mark = Some(entry.mark.map_or(mark, |known| known.merged(&mark)));
        }
    }

    pub(crate) fn must_look_up(&self, id: &DeviceId, number: SequenceNumber, received: UnixMillis) -> bool {
        let entries = self.entries.borrow();
        let entry = entries.get(id);
        let (mark, highest) = entry.map_or((None, None), |entry| (entry.mark.as_ref(), entry.highest));
        decide::must_look_up(number, received, mark, highest)
    }

    /// Whether the number is at or below what is known to have been stored.
    pub(crate) fn is_old(&self, id: &DeviceId, number: SequenceNumber) -> bool {
        let entries = self.entries.borrow();
        entries.get(id).is_some_and(|entry| entry.highest.max(entry.mark.map(|mark| mark.number)) >= Some(number))
    }

    pub(crate) fn stored(&self, id: &DeviceId, number: SequenceNumber) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(id) {
            entry.highest = entry.highest.max(Some(number));
        }
    }

    /// The local day of an instant at the device's site.
    pub(crate) fn day_of(&self, registered: &Registered, instant: UnixMillis) -> Result<LocalDay, ProofError> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&registered.device.id);
        if let Some((day, bounds)) = entry.as_ref().and_then(|entry| entry.day)
            && bounds.contains(instant)
        {
            return Ok(day);
        }
        let computed = decide::day_of(&registered.device.zone, instant)?;
        if let Some(entry) = entry {
            entry.day = Some(computed);
        }
        Ok(computed.0)
    }

    /// The range that `days` should hold if it does not hold these numbers yet.
    pub(crate) fn to_note(&self, id: &DeviceId, day: LocalDay, low: u64, high: u64) -> Option<(u64, u64)> {
        let entries = self.entries.borrow();
        match entries.get(id).and_then(|entry| entry.noted.get(&day)) {
            Some((noted_low, noted_high)) if *noted_low <= low && high <= *noted_high => None,
            Some((noted_low, noted_high)) => Some((low.min(*noted_low), high.max(*noted_high))),
            None => Some((low, high)),
        }
    }

    pub(crate) fn noted(&self, id: &DeviceId, day: LocalDay, range: (u64, u64)) {
        if let Some(entry) = self.entries.borrow_mut().get_mut(id) {
            if entry.noted.len() >= DAYS {
                entry.noted.clear();
            }
            entry.noted.insert(day, range);
        }
    }
}

/// Takes an entry that was just read; what the instance learnt itself stays.
fn remember(entries: &mut HashMap<DeviceId, Entry>, id: DeviceId, registered: Registered, now: UnixMillis) {
    let registered = Rc::new(registered);
    let mark = registered.device.mark;
    match entries.get_mut(&id) {
        Some(entry) => {
            if entry.registered.device.zone != registered.device.zone {
                (entry.day, entry.noted) = (None, BTreeMap::new());
            }
            entry.mark = match (entry.mark, mark) {
                (Some(known), Some(read)) => Some(known.merged(&read)),
                (known, read) => read.or(known),
            };
            (entry.registered, entry.read_at) = (registered, now);
        }
        None => {
            let entry = Entry { registered, read_at: now, mark, highest: None, day: None, noted: BTreeMap::new() };
            entries.insert(id, entry);
        }
    }
}
