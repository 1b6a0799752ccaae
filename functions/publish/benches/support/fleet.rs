//! A fleet of devices with four counters and eight gauges, read once a minute, and the daily blocks that they sign.
//!
//! The readings are made up, by sums of a device's name, so that every run has the same; what is made of them is what a device makes.
//! Values are kept as integers in the last digit of their sensor.

use vitro_contract::DeviceEntry;
use vitro_proof::crypto::{SoftwareSigner, sha256};
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::summary::{self, At, Figures, GRID_SECONDS};
use vitro_proof::{
    Account, Block, BlockMessage, BlockNumber, DayBounds, Decimal, DeviceId, Envelope, Hash, LocalDay, Sensor,
    SensorKind, SensorTable, Signer, Span, Summary, UnixMillis,
};

/// Readings of a day.
const MINUTES: usize = 1_440;
/// An envelope with a pack of twelve records.
const ENVELOPE_BYTES: u64 = 420;

/// A sensor: its name, its unit, the exponent of its last digit, whether it counts. Sorted by name, as a table is.
const SENSORS: [(&str, &str, i32, bool); 12] = [
    ("current", "A", -2, false),
    ("energy-export", "kWh", -4, true),
    ("energy-import", "kWh", -4, true),
    ("energy-yield", "kWh", -4, true),
    ("humidity", "%RH", -1, false),
    ("irradiance", "W/m2", -1, false),
    ("power", "W", 0, false),
    ("temperature-module", "Cel", -1, false),
    ("temperature-outside", "Cel", -1, false),
    ("voltage-dc", "V", -1, false),
    ("voltage-l1", "V", -1, false),
    ("water", "m3", -3, true),
];

/// A device.
pub struct Device {
    /// What the operator registers.
    pub entry: DeviceEntry,
    signer: SoftwareSigner,
    number: u64,
    previous: Option<Hash>,
    next_day: LocalDay,
    /// What the sensors show, in [`SENSORS`]' order; a counter goes on from it.
    shown: [i64; 12],
    noise: u64,
}

/// A daily block that was settled: the device's message, and the account that agrees with it.
pub struct Settled {
    /// The block's number.
    pub number: BlockNumber,
    /// Its hash.
    pub hash: Hash,
    /// The message as it came.
    pub message: Vec<u8>,
    /// The operator's account.
    pub account: Account,
}

/// A day's readings, one list a minute.
pub type Readings = Vec<[i64; 12]>;

/// So many devices, whose names begin with `prefix` and whose first block is of `day`.
pub fn fleet(prefix: &str, count: usize, day: LocalDay) -> Vec<Device> {
    (0..count).map(|index| Device::new(&format!("{prefix}-{index:04}"), day)).collect()
}

fn table() -> SensorTable {
    let sensors = SENSORS.iter().map(|&(name, unit, _, counts)| Sensor {
        name: name.parse().expect("a sensor name"),
        unit: unit.to_owned(),
        kind: if counts { SensorKind::Counter { width: None, resets_normal: false } } else { SensorKind::Gauge },
    });
    SensorTable::new(1, sensors.collect()).expect("a sensor table")
}

impl Device {
    fn new(name: &str, day: LocalDay) -> Self {
        let digest = sha256(&[name.as_bytes()]);
        let signer = SoftwareSigner::from_scalar(&digest.0).expect("a digest below the order of the curve");
        let entry = DeviceEntry {
            thing: name.parse().expect("a device id"),
            public_key: signer.public_key(),
            metering_point: format!("AT-{name}").parse().expect("a metering point"),
            zone: "Europe/Vienna".parse().expect("a zone"),
            shard: "west".parse().expect("a shard"),
            tables: vec![table()],
            certificate: digest,
        };
        let noise = u64::from_be_bytes(digest.0[..8].try_into().expect("eight bytes")) | 1;
        // A meter that has counted for some years.
        let shown = [0, 81_234_567, 123_456_789, 98_765_432, 0, 0, 0, 0, 0, 0, 0, 412_345];
        Self { entry, signer, number: 0, previous: None, next_day: day, shown, noise }
    }

    /// A number from 0 to just below `below` (xorshift).
    fn noise(&mut self, below: i64) -> i64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        i64::try_from(self.noise >> 33).unwrap_or(0) % below
    }

    /// Reads every sensor once a minute for a day.
    fn read_day(&mut self) -> Readings {
        (0..MINUTES).map(|minute| self.read(i64::try_from(minute).unwrap_or(0))).collect()
    }

    fn read(&mut self, minute: i64) -> [i64; 12] {
        // Sun from six to eighteen, 1,000 at noon; clouds take up to a half.
        let height = (minute - 360) * (1_080 - minute);
        let sun = (height.max(0) * 1_000 / 129_600) * (500 + self.noise(500)) / 1_000;
        // 0.1 Wh a minute: a house of 0.2 to 3 kW, and 10 kW on its roof.
        let range = if self.noise(8) == 0 { 470 } else { 90 };
        let used = 33 + self.noise(range);
        let made = sun * 1_667 / 1_000;
        let (out, into) = ((made - used).max(0), (used - made).max(0));
        let water = if self.noise(20) == 0 { self.noise(15) } else { 0 };
        let power = (into - out) * 6;
        let voltage = 2_300 + self.noise(80);
        let outside = 40 + sun / 12 + self.noise(6);
        let last = self.shown;
        self.shown = [
            power.abs() * 1_000 / voltage,
            last[1] + out,
            last[2] + into,
            last[3] + made,
            850 - sun / 3 + self.noise(20),
            sun * 10 + self.noise(10),
            power,
            outside + sun / 4,
            outside,
            if sun > 0 { 6_000 + self.noise(900) } else { 0 },
            voltage,
            last[11] + water,
        ];
        self.shown
    }

    /// The next day's block and account.
    pub fn settle_day(&mut self) -> Settled {
        let opening = self.opening();
        let (day, bounds) = (self.next_day, self.bounds());
        let readings = self.read_day();
        let summaries = summary::encode(&summaries(opening.as_ref(), &readings, bounds));
        let digest =
            |part: &str| sha256(&[part.as_bytes(), self.entry.thing.as_str().as_bytes(), &self.number.to_be_bytes()]);
        let salt: [u8; 16] = digest("salt").0[..16].try_into().expect("sixteen bytes");
        let count = MINUTES as u64;
        let block = Block {
            thing: self.entry.thing.clone(),
            previous: self.previous.unwrap_or(Hash([0; 32])),
            span: Span::Daily { previous_daily: self.previous },
            day,
            zone: self.entry.zone.clone(),
            bounds,
            first: self.number * count,
            count,
            // Nobody here asks for an envelope of the day: any root is as good.
            root: digest("root"),
            bytes: ENVELOPE_BYTES * count,
            units: count,
            table_version: 1,
            summaries_digest: summary::digest(&salt, &summaries),
        };
        let number = BlockNumber(self.number);
        let message = BlockMessage::seal(number, &block, salt, summaries, &self.signer).expect("a signature");
        let hash = Envelope::parse(&message.envelope).expect("an envelope").hash();
        let account = Account {
            thing: block.thing,
            day,
            block: Some(number),
            first: block.first,
            count,
            root: block.root,
            summaries_digest: block.summaries_digest,
            healed: vec![],
            missing: vec![],
        };
        self.number += 1;
        self.previous = Some(hash);
        self.next_day = day.next().expect("a day after it");
        Settled { number, hash, message: message.encode(), account }
    }

    /// What the counters showed at the end of the day before; nothing on the first day.
    fn opening(&self) -> Option<[i64; 12]> {
        self.previous.map(|_| self.shown)
    }

    fn bounds(&self) -> DayBounds {
        DayBounds::of(&self.entry.zone, self.next_day).expect("a day of the zone")
    }
}

fn at(bounds: DayBounds, minute: usize) -> UnixMillis {
    UnixMillis((bounds.from + i64::try_from(minute * 60).unwrap_or(0)) * 1_000)
}

/// Sums a day up, in integers: a thousand days in a moment, also without optimization. That it is what the summarizer computes from
/// the packs is for a test to show.
fn summaries(opening: Option<&[i64; 12]>, readings: &Readings, bounds: DayBounds) -> Vec<Summary> {
    let slot_minutes = usize::try_from(GRID_SECONDS / 60).unwrap_or(1);
    let last_minute = readings.len() - 1;
    let sensors = SENSORS.iter().enumerate();
    sensors
        .map(|(index, &(name, unit, exponent, counter))| {
            let decimal = |mantissa: i64| Decimal::new(mantissa, exponent);
            let values = || readings.iter().map(|minute| minute[index]);
            let value = |minute: usize| At { time: at(bounds, minute), value: decimal(readings[minute][index]) };
            let opening = opening.filter(|_| counter).map(|shown| shown[index]);
            let figures = if counter {
                let mut grid = vec![0; summary::grid_slots(bounds)];
                let (mut before, mut largest) = (opening.unwrap_or(readings[0][index]), 0);
                for (minute, shown) in values().enumerate() {
                    grid[minute / slot_minutes] += shown - before;
                    largest = largest.max(shown - before);
                    before = shown;
                }
                Figures::Counter {
                    increase: decimal(grid.iter().sum()),
                    resets: 0,
                    rollovers: 0,
                    decreases: 0,
                    largest_step: decimal(largest),
                    grid: grid.into_iter().map(decimal).collect(),
                }
            } else {
                Figures::Gauge {
                    min: decimal(values().min().unwrap_or(0)),
                    max: decimal(values().max().unwrap_or(0)),
                    sum: decimal(values().sum()),
                }
            };
            Summary {
                sensor: name.parse().expect("a sensor name"),
                unit: unit.to_owned(),
                counter,
                values: readings.len() as u64,
                missing: 0,
                flagged: 0,
                first: Some(value(0)),
                last: Some(value(last_minute)),
                opening: opening.map(decimal),
                figures: Some(figures),
            }
        })
        .collect()
}

/// A device's day summed up as [`Device::settle_day`] does, and as the summarizer does from the packs, as the bytes that are signed.
pub fn summed_up_twice(device: &mut Device) -> (Vec<u8>, Vec<u8>) {
    let (opening, bounds) = (device.opening(), device.bounds());
    let (thing, table): (DeviceId, SensorTable) = (device.entry.thing.clone(), table());
    let openings = opening.iter().flat_map(|shown| {
        SENSORS.iter().zip(shown).filter(|(sensor, _)| sensor.3).map(|(&(name, _, exponent, _), shown)| {
            (name.parse().expect("a sensor name"), Decimal::new(*shown, exponent))
        })
    });
    let openings = openings.collect();
    let readings = device.read_day();
    let mut summarizer = summary::Summarizer::new(&thing, &table, bounds, &openings);
    for (minute, shown) in readings.iter().enumerate() {
        let readings: Vec<Reading> = SENSORS
            .iter()
            .zip(shown)
            .map(|(&(name, unit, exponent, _), shown)| Reading {
                sensor: name.parse().expect("a sensor name"),
                unit: unit.to_owned(),
                value: Some(Decimal::new(*shown, exponent)),
            })
            .collect();
        let pack = write_pack(&thing, at(bounds, minute), &readings);
        summarizer.add(vitro_proof::SequenceNumber(minute as u64), Ok(&pack));
    }
    let direct = summary::encode(&summaries(opening.as_ref(), &readings, bounds));
    (direct, summary::encode(&summarizer.finish()))
}
