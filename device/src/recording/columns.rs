//! The TOML beside a recording.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use vitro_proof::{Decimal, Sensor, SensorKind, SensorName, SensorTable};

use super::Place;
use crate::error::DeviceError;

/// One column of a recording: a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The column's title in the CSV.
    pub column: String,
    /// The sensor's name.
    pub name: SensorName,
    /// Its unit.
    pub unit: String,
    /// Gauge or counter.
    pub kind: Kind,
    /// A counter's register counts up to just below this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<Decimal>,
    /// A counter's register starts from zero again in normal operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_normal: Option<bool>,
}

/// What a column's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A momentary value.
    Gauge,
    /// A register that counts up.
    Counter,
}

/// The whole file: what every column of a recording is.
#[derive(Clone, Debug)]
pub struct Columns {
    path: PathBuf,
    table: SensorTable,
    /// The title of each sensor's column, in the table's order.
    titles: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    column: Vec<Spanned<Column>>,
}

impl Columns {
    /// Reads the file.
    ///
    /// # Errors
    /// [`DeviceError::Recording`] names file, line and column and says what is wrong; [`DeviceError::File`] if it cannot be read.
    pub fn read(path: &Path) -> Result<Self, DeviceError> {
        let text = fs::read_to_string(path).map_err(|source| DeviceError::File { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, DeviceError> {
        let wrong = |at: usize, why: &dyn Display| {
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() as u64 + 1;
            let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
            Place { line, column: &column }.wrong(path, why)
        };
        let file: File =
            toml::from_str(text).map_err(|e| wrong(e.span().map_or(0, |span| span.start), &e.message()))?;
        let mut titles = BTreeMap::new();
        let mut columns = BTreeMap::new();
        for column in &file.column {
            let at = column.span().start;
            let column = column.get_ref();
            if column.column == "time" {
                return Err(wrong(at, &"`time` is no sensor"));
            }
            if columns.insert(column.column.clone(), ()).is_some() {
                return Err(wrong(at, &format!("column {:?} is described twice", column.column)));
            }
            let sensor = column.sensor().map_err(|why| wrong(at, &why))?;
            // A table of the one sensor finds what is wrong with it, so that it can be told with its place.
            SensorTable::new(file.version, vec![sensor.clone()]).map_err(|e| wrong(at, &e))?;
            if titles.insert(sensor.name.clone(), (column.column.clone(), sensor)).is_some() {
                return Err(wrong(at, &format!("sensor {} is described twice", column.name)));
            }
        }
        let (titles, sensors) = titles.into_values().unzip();
        let table = SensorTable::new(file.version, sensors).map_err(|e| wrong(0, &e))?;
        Ok(Self { path: path.to_owned(), table, titles })
    }

    /// The sensor table.
    #[must_use]
    pub fn table(&self) -> &SensorTable {
        &self.table
    }

    /// Where in a row each sensor's value stands, in the table's order.
    pub(super) fn positions(&self, header: &csv::StringRecord, path: &Path) -> Result<Vec<usize>, DeviceError> {
        let toml = self.path.display();
        let wrong = |column: &str, why: &dyn Display| Place { line: 1, column: &column }.wrong(path, why);
        if header.get(0) != Some("time") {
            return Err(wrong("time", &"the first column must be `time`"));
        }
        for (at, title) in header.iter().enumerate().skip(1) {
            if header.iter().take(at).any(|earlier| earlier == title) {
                return Err(wrong(title, &"it occurs twice"));
            }
            if !self.titles.iter().any(|known| known == title) {
                return Err(wrong(title, &format!("{toml} does not describe it")));
            }
        }
        self.titles
            .iter()
            .map(|title| {
                header
                    .iter()
                    .position(|column| column == title)
                    .ok_or_else(|| wrong(title, &format!("{toml} describes a column that is not there")))
            })
            .collect()
    }
}

impl Column {
    fn sensor(&self) -> Result<Sensor, &'static str> {
        let kind = match self.kind {
            Kind::Gauge if self.width.is_some() || self.resets_normal.is_some() => {
                return Err("a gauge has neither `width` nor `resets_normal`");
            }
            Kind::Gauge => SensorKind::Gauge,
            Kind::Counter => SensorKind::Counter {
                width: self.width.clone(),
                resets_normal: self
                    .resets_normal
                    .ok_or("a counter says by `resets_normal` whether its register starts from zero again")?,
            },
        };
        Ok(Sensor { name: self.name.clone(), unit: self.unit.clone(), kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Columns, String> {
        Columns::parse(text, Path::new("s.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let column = |rest: &str| format!("version = 1\n\n[[column]]\ncolumn = \"a\"\nname = \"a\"\n{rest}\n");
        for (text, told) in [
            ("version = 1\n", "missing field `column`"),
            ("version = 1\ncolumn = []\n", "0 sensors"),
            ("version = 1\ncolums = []\n", "s.toml, line 2, column 1: unknown field `colums`"),
            (&column("unit = \"kWh\"\nkind = \"meter\""), "line 7, column 8: unknown variant `meter`"),
            (&column("unit = \"furlong\"\nkind = \"gauge\""), "line 3, column 1: sensor table: a: \"furlong\""),
            (&column("unit = \"Cel\"\nkind = \"gauge\"\nwidth = \"9\""), "line 3, column 1: a gauge has neither"),
            (&column("unit = \"kWh\"\nkind = \"counter\""), "line 3, column 1: a counter says"),
            (&column("unit = \"kWh\"\nkind = \"counter\"\nresets_normal = false\nwidth = \"-1\""), "width is positive"),
            (&column("unit = \"Cel\"\nkind = \"gauge\"\nreset = true"), "line 8, column 1: unknown field `reset`"),
            (
                &column(
                    "unit = \"Cel\"\nkind = \"gauge\"\n[[column]]\ncolumn = \"a\"\nname = \"b\"\nunit = \"Cel\"\nkind = \"gauge\"",
                ),
                "line 8, column 1: column \"a\" is described twice",
            ),
            (
                &column(
                    "unit = \"Cel\"\nkind = \"gauge\"\n[[column]]\ncolumn = \"b\"\nname = \"a\"\nunit = \"Cel\"\nkind = \"gauge\"",
                ),
                "line 8, column 1: sensor a is described twice",
            ),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(told), "{text}\n{found}");
        }
    }

    #[test]
    fn a_register_has_its_width() {
        let text = "version = 7\n[[column]]\ncolumn = \"m\"\nname = \"meter\"\nunit = \"m3\"\nkind = \"counter\"\nwidth = \"100000\"\nresets_normal = false\n";
        let columns = parse(text).unwrap();
        let width = Some("100000".parse().unwrap());
        assert_eq!(columns.table().sensors()[0].kind, SensorKind::Counter { width, resets_normal: false });
    }
}
