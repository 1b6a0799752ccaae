//! A device's sensor table: which sensors it has and what their numbers mean. The registry keeps every version.

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::error::ProofError;
use crate::ids::SensorName;

/// The most sensors a table may have.
pub const MAX_SENSORS: usize = 256;

/// The units that a sensor may declare, from SenML's registry: those of RFC 8428, section 12.1, the primary ones of RFC 8798 and NTU;
/// then the secondary ones of RFC 8798, and those registered after it.
pub const UNITS: &[&str] = &[
    "m", "kg", "g", "s", "A", "K", "cd", "mol", "Hz", "rad", "sr", "N", "Pa", "J", "W", "C", "V", "F", "Ohm", "S",
    "Wb", "T", "H", "Cel", "lm", "lx", "Bq", "Gy", "Sv", "kat", "m2", "m3", "l", "m/s", "m/s2", "m3/s", "l/s", "W/m2",
    "cd/m2", "bit", "bit/s", "lat", "lon", "pH", "dB", "dBW", "Bspl", "count", "/", "%", "%RH", "%EL", "EL", "1/s",
    "1/min", "beat/min", "beats", "S/m", "B", "VA", "VAs", "var", "vars", "J/m", "kg/m3", "deg", "NTU", "ms", "min",
    "h", "MHz", "kW", "kVA", "kvar", "Ah", "Wh", "kWh", "varh", "kvarh", "kVAh", "Wh/km", "KiB", "GB", "Mbit/s", "B/s",
    "MB/s", "mV", "mA", "dBm", "ug/m3", "mm/h", "m/h", "ppm", "/100", "/1000", "hPa", "mm", "cm", "km", "km/h", "ppb",
    "ppt", "VAh", "mg/l", "ug/l", "g/l",
];

/// What a sensor's numbers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SensorKind {
    /// A momentary value.
    Gauge,
    /// A register that counts up.
    Counter {
        /// The register counts from 0 up to just below this number and starts again: 100000 for five digits. Without a width, no
        /// decrease is ever taken for a rollover.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        width: Option<Decimal>,
        /// Whether the register starts from zero again in normal operation, as a daily yield does.
        #[serde(default)]
        resets_normal: bool,
    },
}

/// One sensor of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensor {
    /// Its name.
    pub name: SensorName,
    /// The unit of its values, from [`UNITS`].
    pub unit: String,
    /// What its numbers are.
    #[serde(flatten)]
    pub kind: SensorKind,
}

/// A version of a device's sensors, sorted by name. Immutable once registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawTable", into = "RawTable")]
pub struct SensorTable {
    version: u64,
    sensors: Vec<Sensor>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    version: u64,
    sensors: Vec<Sensor>,
}

impl SensorTable {
    /// Makes a table; the order of the sensors given does not matter.
    ///
    /// # Errors
    /// [`ProofError::BadSensorTable`] for no sensors or too many, a name twice, an unknown unit, or a width that is not positive.
    pub fn new(version: u64, mut sensors: Vec<Sensor>) -> Result<Self, ProofError> {
        let bad = |why: String| Err(ProofError::BadSensorTable(why));
        if sensors.is_empty() || sensors.len() > MAX_SENSORS {
            return bad(format!("{} sensors, 1 to {MAX_SENSORS} are allowed", sensors.len()));
        }
        sensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(twice) = sensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return bad(format!("{} occurs twice", twice[0].name));
        }
        for sensor in &sensors {
            if !UNITS.contains(&sensor.unit.as_str()) {
                return bad(format!("{}: {:?} is not a SenML unit", sensor.name, sensor.unit));
            }
            if let SensorKind::Counter { width: Some(width), .. } = &sensor.kind
                && (width.is_negative() || width.is_zero())
            {
                return bad(format!("{}: a register's width is positive", sensor.name));
            }
        }
        Ok(Self { version, sensors })
    }

    /// The table's version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The sensors, sorted by name.
    #[must_use]
    pub fn sensors(&self) -> &[Sensor] {
        &self.sensors
    }

    /// The same as [`SensorTable::position`], at once if it is `expected`: devices write in the order of their table.
    pub(crate) fn position_near(&self, name: &str, expected: usize) -> Option<usize> {
        match self.sensors.get(expected) {
            Some(sensor) if sensor.name.as_str() == name => Some(expected),
            _ => self.position(name),
        }
    }

    /// Where a sensor stands in [`SensorTable::sensors`].
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.sensors.binary_search_by(|sensor| sensor.name.as_str().cmp(name)).ok()
    }
}

impl TryFrom<RawTable> for SensorTable {
    type Error = ProofError;

    fn try_from(raw: RawTable) -> Result<Self, Self::Error> {
        Self::new(raw.version, raw.sensors)
    }
}

impl From<SensorTable> for RawTable {
    fn from(table: SensorTable) -> Self {
        Self { version: table.version, sensors: table.sensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_reads_from_json_and_is_sorted() {
        let json = r#"{"version":3,"sensors":[
            {"name":"yield","unit":"kWh","kind":"counter","resets_normal":true},
            {"name":"temp","unit":"Cel","kind":"gauge"},
            {"name":"meter","unit":"m3","kind":"counter","width":"100000"}]}"#;
        let table: SensorTable = serde_json::from_str(json).unwrap();
        assert_eq!(table.version(), 3);
        let names: Vec<_> = table.sensors().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["meter", "temp", "yield"]);
        assert_eq!(table.position("temp"), Some(1));
        let again: SensorTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(again, table);
    }

    #[test]
    fn a_bad_table_says_why() {
        for (json, why) in [
            (r#"{"version":0,"sensors":[]}"#, "0 sensors"),
            (r#"{"version":0,"sensors":[{"name":"a","unit":"kwh","kind":"gauge"}]}"#, "not a SenML unit"),
            (
                r#"{"version":0,"sensors":[{"name":"a","unit":"m","kind":"gauge"},{"name":"a","unit":"m","kind":"gauge"}]}"#,
                "twice",
            ),
            (r#"{"version":0,"sensors":[{"name":"a","unit":"m","kind":"counter","width":"0"}]}"#, "positive"),
        ] {
            let error = serde_json::from_str::<SensorTable>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
