//! A site with one device, and a cloud in memory that both functions of the night run on.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses its part

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::data_keys::{self, KeyRing, KeyState, KnownKeys, StoredKey};
use vitro_cloud::days::DayRow;
use vitro_cloud::devices::{Device, NewDevice};
use vitro_cloud::memory::{
    Fuse, MemoryArchive, MemoryChains, MemoryCommands, MemoryDays, MemoryDevices, MemoryOutbox, MemoryReadings, Sent,
};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::parked::Parked;
use vitro_cloud::queue::{ReconcileTask, SummarizeTask};
use vitro_cloud::readings::{Reading, ReadingKey};
use vitro_cloud::rule_event::{NewRuleEvent, RuleEvent};
use vitro_proof::command::Action;
use vitro_proof::confidential::{self, Bound, Inside, OneTime, PureDataKey, Recipient};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::envelope::seal;
use vitro_proof::reconcile::{CloudDay, DayFrame, Stored};
use vitro_proof::summary::{self, closings};
use vitro_proof::{
    Block, BlockMessage, BlockNumber, ContentType, DayBounds, Decimal, DeviceId, Envelope, Hash, Header, Kind,
    LocalDay, Reason, SensorName, SensorTable, SequenceNumber, Signer, Span, UnixMillis, ZoneName, senml,
};
use vitro_reconcile::ports::{Ports, Settings};
use vitro_reconcile::refusal::{Refusal, Refusals};
use zeroize::Zeroizing;

pub const ATTEMPTS: u32 = 3;

pub fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

pub fn zone() -> ZoneName {
    "Etc/GMT+7".parse().unwrap()
}

pub fn day(index: u8) -> LocalDay {
    LocalDay::new(2026, 1, 1 + index).unwrap()
}

pub fn signer() -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[5; 32]).unwrap()
}

/// The private data-proxy key of the tests.
fn data_key() -> Zeroizing<[u8; 32]> {
    Zeroizing::new([8; 32])
}

/// The data-proxy keys that the cloud has.
pub fn data_keys() -> KnownKeys {
    let key = StoredKey { id: "key-1".parse().unwrap(), state: KeyState::Current, scalar: data_key() };
    data_keys::fixed(&KeyRing { keys: vec![key] }.write().unwrap()).unwrap()
}

/// The same as a device knows it.
fn recipient() -> Recipient {
    Recipient::new("key-1".parse().unwrap(), PureDataKey::from_scalar(&data_key()).unwrap().public_key()).unwrap()
}

/// Randomness that need not be any in a test.
fn once(number: u64) -> OneTime {
    OneTime::new(&Zeroizing::new([7; 32]), [u8::try_from(number % 256).unwrap(); 12]).unwrap()
}

pub fn device() -> Device {
    let tables = r#"[{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"},
        {"name":"yield","unit":"kWh","kind":"counter"}]}]"#;
    NewDevice {
        id: thing(),
        replaces: None,
        public_key: signer().public_key(),
        certificate: String::new(),
        certificate_id: "cert-1".into(),
        enrolled_at: None,
        metering_point: "mp-1".into(),
        zone: zone(),
        shard: "north".into(),
        confidential: false,
        sensor_tables: serde_json::from_str(tables).unwrap(),
    }
    .into()
}

/// The device: what it has signed, day by day.
pub struct Site {
    pub envelopes: BTreeMap<u64, Vec<u8>>,
    pub blocks: Vec<BlockMessage>,
    /// Whether it encrypts its telemetry.
    pub confidential: bool,
    table: SensorTable,
    register: i64,
    daily: Option<Link>,
    previous: Hash,
}

#[derive(Clone)]
struct Link {
    hash: Hash,
    end: u64,
    openings: BTreeMap<SensorName, Decimal>,
}

/// What a test changes in a block before it is signed.
pub type Twist<'a> = &'a dyn Fn(&mut Block);

impl Site {
    pub fn new() -> Self {
        Self {
            envelopes: BTreeMap::new(),
            blocks: Vec::new(),
            confidential: false,
            table: device().sensor_tables[0].clone(),
            register: 100,
            daily: None,
            previous: Hash([0; 32]),
        }
    }

    /// Signs an envelope with readings of one instant.
    pub fn envelope(&self, number: u64, time: UnixMillis, register: i64) -> Vec<u8> {
        let readings = [("t", "Cel", Decimal::new(215, -1)), ("yield", "kWh", Decimal::new(register, -2))].map(
            |(sensor, unit, value)| senml::Reading {
                sensor: sensor.parse().unwrap(),
                unit: unit.into(),
                value: Some(value),
            },
        );
        let pack = senml::write_pack(&thing(), time, &readings);
        let (content, payload) = if self.confidential {
            let bound = Bound { thing: &thing(), number };
            let sealed = confidential::seal(Inside::Pack, &bound, &pack, &recipient(), once(number)).unwrap();
            (ContentType::Encrypted, sealed)
        } else {
            (ContentType::Senml, pack)
        };
        let header = Header { kind: Kind::Telemetry, content, kid: thing().to_string(), number };
        seal(&header, &payload, &signer()).unwrap()
    }

    /// Lives through a day: so many envelopes, then the block.
    pub fn live(&mut self, index: u8, count: u64) -> BlockMessage {
        self.live_twisted(index, count, &|_| {})
    }

    pub fn live_twisted(&mut self, index: u8, count: u64, twist: Twist<'_>) -> BlockMessage {
        let day = day(index);
        let bounds = DayBounds::of(&zone(), day).unwrap();
        let first = self.daily.as_ref().map_or(0, |link| link.end);
        for n in 0..count {
            self.register += 3;
            let time = UnixMillis((bounds.from + i64::try_from(n).unwrap() * 600) * 1000);
            let envelope = self.envelope(first + n, time, self.register);
            self.envelopes.insert(first + n, envelope);
        }
        let openings = self.daily.as_ref().map(|link| link.openings.clone()).unwrap_or_default();
        let thing = thing();
        let frame = DayFrame { thing: &thing, day, bounds, first, count, table: &self.table, openings: &openings };
        let stored = self.envelopes.range(first..first + count);
        let own = CloudDay::compute(
            &frame,
            stored.map(|(number, envelope)| Stored { number: SequenceNumber(*number), envelope }),
            &data_keys(),
        )
        .unwrap();
        let salt = [9; 16];
        let summaries = summary::encode(&own.summaries);
        let mut block = Block {
            thing: thing.clone(),
            previous: self.previous,
            span: Span::Daily { previous_daily: self.daily.as_ref().map(|link| link.hash) },
            day,
            zone: zone(),
            bounds,
            first,
            count,
            root: own.root,
            bytes: own.bytes,
            units: own.units,
            table_version: 1,
            summaries_digest: summary::digest(&salt, &summaries),
        };
        twist(&mut block);
        let (message, hash) = self.seal(&block, salt, summaries);
        self.daily = Some(Link { hash, end: first + count, openings: closings(&own.summaries) });
        message
    }

    /// Seals the open day, of which so many envelopes are there, after so many hours of it.
    pub fn seal_interim(&mut self, index: u8, count: u64, hours: i64) -> BlockMessage {
        let whole = DayBounds::of(&zone(), day(index)).unwrap();
        let bounds = DayBounds { to: whole.from + hours * 3600, ..whole };
        let first = self.daily.as_ref().map_or(0, |link| link.end);
        let openings = self.daily.as_ref().map(|link| link.openings.clone()).unwrap_or_default();
        let (thing, day) = (thing(), day(index));
        let frame = DayFrame { thing: &thing, day, bounds, first, count, table: &self.table, openings: &openings };
        let stored = self.envelopes.range(first..first + count);
        let stored = stored.map(|(number, envelope)| Stored { number: SequenceNumber(*number), envelope });
        let own = CloudDay::compute(&frame, stored, &data_keys()).unwrap();
        let (salt, summaries) = ([8; 16], summary::encode(&own.summaries));
        let block = Block {
            thing: thing.clone(),
            previous: self.previous,
            span: Span::Interim,
            day,
            zone: zone(),
            bounds,
            first,
            count,
            root: own.root,
            bytes: own.bytes,
            units: own.units,
            table_version: 1,
            summaries_digest: summary::digest(&salt, &summaries),
        };
        self.seal(&block, salt, summaries).0
    }

    fn seal(&mut self, block: &Block, salt: [u8; 16], summaries: Vec<u8>) -> (BlockMessage, Hash) {
        let number = BlockNumber(self.blocks.len() as u64);
        let message = BlockMessage::seal(number, block, salt, summaries, &signer()).unwrap();
        let hash = Envelope::parse(&message.envelope).unwrap().hash();
        self.previous = hash;
        self.blocks.push(message.clone());
        (message, hash)
    }
}

/// A stored reading of an envelope.
pub fn reading(number: u64, envelope: &[u8], received: i64) -> Reading {
    let parsed = Envelope::parse(envelope).unwrap();
    let keys = data_keys();
    let pack = confidential::pack(&parsed, &keys);
    let (times, _) = summary::inspect(pack.as_deref(), &thing(), &device().sensor_tables[0]);
    Reading {
        device: thing(),
        key: ReadingKey::new(SequenceNumber(number), &parsed.leaf()),
        envelope: envelope.to_vec(),
        time: times.map(|times| times.newest),
        received: UnixMillis(received),
        flags: BTreeSet::new(),
        expires: None,
    }
}

/// The rule event of a message on one of the device's topics.
pub fn event(level: &str, envelope: &[u8]) -> RuleEvent {
    let topic = format!("vitro/acme/{}/{level}", thing());
    let body = NewRuleEvent {
        envelope,
        thing: "dev-1",
        topic: &topic,
        client: Some("dev-1"),
        principal: Some("cert-1"),
        received: 1_700_000_000_000,
    };
    RuleEvent::parse(body.to_body()).unwrap()
}

pub fn block_event(message: &BlockMessage) -> RuleEvent {
    event("block", &message.encode())
}

/// The same of a confidential device.
pub fn confidential_block_event(message: &BlockMessage) -> RuleEvent {
    event("block", &message.conceal(&thing(), &recipient(), once(0)).unwrap().encode())
}

/// Refused messages and parked rows.
#[derive(Clone, Default)]
pub struct Kept {
    pub refused: Arc<Mutex<Vec<&'static str>>>,
    pub parked: Arc<Mutex<BTreeMap<(String, String), Parked>>>,
}

#[async_trait]
impl Refusals for Kept {
    async fn refuse(&self, _event: &RuleEvent, refusal: &Refusal) -> Result<(), CloudError> {
        self.refused.lock().unwrap().push(refusal.reason());
        Ok(())
    }

    async fn park(&self, row: Parked) -> Result<(), CloudError> {
        self.parked.lock().unwrap().entry((row.reason.clone(), row.id.clone())).or_insert(row);
        Ok(())
    }
}

/// The cloud: one set of stores, both functions of the night.
pub struct Cloud {
    pub fuse: Fuse,
    pub days: MemoryDays,
    pub archive: MemoryArchive,
    pub chains: MemoryChains,
    pub outbox: MemoryOutbox,
    pub commands: MemoryCommands,
    pub devices: MemoryDevices,
    pub readings: MemoryReadings,
    pub kept: Kept,
    pub clock: Arc<FixedClock>,
    pub reconcile: Ports,
    pub summarize: vitro_summarize::ports::Ports,
}

impl Cloud {
    pub fn new() -> Self {
        let fuse = Fuse::default();
        let days = MemoryDays::new(fuse.clone());
        let archive = MemoryArchive::new(fuse.clone());
        let chains = MemoryChains::new(fuse.clone(), &[thing()]);
        let outbox = MemoryOutbox::new(fuse.clone());
        let commands = MemoryCommands::new(fuse.clone());
        let devices = MemoryDevices::new(fuse.clone(), [device()]);
        let readings = MemoryReadings::new(fuse.clone());
        let kept = Kept::default();
        let clock = Arc::new(FixedClock::new(UnixMillis(1_768_000_000_000)));
        let reconcile = Ports {
            devices: Box::new(devices.clone()),
            status: Box::new(devices.clone()),
            seals: Box::new(devices.clone()),
            readings: Box::new(readings.clone()),
            days: Box::new(days.clone()),
            chains: Box::new(chains.clone()),
            archive: Box::new(archive.clone()),
            data_keys: Box::new(data_keys()),
            outbox: Box::new(outbox.clone()),
            commands: Box::new(commands.clone()),
            refusals: Box::new(kept.clone()),
            clock: Box::new(clock.clone()),
            metrics: Mutex::new(Metrics::new("vitro-acme-test")),
            stack: "vitro-acme-test".into(),
            settings: Settings { settle_seconds: 120, backfill_attempts: ATTEMPTS, seal_seconds: 20 },
        };
        let summarize = vitro_summarize::ports::Ports {
            devices: Box::new(devices.clone()),
            readings: Box::new(readings.clone()),
            days: Box::new(days.clone()),
            chains: Box::new(chains.clone()),
            archive: Box::new(archive.clone()),
            data_keys: Box::new(data_keys()),
            outbox: Box::new(outbox.clone()),
            clock: Box::new(clock.clone()),
            deadline_hours: 6,
        };
        Self { fuse, days, archive, chains, outbox, commands, devices, readings, kept, clock, reconcile, summarize }
    }

    pub fn row(&self, index: u8) -> DayRow {
        self.days.row(&thing(), day(index)).unwrap()
    }

    /// Stores what the device sent, but for some numbers.
    pub fn store(&self, site: &Site, lost: &[u64]) {
        for (number, envelope) in site.envelopes.iter().filter(|(number, _)| !lost.contains(number)) {
            self.readings.put(reading(*number, envelope, 1000));
        }
    }

    /// Lets the device answer the backfill commands that were sent; one that does not obey answers none.
    pub fn answer(&self, site: &Site, obeys: bool) -> Vec<Action> {
        let sent = self.commands.take();
        for command in &sent {
            if let (Action::Backfill(ranges), true) = (&command.action, obeys) {
                for number in ranges.iter().flat_map(|(from, to)| *from..=*to) {
                    self.readings.put(reading(number, &site.envelopes[&number], 2000));
                }
            }
        }
        sent.into_iter().map(|command| command.action).collect()
    }
}

/// A message on its way.
#[derive(Clone, Debug)]
pub enum Message {
    Event(RuleEvent),
    Summarize(SummarizeTask),
    Reconcile(ReconcileTask),
}

impl Message {
    pub fn all_of(sent: Sent) -> Vec<Self> {
        let summarize = sent.summarize.into_iter().map(|(task, _)| Self::Summarize(task));
        summarize.chain(sent.reconcile.into_iter().map(Self::Reconcile)).collect()
    }
}

impl Cloud {
    /// Delivers one message, as its function would handle it.
    pub async fn deliver(&self, message: &Message) -> Result<(), CloudError> {
        match message {
            Message::Event(event) => self.reconcile.take_block(event).await.map(|_| ()),
            Message::Summarize(SummarizeTask::Day(task)) => self.summarize.summarize(task).await.map(|_| ()),
            Message::Summarize(SummarizeTask::Deadline(task)) => self.summarize.deadline(task).await.map(|_| ()),
            Message::Reconcile(task) => self.reconcile.settle(task).await.map(|_| ()),
        }
    }

    /// Delivers messages, and those that follow from them, until there are none. Gives what was sent to publish and to the device.
    pub async fn run(&self, site: &Site, obeys: bool, messages: Vec<Message>) -> (usize, Vec<Action>) {
        let mut waiting = std::collections::VecDeque::from(messages);
        let (mut published, mut actions) = (0, Vec::new());
        let mut steps = 0;
        while let Some(message) = waiting.pop_front() {
            steps += 1;
            assert!(steps < 500, "the night does not end");
            self.deliver(&message).await.unwrap();
            actions.extend(self.answer(site, obeys));
            let sent = self.outbox.take();
            published += sent.publish.len();
            waiting.extend(Message::all_of(sent));
        }
        (published, actions)
    }
}
