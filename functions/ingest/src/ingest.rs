//! A batch, from the queue's records to its answer. The rules are elsewhere; this is their order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream;
use vitro_cloud::admission::{self, Refusal};
use vitro_cloud::batch::{BatchResponse, SqsEvent};
use vitro_cloud::config::StackName;
use vitro_cloud::data_keys::KnownKeys;
use vitro_cloud::devices::Registered;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::quarantine::QuarantineCap;
use vitro_cloud::readings::{Reading, ReadingKey};
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::{Clock, CloudError};
use vitro_proof::confidential::{self, DataKeys};
use vitro_proof::{DeviceId, Kind, Leaf, LocalDay, Reason, UnixMillis, summary};

use crate::config::Config;
use crate::decide::{self, Known, Verdict};
use crate::lookup::Lookups;
use crate::plan::{Admitted, Keep, Opened, Plan, Refused, Sign, Storing};
use crate::registry::{FRESH, MAX_AGE, Registry};
use crate::results::{Done, Results, log_redelivered};
use crate::store::Store;
use crate::times;

/// Writes of refusals in flight at once.
const PARALLEL: usize = 8;

/// Takes batches in. Remembers the registry and what it has stored between them.
pub struct Ingest<S, C> {
    pub(crate) store: S,
    clock: C,
    stack: StackName,
    hot_days: u16,
    pub(crate) failures_to_suspend: usize,
    pub(crate) registry: Registry,
    pub(crate) cap: RefCell<QuarantineCap>,
}

/// Numbers of closed days under which the time series holds nothing: it may have forgotten them.
fn forgotten(admitted: &[Admitted<'_>], lookups: &Lookups) -> BTreeMap<DeviceId, BTreeSet<u64>> {
    let mut numbers: BTreeMap<DeviceId, BTreeSet<u64>> = BTreeMap::new();
    for Admitted { opened, registered, .. } in admitted {
        let number = opened.number();
        if registered.device.is_closed(number) && lookups.at(&opened.device, number).is_ok_and(<[Known]>::is_empty) {
            numbers.entry(opened.device.clone()).or_default().insert(number.0);
        }
    }
    numbers
}

impl<S: Store, C: Clock> Ingest<S, C> {
    /// Nothing remembered yet.
    #[must_use]
    pub fn new(store: S, clock: C, config: &Config) -> Self {
        Self {
            store,
            clock,
            stack: config.stack.clone(),
            hot_days: config.hot_days,
            failures_to_suspend: config.failures_to_suspend,
            registry: Registry::default(),
            cap: RefCell::default(),
        }
    }

    /// The time by this function's clock.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// Takes a batch in. The answer names the messages that have to come again; the metrics count the others.
    pub async fn handle(&self, event: SqsEvent) -> (BatchResponse, Metrics) {
        let again = log_redelivered(&event.records);
        let (ids, bodies): (Vec<_>, Vec<_>) = event.records.into_iter().map(|r| (r.message_id, r.body)).unzip();
        let mut results = Results::new(ids);
        let mut events = Vec::with_capacity(bodies.len());
        for (index, body) in bodies.into_iter().enumerate() {
            match RuleEvent::parse(body) {
                Ok(event) => events.push((index, event)),
                Err(error) => results.fail(index, Rc::new(error)),
            }
        }
        let plan = self.decide(&events, &mut results).await;
        self.carry_out(plan, &mut results).await;
        let mut metrics = Metrics::new(&self.stack);
        if again > 0 {
            metrics.count("Redelivered", again);
        }
        let response = results.finish(&mut metrics);
        (response, metrics)
    }

    async fn decide<'e>(&self, events: &'e [(usize, RuleEvent)], results: &mut Results) -> Plan<'e> {
        let mut plan = Plan::default();
        let mut opened = Vec::with_capacity(events.len());
        for (index, event) in events {
            let form = admission::open(&event.envelope, Kind::Telemetry).and_then(|envelope| {
                let device = event.thing.parse().map_err(|_| Refusal::UnknownDevice)?;
                Ok(Opened { index: *index, event, envelope, device })
            });
            match form {
                Ok(message) => opened.push(message),
                Err(refusal) => plan.refused.push(Refused::stranger(*index, event, refusal)),
            }
        }
        let (mut admitted, forged) = self.admit(opened, &mut plan, results).await;
        let keys = self.data_keys(&mut admitted, results).await;
        let mut lookups = Lookups::of(&self.store, &self.wanted(&admitted, &forged)).await;
        self.refresh_closed(&mut admitted, &lookups).await;
        lookups.add_archived(&self.store, &forgotten(&admitted, &lookups)).await;
        // In one order, whatever the batch's: of two envelopes under one number the first received comes first.
        admitted.sort_by(|a, b| {
            let key = |m: &Admitted<'_>| (m.opened.number(), m.opened.event.received, m.leaf);
            a.opened.device.cmp(&b.opened.device).then_with(|| key(a).cmp(&key(b)))
        });
        for message in admitted {
            self.decide_number(message, &keys, &mut lookups, &mut plan, results);
        }
        for message in forged {
            match lookups.at(&message.device, message.number()) {
                Ok(known) => {
                    let refusal = decide::forged(message.envelope.signature(), known);
                    // In a flood nobody looks whether it is an altered copy, and then the device is not to blame.
                    if refusal == Refusal::BadSignature && self.is_looked_up(&message) {
                        plan.charge(&message.device, message.index).failures.insert(message.event.id());
                    }
                    plan.refused.push(Refused::stranger(message.index, message.event, refusal));
                }
                Err(error) => results.fail(message.index, error),
            }
        }
        plan.date_charges(events);
        plan
    }

    /// Identity and signature. Gives what verifies, and what has a bad signature; other refusals go into the plan.
    async fn admit<'e>(
        &self,
        mut opened: Vec<Opened<'e>>,
        plan: &mut Plan<'e>,
        results: &mut Results,
    ) -> (Vec<Admitted<'e>>, Vec<Opened<'e>>) {
        let ids: BTreeSet<DeviceId> = opened.iter().map(|message| message.device.clone()).collect();
        let unread = self.registry.load(&self.store, &ids, MAX_AGE, self.now()).await;
        opened.retain(|message| match unread.get(&message.device) {
            Some(error) => {
                results.fail(message.index, Rc::clone(error));
                false
            }
            None => true,
        });
        let check = |message: &Opened<'e>| -> Result<(Rc<Registered>, Leaf), Refusal> {
            let registered = self.registry.get(&message.device).ok_or(Refusal::UnknownDevice)?;
            admission::identify(message.event, message.envelope.header(), Some(&registered.device))?;
            let leaf = admission::verify(&message.envelope, &registered.key)?;
            admission::check_confidential(message.envelope.header(), &registered.device)?;
            Ok((registered, leaf))
        };
        let mut checked: Vec<_> = opened.iter().map(&check).collect();
        // Who is not registered was looked for just now; what is remembered may have changed.
        let doubtful: BTreeSet<DeviceId> = opened
            .iter()
            .zip(&checked)
            .filter(|(message, check)| check.is_err() && self.registry.is_older(&message.device, FRESH, self.now()))
            .map(|(message, _)| message.device.clone())
            .collect();
        let unread = self.registry.load(&self.store, &doubtful, FRESH, self.now()).await;
        for (message, slot) in opened.iter().zip(&mut checked) {
            if slot.is_err() && doubtful.contains(&message.device) {
                *slot = check(message);
            }
        }
        let (mut admitted, mut forged) = (Vec::with_capacity(opened.len()), Vec::new());
        for (message, check) in opened.into_iter().zip(checked) {
            match (check, unread.get(&message.device)) {
                (Ok((registered, leaf)), _) => admitted.push(Admitted { opened: message, registered, leaf }),
                (Err(_), Some(error)) => results.fail(message.index, Rc::clone(error)),
                (Err(Refusal::BadSignature), None) => forged.push(message),
                (Err(refusal), None) => plan.refused.push(Refused::stranger(message.index, message.event, refusal)),
            }
        }
        (admitted, forged)
    }

    /// The data-proxy keys of confidential messages, which have to come again if those cannot be read. Of a key that nobody has, the
    /// content is flagged; the message is stored as any other.
    async fn data_keys(&self, admitted: &mut Vec<Admitted<'_>>, results: &mut Results) -> KnownKeys {
        let ids = admitted.iter().filter_map(|message| confidential::recipient(&message.opened.envelope));
        let ids: BTreeSet<String> = ids.map(str::to_owned).collect();
        if ids.is_empty() {
            return KnownKeys::default();
        }
        match self.store.data_keys(&ids).await {
            Ok(keys) => keys,
            Err(error) => {
                let error = Rc::new(error);
                admitted.retain(|message| {
                    let is_confidential = confidential::recipient(&message.opened.envelope).is_some();
                    if is_confidential {
                        results.fail(message.opened.index, Rc::clone(&error));
                    }
                    !is_confidential
                });
                KnownKeys::default()
            }
        }
    }

    /// The numbers to look up. A flood of bad signatures is not looked up for ever.
    fn wanted(&self, admitted: &[Admitted<'_>], forged: &[Opened<'_>]) -> BTreeMap<DeviceId, BTreeSet<u64>> {
        let old = admitted
            .iter()
            .map(|message| &message.opened)
            .filter(|message| self.registry.must_look_up(&message.device, message.number(), message.event.received));
        let altered = forged.iter().filter(|message| self.is_looked_up(message));
        let mut wanted: BTreeMap<DeviceId, BTreeSet<u64>> = BTreeMap::new();
        for message in old.chain(altered) {
            wanted.entry(message.device.clone()).or_default().insert(message.number().0);
        }
        wanted
    }

    fn is_looked_up(&self, forged: &Opened<'_>) -> bool {
        self.cap.borrow().is_open(&forged.event.thing, Refusal::BadSignature.reason())
    }

    /// Whether an old number that nobody knows is late depends on which days are closed, and that may be news.
    async fn refresh_closed(&self, admitted: &mut [Admitted<'_>], lookups: &Lookups) {
        let is_news = |message: &Opened<'_>| {
            let number = message.number();
            self.registry.is_old(&message.device, number)
                && lookups.at(&message.device, number).is_ok_and(|known| known.is_empty())
        };
        let ids: BTreeSet<DeviceId> =
            admitted.iter().map(|m| &m.opened).filter(|m| is_news(m)).map(|m| m.device.clone()).collect();
        if ids.is_empty() {
            return;
        }
        // If the registry cannot be read now, what was read a minute ago at most stands.
        self.registry.load(&self.store, &ids, FRESH, self.now()).await;
        for message in admitted {
            if let Some(registered) = self.registry.get(&message.opened.device) {
                message.registered = registered;
            }
        }
    }

    fn decide_number<'e>(
        &self,
        message: Admitted<'e>,
        keys: &dyn DataKeys,
        lookups: &mut Lookups,
        plan: &mut Plan<'e>,
        results: &mut Results,
    ) {
        let Admitted { opened, registered, leaf } = message;
        let (number, received, index) = (opened.number(), opened.event.received, opened.index);
        let closed = registered.device.is_closed(number);
        let known = match lookups.at(&opened.device, number) {
            Ok(known) => known,
            Err(error) => return results.fail(index, error),
        };
        if known.iter().any(|known| known.pending.is_none()) {
            self.registry.stored(&opened.device, number);
        }
        let verdict = decide::number(leaf, received, closed, known);
        if let Some(both) = decide::both_received(&verdict, leaf, received, known) {
            plan.charge(&opened.device, index).equivocations.push((number, both));
        }
        let signature = *opened.envelope.signature();
        let this = Known { leaf, signature, received, pending: Some(index) };
        if let Verdict::Refuse(refusal) = verdict {
            let first = known.iter().find(|known| Some(known.leaf) == refusal.contradicts());
            let after = first.and_then(|known| known.pending);
            let device = opened.device.clone();
            let refused = Refused { after, ..self.apart(opened, &registered, keys, leaf, refusal) };
            if matches!(refused.keep, Keep::Evidence(_)) {
                lookups.note(&device, number, this);
            }
            return plan.refused.push(refused);
        }
        if verdict == Verdict::Duplicate {
            tracing::info!(reason = "duplicate", device = %opened.device, number = number.0, %leaf, "known already");
            return results.done(index, Done::Duplicate);
        }
        let reading = match self.reading(&opened, &registered, keys, leaf) {
            Ok((reading, day)) => Storing { index, reading, day },
            Err(error) => return results.fail(index, Rc::new(error)),
        };
        if verdict == Verdict::Again {
            results.done(index, Done::Stored { flagged: !reading.reading.flags.is_empty() });
            plan.signs.push(Sign::of(&reading));
            return;
        }
        lookups.note(&opened.device, number, this);
        plan.storing.push(reading);
    }

    /// What is stored of a message, and the day that it is noted under.
    fn reading(
        &self,
        opened: &Opened<'_>,
        registered: &Registered,
        keys: &dyn DataKeys,
        leaf: Leaf,
    ) -> Result<(Reading, LocalDay), CloudError> {
        let (device, envelope, received) = (&registered.device, &opened.envelope, opened.event.received);
        let pack = confidential::pack(envelope, keys);
        let (times, faults) = summary::inspect(pack.as_deref(), &device.id, device.sensor_table()?);
        let time = times.map(|times| times.newest);
        let day = self.registry.day_of(registered, decide::instant_of(time, received, self.hot_days))?;
        let mark = self.registry.mark(&device.id);
        let clock = times::faults(times, opened.number(), received, device.enrolled_at, mark.as_ref());
        let reading = Reading {
            device: device.id.clone(),
            key: ReadingKey::new(opened.number(), &leaf),
            envelope: envelope.bytes().to_vec(),
            time,
            received,
            flags: faults
                .iter()
                .map(Reason::reason)
                .chain(clock.iter().map(Reason::reason))
                .map(str::to_owned)
                .collect(),
            expires: Some(decide::expires(received, self.hot_days)),
        };
        Ok((reading, day))
    }

    /// A well-signed message that is not stored as a reading of its number.
    fn apart<'e>(
        &self,
        opened: Opened<'e>,
        registered: &Registered,
        keys: &dyn DataKeys,
        leaf: Leaf,
        refusal: Refusal,
    ) -> Refused<'e> {
        let number = opened.number();
        let mut detail = serde_json::json!({ "number": number.0, "leaf": leaf.to_string() });
        let mut keep = Keep::Quarantined;
        if let Refusal::Equivocation { known } = &refusal {
            detail["known"] = known.to_string().into();
            // A closed day takes no more items, and a leaf with the same beginning would overwrite the first envelope.
            let same_key = ReadingKey::new(number, known) == ReadingKey::new(number, &leaf);
            if !registered.device.is_closed(number)
                && !same_key
                && let Ok((reading, _)) = self.reading(&opened, registered, keys, leaf)
            {
                keep = Keep::Evidence(Box::new(reading));
            }
        }
        Refused { index: opened.index, event: opened.event, refusal, detail: detail.to_string(), keep, after: None }
    }

    async fn carry_out(&self, plan: Plan<'_>, results: &mut Results) {
        let Plan { refused, storing, mut signs, charges } = plan;
        let storing = self.note_days(storing, results).await;
        let (readings, indices): (Vec<Reading>, Vec<(usize, Sign)>) =
            storing.into_iter().map(|s| (s.index, Sign::of(&s), s.reading)).map(|(i, sign, r)| (r, (i, sign))).unzip();
        let written = self.store.write(&readings).await;
        for ((reading, (index, sign)), result) in readings.iter().zip(indices).zip(written) {
            match result {
                Ok(()) => {
                    self.registry.stored(&reading.device, reading.number());
                    results.done(index, Done::Stored { flagged: !reading.flags.is_empty() });
                    signs.push(sign);
                }
                Err(error) => results.fail(index, Rc::new(error)),
            }
        }
        let mut standing = Vec::with_capacity(refused.len());
        for refused in refused {
            match refused.after.and_then(|first| results.failure(first)) {
                Some(error) => results.fail(refused.index, error),
                None => standing.push(refused),
            }
        }
        let refusals = stream::iter(&standing)
            .map(|refused| async move { (refused.index, self.refuse(refused).await) })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        for (index, refusal) in refusals {
            match refusal {
                Ok(done) => results.done(index, done),
                Err(error) => results.fail(index, Rc::new(error)),
            }
        }
        self.move_marks(signs, results).await;
        self.act_on(charges, results).await;
    }

    /// Widens the days' ranges. What cannot be noted is not stored now.
    async fn note_days(&self, storing: Vec<Storing>, results: &mut Results) -> Vec<Storing> {
        let mut ranges: BTreeMap<(&DeviceId, LocalDay), (u64, u64)> = BTreeMap::new();
        for message in &storing {
            let (low, high) = decide::cover(message.reading.number());
            let range = ranges.entry((&message.reading.device, message.day)).or_insert((low, high));
            *range = (range.0.min(low), range.1.max(high));
        }
        let to_note = ranges.into_iter().filter_map(|((device, day), (low, high))| {
            let range = self.registry.to_note(device, day, low, high)?;
            Some((device.clone(), day, range))
        });
        let noted = stream::iter(to_note)
            .map(|(device, day, range)| async move {
                let noted = self.store.note_seen(&device, day, range.0, range.1).await;
                (device, day, range, noted)
            })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        let mut failed: BTreeMap<(DeviceId, LocalDay), Rc<CloudError>> = BTreeMap::new();
        for (device, day, range, noted) in noted {
            match noted {
                Ok(()) => self.registry.noted(&device, day, range),
                Err(error) => _ = failed.insert((device, day), Rc::new(error)),
            }
        }
        if failed.is_empty() {
            return storing;
        }
        let is_noted = |message: &Storing| match failed.get(&(message.reading.device.clone(), message.day)) {
            Some(error) => {
                results.fail(message.index, Rc::clone(error));
                false
            }
            None => true,
        };
        let mut is_noted = is_noted;
        storing.into_iter().filter(|message| is_noted(message)).collect()
    }

    /// Moves the marks of the devices that were heard. A mark that cannot be moved is moved when its message comes again.
    async fn move_marks(&self, signs: Vec<Sign>, results: &mut Results) {
        let mut by_device: BTreeMap<&DeviceId, Vec<&Sign>> = BTreeMap::new();
        for sign in signs.iter().filter(|sign| results.failure(sign.index).is_none()) {
            by_device.entry(&sign.device).or_default().push(sign);
        }
        let moves = by_device.into_iter().filter_map(|(device, signs)| {
            let known = self.registry.mark(device);
            let mark = decide::moved_mark(known.as_ref(), signs.iter().map(|sign| &sign.message))?;
            let newest = signs.iter().max_by_key(|sign| sign.message.1)?.index;
            Some((device, mark, newest))
        });
        let moved = stream::iter(moves)
            .map(|(device, mark, newest)| async move { (device, newest, self.store.move_mark(device, mark).await) })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        for (device, newest, moved) in moved {
            match moved {
                Ok(Some(mark)) => self.registry.set_mark(device, mark),
                Ok(None) => {}
                Err(error) => results.fail(newest, Rc::new(error)),
            }
        }
    }
}
