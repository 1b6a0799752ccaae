//! The manifest as a file: CSV, JSON or TOML, read whole or not at all. Whatever is wrong is told with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vitro_cloud::manifest::Expected;
use vitro_contract::{MeteringPoint, Shard};
use vitro_proof::chain::Serial;
use vitro_proof::{DeviceId, LocalDay, PublicKey, SensorTable, UnixMillis, ZoneName};

use crate::commands::device::read_sensors;
use crate::error::CliError;
use crate::files;

/// No more faults than this are told at once.
const TOLD: usize = 20;

/// A device as the file has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    thing: String,
    metering_point: String,
    shard: String,
    zone: String,
    /// The sensor table itself, or a file with it, as seen from the manifest.
    sensors: Sensors,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    serial: Option<String>,
    #[serde(default)]
    confidential: bool,
    #[serde(default)]
    replaces: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sensors {
    File(PathBuf),
    Table(SensorTable),
}

/// A row of a CSV file, where everything is text and what is empty is not there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    thing: String,
    metering_point: String,
    shard: String,
    zone: String,
    sensors: PathBuf,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    serial: Option<String>,
    #[serde(default)]
    confidential: Option<bool>,
    #[serde(default)]
    replaces: Option<String>,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        Self {
            thing: row.thing,
            metering_point: row.metering_point,
            shard: row.shard,
            zone: row.zone,
            sensors: Sensors::File(row.sensors),
            public_key: row.public_key,
            serial: row.serial,
            confidential: row.confidential.unwrap_or_default(),
            replaces: row.replaces,
        }
    }
}

/// Reads a manifest. Nothing is given if anything is wrong with any of it.
///
/// # Errors
/// [`CliError::File`]; [`CliError::Malformed`] names every line that is wrong, and why.
pub(super) fn read(path: &Path, now: UnixMillis) -> Result<Vec<Expected>, CliError> {
    let what = || path.display().to_string();
    let text = files::read(path)?;
    let entries = match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => csv_entries(&text),
        Some("json") => json_entries(&text),
        Some("toml") => toml_entries(&text),
        _ => return Err(CliError::Usage(format!("{}: a manifest is a .csv, .json or .toml file", path.display()))),
    };
    let entries = entries.map_err(|detail| CliError::malformed(what(), detail))?;
    if entries.is_empty() {
        return Err(CliError::malformed(what(), "it names no device"));
    }
    let mut check = Check { folder: path.parent().unwrap_or(Path::new("")), now, tables: BTreeMap::new() };
    let (mut expected, mut faults) = (Vec::new(), Vec::new());
    let (mut names, mut points, mut keys) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (line, entry) in entries {
        match entry.and_then(|entry| check.expected(entry)) {
            Ok(entry) => {
                if let Some(first) = names.insert(entry.thing.clone(), line) {
                    faults.push(format!("line {line}: {} is on line {first} already", entry.thing));
                }
                // One device serves a metering point at a time.
                if let Some(first) = points.insert(entry.metering_point.clone(), line) {
                    faults.push(format!("line {line}: {} is on line {first} already", entry.metering_point));
                }
                if let Some(first) = entry.public_key.and_then(|key| keys.insert(*key.as_bytes(), line)) {
                    faults.push(format!("line {line}: its public_key is on line {first} already"));
                }
                expected.push(entry);
            }
            Err(fault) => faults.push(format!("line {line}: {fault}")),
        }
    }
    if faults.is_empty() {
        return Ok(expected);
    }
    let more = faults.len().saturating_sub(TOLD);
    faults.truncate(TOLD);
    if more > 0 {
        faults.push(format!("and {more} more"));
    }
    Err(CliError::malformed(what(), faults.join("; ")))
}

/// Each device with the line that it begins on; what cannot be read as a device is told in its place.
type Entries = Vec<(usize, Result<Entry, String>)>;

fn csv_entries(text: &str) -> Result<Entries, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| format!("line 1: {error}"))?.clone();
    let mut entries = Vec::new();
    for record in reader.records() {
        let at = |position: Option<&csv::Position>| {
            position.and_then(|position| usize::try_from(position.line()).ok()).unwrap_or_default()
        };
        match record {
            Ok(record) => {
                let entry = record.deserialize::<Row>(Some(&header)).map(Entry::from);
                entries.push((at(record.position()), entry.map_err(|error| plain(&error))));
            }
            Err(error) => entries.push((at(error.position()), Err(plain(&error)))),
        }
    }
    Ok(entries)
}

/// An error of a record without the place, which is told already.
fn plain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} fields, and the header {expected_len}")
        }
        _ => error.to_string(),
    }
}

fn json_entries(text: &str) -> Result<Entries, String> {
    // It is JSON at all: the error says where it is not.
    serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).map_err(|error| error.to_string())?;
    let read = |(start, part): (usize, &str)| {
        let line = 1 + text[..start].matches('\n').count();
        (line, serde_json::from_str::<Entry>(part).map_err(|error| without_place(&error)))
    };
    Ok(elements(text).into_iter().map(read).collect())
}

fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(text, _)| text.to_owned())
}

/// The elements of an array that is known to be JSON, each with where it begins.
fn elements(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0usize, None);
    let (mut in_text, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        let ends = match byte {
            b'[' | b'{' => {
                depth += 1;
                false
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                depth == 0
            }
            b',' => depth == 1,
            _ => false,
        };
        in_text = byte == b'"';
        if ends {
            found.extend(start.take().map(|start| (start, &text[start..at])));
        } else if start.is_none() && !byte.is_ascii_whitespace() && (depth > 1 || depth == 1 && byte != b'[') {
            start = Some(at);
        }
    }
    found
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlFile {
    device: Vec<toml::Spanned<toml::Table>>,
}

fn toml_entries(text: &str) -> Result<Entries, String> {
    let file: TomlFile = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
        line.map_or_else(|| error.message().to_owned(), |line| format!("line {line}: {}", error.message()))
    })?;
    let read = |table: toml::Spanned<toml::Table>| {
        let line = 1 + text[..table.span().start].matches('\n').count();
        (line, table.into_inner().try_into::<Entry>().map_err(|error| error.message().to_owned()))
    };
    Ok(file.device.into_iter().map(read).collect())
}

/// Checks entries one by one; a sensor table that many share is read once.
struct Check<'a> {
    folder: &'a Path,
    now: UnixMillis,
    tables: BTreeMap<PathBuf, SensorTable>,
}

impl Check<'_> {
    fn expected(&mut self, entry: Entry) -> Result<Expected, String> {
        fn named<T, E: std::fmt::Display>(name: &str, result: Result<T, E>) -> Result<T, String> {
            result.map_err(|error| format!("{name}: {error}"))
        }
        let thing: DeviceId = named("thing", entry.thing.parse())?;
        let metering_point: MeteringPoint = named("metering_point", entry.metering_point.parse())?;
        let shard: Shard = named("shard", entry.shard.parse())?;
        let zone: ZoneName = named("zone", entry.zone.parse())?;
        // The tz database must have the zone.
        named("zone", LocalDay::at(&zone, self.now))?;
        let replaces = entry.replaces.map(|name| named("replaces", name.parse::<DeviceId>())).transpose()?;
        if replaces.as_ref() == Some(&thing) {
            return Err("replaces: a device cannot replace itself".into());
        }
        Ok(Expected {
            thing,
            metering_point: metering_point.to_string(),
            zone,
            shard: shard.to_string(),
            sensor_table: self.table(entry.sensors)?,
            public_key: entry.public_key.as_deref().map(key).transpose()?,
            serial: entry.serial.as_deref().map(serial).transpose()?,
            confidential: entry.confidential,
            replaces,
            imported_at: self.now,
        })
    }

    fn table(&mut self, sensors: Sensors) -> Result<SensorTable, String> {
        let file = match sensors {
            Sensors::Table(table) => return Ok(table),
            Sensors::File(file) => self.folder.join(file),
        };
        if let Some(known) = self.tables.get(&file) {
            return Ok(known.clone());
        }
        let table = read_sensors(&file).map_err(|error| format!("sensors: {error}"))?;
        self.tables.insert(file, table.clone());
        Ok(table)
    }
}

/// A public key: the uncompressed point in hex.
fn key(text: &str) -> Result<PublicKey, String> {
    let bytes = hex::decode(text).map_err(|error| format!("public_key: {error}"))?;
    let key = PublicKey::from_sec1(&bytes).map_err(|error| format!("public_key: {error}"))?;
    vitro_proof::crypto::P256Key::new(&key).map_err(|error| format!("public_key: {error}"))?;
    Ok(key)
}

/// A serial number as certificates print it: hex, with or without colons; kept as the trust store compares it.
fn serial(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    let even = if digits.len().is_multiple_of(2) { digits } else { format!("0{digits}") };
    even.parse::<Serial>().map(|serial| serial.to_string()).map_err(|error| format!("serial: {error}"))
}

#[cfg(test)]
mod tests {
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_767_500_000_000);
    const TABLE: &str = r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#;

    fn read_as(name: &str, text: &str) -> Result<Vec<Expected>, CliError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("table.json"), TABLE).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, NOW)
    }

    fn faults(name: &str, text: &str) -> String {
        let error = read_as(name, text).unwrap_err();
        assert!(matches!(error, CliError::Malformed { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let key = SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key();
        let hex = hex::encode(key.as_bytes());
        let csv = format!(
            "thing,metering_point,shard,zone,sensors,public_key,serial,confidential,replaces\n\
             dev-1,mp-1,north,Etc/UTC,table.json,{hex},4A:0B,true,dev-0\ndev-2, mp-2, north, Etc/UTC, table.json,,,,\n"
        );
        let json = format!(
            r#"[ {{"thing":"dev-1","metering_point":"mp-1","shard":"north","zone":"Etc/UTC","sensors":{TABLE},
                 "public_key":"{hex}","serial":"004a0b","confidential":true,"replaces":"dev-0"}},
                 {{"thing":"dev-2","metering_point":"mp-2","shard":"north","zone":"Etc/UTC","sensors":"table.json"}}]"#
        );
        let toml = format!(
            "[[device]]\nthing = \"dev-1\"\nmetering_point = \"mp-1\"\nshard = \"north\"\nzone = \"Etc/UTC\"\n\
             sensors = \"table.json\"\npublic_key = \"{hex}\"\nserial = \"4a0b\"\nconfidential = true\nreplaces = \"dev-0\"\n\
             [[device]]\nthing = \"dev-2\"\nmetering_point = \"mp-2\"\nshard = \"north\"\nzone = \"Etc/UTC\"\n\
             sensors = {{ version = 1, sensors = [{{ name = \"t\", unit = \"Cel\", kind = \"gauge\" }}] }}\n"
        );
        let expected = read_as("m.csv", &csv).unwrap();
        assert_eq!(
            (expected.len(), expected[0].public_key, expected[0].serial.as_deref()),
            (2, Some(key), Some("4a0b"))
        );
        assert!(expected[0].confidential && !expected[1].confidential && expected[1].public_key.is_none());
        let replaced: Vec<_> = expected.iter().map(|entry| entry.replaces.as_ref().map(DeviceId::as_str)).collect();
        assert_eq!(replaced, [Some("dev-0"), None]);
        assert_eq!(read_as("m.json", &json).unwrap(), expected);
        assert_eq!(read_as("m.toml", &toml).unwrap(), expected);
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line() {
        let header = "thing,metering_point,shard,zone,sensors,confidential\n";
        let csv = format!(
            "{header}dev-1,mp-1,north,Etc/UTC,table.json,\na/b,mp-2,north,Etc/UTC,table.json,\n\
             dev-3,mp-3,north,Mars/Base,table.json,\ndev-4,mp-4,north,Etc/UTC,none.json,\n\
             dev-5,mp-5,north,Etc/UTC\ndev-1,mp-6,north,Etc/UTC,table.json,yes\ndev-1,mp-6,north,Etc/UTC,table.json,\n\
             dev-9,mp-6,north,Etc/UTC,table.json,\n"
        );
        let told = faults("m.csv", &csv);
        for wanted in [
            "line 3: thing",
            "line 4: zone",
            "line 5: sensors",
            "line 6: it has 4 fields",
            "line 7: ",
            "line 8: dev-1 is on line 2 already",
            "line 9: mp-6 is on line 8 already",
        ] {
            assert!(told.contains(wanted), "{wanted}: {told}");
        }
        assert!(!told.contains("line 2:"), "{told}");
        let one = r#"{"thing":"dev-1","metering_point":"m\"],[","shard":"n","zone":"Etc/UTC","sensors":"table.json"}"#;
        let json = format!("[\n{},\n{},\n{}]", one.replace("\\\"],[", "p"), one, r#"{"thing":"dev-2"}"#);
        let told = faults("m.json", &json);
        assert!(told.contains("line 3: metering_point") && told.contains("line 4: missing field"), "{told}");
        assert!(!told.contains("line 2:"), "{told}");
        let itself = one.replace("m\\\"],[", "p").replace(r#""zone""#, r#""replaces":"dev-1","zone""#);
        assert!(faults("m.json", &format!("[{itself}]")).contains("cannot replace itself"));
        let toml = "\n[[device]]\nthing = \"dev-1\"\n\n[[device]]\nthing = 7\n";
        let told = faults("m.toml", toml);
        assert!(told.contains("line 2: missing field") && told.contains("line 5: "), "{told}");
        assert!(faults("m.toml", "[[device]]\nthing =").contains("line 2"));
        assert!(faults("m.json", "[\n{]").contains("line 2"));
        assert!(faults("m.json", "[]").contains("no device"));
        assert!(matches!(read_as("m.txt", ""), Err(CliError::Usage(_))));
    }

    #[test]
    fn a_flood_of_faults_is_cut() {
        let header = "thing,metering_point,shard,zone,sensors\n";
        let told = faults("m.csv", &format!("{header}{}", "a/b,m,n,Etc/UTC,table.json\n".repeat(50)));
        assert!(told.contains("and 30 more") && !told.contains("line 40"), "{told}");
    }

    #[test]
    fn keys_and_serials_are_checked() {
        let good = hex::encode(SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key().as_bytes());
        assert!(key(&good).is_ok());
        for bad in ["", "04", &format!("04{}", "11".repeat(64)), "xyz"] {
            assert!(key(bad).is_err(), "{bad}");
        }
        assert_eq!(serial("0F"), Ok("0f".into()));
        for bad in ["", "00", "xy", &"1".repeat(41)] {
            assert!(serial(bad).is_err(), "{bad}");
        }
    }
}
