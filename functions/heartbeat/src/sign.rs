//! What was known of a device at an instant. Pure.

use std::collections::BTreeMap;

use vitro_cloud::devices::{Device, Status};
use vitro_cloud::readings::Reading;
use vitro_contract::{LastValue, SignOfLife};
use vitro_proof::liveness::is_silent;
use vitro_proof::senml::{self, Value};
use vitro_proof::{ContentType, DeviceId, SensorName, UnixMillis};

/// A device as signs of life need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub thing: DeviceId,
    /// Its sensors with their units, of the newest table. None of a confidential device, whose values are not to be read here.
    pub sensors: Vec<(SensorName, String)>,
}

/// Whether a device counts at an instant, as far as the registry of today tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It was there and active, so it has a sign of life.
    Counts,
    /// It was there, and suspended: what it sends is refused, so it is neither alive nor silent.
    Suspended,
    /// It was not there yet, or not any more.
    Absent,
}

/// Where a device stood at an instant.
#[must_use]
pub fn place(device: &Device, at: UnixMillis) -> Place {
    if device.enrolled_at.is_some_and(|enrolled| enrolled > at) {
        return Place::Absent;
    }
    // What ended after the instant had not ended then.
    let ended = device.suspended_at.is_none_or(|from| from <= at);
    match device.status {
        Status::Suspended if ended => Place::Suspended,
        Status::Retired if ended => Place::Absent,
        _ => Place::Counts,
    }
}

impl Member {
    /// What is needed of a registry entry.
    #[must_use]
    pub fn of(device: &Device) -> Self {
        let table = device.sensor_tables.last().filter(|_| !device.confidential);
        let sensors = table.map_or_else(Vec::new, |table| {
            table.sensors().iter().map(|sensor| (sensor.name.clone(), sensor.unit.clone())).collect()
        });
        Self { thing: device.id.clone(), sensors }
    }

    /// The sign of life at an instant. `readings` were received by then, those with the highest numbers first.
    #[must_use]
    pub fn sign(&self, at: UnixMillis, readings: &[Reading]) -> SignOfLife {
        let heard = readings.iter().map(|reading| reading.received).max();
        let values = last_values(self, readings);
        SignOfLife {
            thing: self.thing.clone(),
            alive: heard.is_some_and(|heard| !is_silent(heard, at)),
            number: readings.iter().map(|reading| reading.number().0).max(),
            heard: heard.map(|heard| heard.0),
            values,
        }
    }

    /// Whether every sensor has a value in a sign of life.
    #[must_use]
    pub fn is_whole(&self, sign: &SignOfLife) -> bool {
        sign.values.len() == self.sensors.len()
    }
}

/// Each sensor's value in the reading with the highest number that has one; within a reading the latest.
fn last_values(member: &Member, readings: &[Reading]) -> Vec<LastValue> {
    let mut found: BTreeMap<&SensorName, LastValue> = BTreeMap::new();
    for reading in readings {
        if found.len() == member.sensors.len() {
            break;
        }
        let Ok(envelope) = reading.parse() else { continue };
        if envelope.header().content != ContentType::Senml {
            continue;
        }
        let Ok(pack) = senml::read_pack(envelope.payload(), &member.thing) else { continue };
        let mut of_reading: BTreeMap<&SensorName, (UnixMillis, LastValue)> = BTreeMap::new();
        for record in pack.into_iter().flatten() {
            let known = member.sensors.iter().find(|(name, _)| name.as_str() == record.sensor);
            let Some((name, unit)) = known.filter(|(_, unit)| record.unit.as_ref() == Some(unit)) else { continue };
            let value = match record.value {
                Value::Number(number) => Some(number),
                Value::Missing => None,
                Value::Other => continue,
            };
            if of_reading.get(name).is_none_or(|(time, _)| *time <= record.time) {
                let last = LastValue { sensor: name.clone(), unit: unit.clone(), value };
                of_reading.insert(name, (record.time, last));
            }
        }
        for (name, (_, last)) in of_reading {
            found.entry(name).or_insert(last);
        }
    }
    found.into_values().collect()
}
