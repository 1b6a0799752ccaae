//! Recorded data: a CSV of `time` (RFC 3339) and one column a sensor, and the TOML beside it that says what the columns are.
//!
//! A recorded day is replayed as another local day: what the wall clock at the recording showed is what the wall clock at the site
//! shows then. Values are carried as they stand, a missing one as missing.

mod columns;
mod day;

use std::fmt;
use std::fs;
use std::path::Path;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use vitro_proof::{Decimal, SensorTable};

pub use columns::{Column, Columns};
pub use day::{RecordedDay, Sample};

use crate::error::DeviceError;
use crate::input::fits;

/// A whole recording.
#[derive(Clone, Debug)]
pub struct Recording {
    columns: Columns,
    rows: Vec<Row>,
}

/// What was recorded at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// What a wall clock at the recording showed.
    wall: DateTime,
    /// A value a sensor of the table, in the table's order; nothing where the logger marked it missing.
    values: Vec<Option<Decimal>>,
}

/// Where in a file something is wrong, and what.
struct Place<'a> {
    line: u64,
    column: &'a dyn fmt::Display,
}

impl Place<'_> {
    fn wrong(&self, path: &Path, why: &dyn fmt::Display) -> DeviceError {
        DeviceError::Recording {
            path: path.to_owned(),
            line: self.line,
            column: self.column.to_string(),
            why: why.to_string(),
        }
    }
}

impl Recording {
    /// Reads a recording and what its columns are.
    ///
    /// # Errors
    /// [`DeviceError::Recording`] names file, line and column and says what is wrong; [`DeviceError::File`] if a file cannot be read.
    pub fn read(csv: &Path, toml: &Path) -> Result<Self, DeviceError> {
        let columns = Columns::read(toml)?;
        let text = fs::read(csv).map_err(|source| DeviceError::File { path: csv.to_owned(), source })?;
        Self::parse(&text, csv, columns)
    }

    fn parse(bytes: &[u8], path: &Path, columns: Columns) -> Result<Self, DeviceError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(bytes);
        let broken = |e: &csv::Error| {
            let line = e.position().map_or(1, csv::Position::line);
            Place { line, column: &"-" }.wrong(path, &e)
        };
        let mut records = reader.records();
        let header = match records.next() {
            Some(header) => header.map_err(|e| broken(&e))?,
            None => return Err(Place { line: 1, column: &"time" }.wrong(path, &"the file is empty")),
        };
        let positions = columns.positions(&header, path)?;
        let mut rows = Vec::new();
        let mut previous = None;
        for record in records {
            let record = record.map_err(|e| broken(&e))?;
            let line = record.position().map_or(0, csv::Position::line);
            let time = record.get(0).unwrap_or_default();
            let place = Place { line, column: &"time" };
            let (wall, instant) = parse_time(time).map_err(|why| place.wrong(path, &why))?;
            if previous.is_some_and(|previous| instant <= previous) {
                return Err(place.wrong(path, &format!("{time} is not later than the row before")));
            }
            previous = Some(instant);
            let values = positions
                .iter()
                .map(|&at| {
                    let cell = record.get(at).unwrap_or_default();
                    let column = header.get(at).unwrap_or_default();
                    parse_value(cell).map_err(|why| Place { line, column: &column }.wrong(path, &why))
                })
                .collect::<Result<Vec<_>, _>>()?;
            rows.push(Row { wall, values });
        }
        if rows.is_empty() {
            return Err(Place { line: 2, column: &"time" }.wrong(path, &"there are no rows"));
        }
        Ok(Self { columns, rows })
    }

    /// The sensor table that the TOML describes.
    #[must_use]
    pub fn table(&self) -> &SensorTable {
        self.columns.table()
    }
}

/// The wall clock's date and time, and the instant in milliseconds, of an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Result<(DateTime, i64), String> {
    let wrong = || format!("{text:?} is no RFC 3339 time, as 2018-10-14T00:01:00-07:00");
    let pieces = Pieces::parse(text).map_err(|_| wrong())?;
    // RFC 3339 has no zone names, and wants time and offset.
    if pieces.time_zone_annotation().is_some() {
        return Err(wrong());
    }
    let (time, offset) = (pieces.time().ok_or_else(wrong)?, pieces.to_numeric_offset().ok_or_else(wrong)?);
    let wall = DateTime::from_parts(pieces.date(), time);
    let instant = offset.to_timestamp(wall).map_err(|e| format!("{text:?}: {e}"))?;
    if time.subsec_nanosecond() % 1_000_000 != 0 {
        return Err(format!("{text:?} is finer than a millisecond"));
    }
    Ok((wall, instant.as_millisecond()))
}

/// A cell: nothing for an empty one, else a number that the SenML profile can carry.
fn parse_value(cell: &str) -> Result<Option<Decimal>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    let value: Decimal =
        cell.parse().map_err(|_| format!("{cell:?} is no number; leave the cell empty if it is missing"))?;
    if fits(&value) {
        Ok(Some(value))
    } else {
        Err(format!("{cell} has more than 12 decimals, or more digits than 63 bits hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = r#"
        version = 2
        [[column]]
        column = "E (kWh)"
        name = "energy"
        unit = "kWh"
        kind = "counter"
        resets_normal = true
        [[column]]
        column = "T"
        name = "air"
        unit = "Cel"
        kind = "gauge"
    "#;

    fn parse(csv: &str) -> Result<Recording, String> {
        let columns = Columns::parse(TOML, Path::new("s.toml")).unwrap();
        Recording::parse(csv.as_bytes(), Path::new("r.csv"), columns).map_err(|e| e.to_string())
    }

    #[test]
    fn values_stand_in_the_tables_order_and_empty_is_missing() {
        let recording =
            parse("time,E (kWh),T\n2018-10-14T00:00:00-07:00,4.61923,\n2018-10-14T00:01:00-07:00,0, -4.68\n").unwrap();
        assert_eq!(recording.table().version(), 2);
        assert_eq!(recording.table().sensors()[0].name.as_str(), "air");
        let number = |text: &str| Some(text.parse::<Decimal>().unwrap());
        assert_eq!(recording.rows[0].values, [None, number("4.61923")]);
        assert_eq!(recording.rows[1].values, [number("-4.68"), number("0")]);
        assert_eq!(recording.rows[1].wall, "2018-10-14T00:01:00".parse().unwrap());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let head = "time,E (kWh),T\n";
        for (csv, told) in [
            ("", "r.csv, line 1, column time: the file is empty"),
            (head, "r.csv, line 2, column time: there are no rows"),
            ("T,E (kWh),time\n", "line 1, column time: the first column must be `time`"),
            ("time,T\n", "line 1, column E (kWh): s.toml describes a column that is not there"),
            ("time,T,E (kWh),x\n", "line 1, column x: s.toml does not describe it"),
            ("time,T,T,E (kWh)\n", "line 1, column T: it occurs twice"),
            (&format!("{head}yesterday,1,2\n"), "line 2, column time: \"yesterday\" is no RFC 3339 time"),
            (&format!("{head}2018-10-14T00:00:00,1,2\n"), "line 2, column time"),
            (&format!("{head}2018-10-14T00:00:00Z[UTC],1,2\n"), "line 2, column time"),
            (&format!("{head}2018-10-14T00:00:00.0001Z,1,2\n"), "finer than a millisecond"),
            (
                &format!("{head}2018-10-14T00:00:00Z,1,2\n2018-10-14T00:00:00Z,1,2\n"),
                "line 3, column time: 2018-10-14T00:00:00Z is not later",
            ),
            (&format!("{head}2018-10-14T00:00:00Z,1,n/a\n"), "line 2, column T: \"n/a\" is no number"),
            (
                &format!("{head}2018-10-14T00:00:00Z,0.0000000000001,2\n"),
                "line 2, column E (kWh): 0.0000000000001 has more than 12 decimals",
            ),
            (&format!("{head}2018-10-14T00:00:00Z,9223372036854775808,2\n"), "more digits than 63 bits hold"),
            (&format!("{head}2018-10-14T00:00:00Z,1\n"), "line 2"),
        ] {
            let found = parse(csv).unwrap_err();
            assert!(found.contains(told), "{csv:?}: {found}");
        }
        assert!(parse(&format!("{head}2018-10-14T00:00:00.001Z,9223372036854775807,1e3\n")).is_ok());
    }
}
