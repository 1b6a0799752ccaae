//! One recorded day, laid onto a local day of a site.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use vitro_proof::senml::Reading;
use vitro_proof::{Decimal, LocalDay, SensorTable, UnixMillis, ZoneName};

use super::{Recording, Row};
use crate::error::DeviceError;

/// What the sensors of a device show at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub time: UnixMillis,
    /// A reading a sensor, in the table's order.
    pub readings: Vec<Reading>,
}

/// The rows of one recorded day, by what the wall clock showed.
#[derive(Clone, Debug)]
pub struct RecordedDay {
    table: SensorTable,
    date: Date,
    rows: Vec<Row>,
}

impl Recording {
    /// One day of the recording: the given one, or the first.
    ///
    /// # Errors
    /// [`DeviceError::Config`] if the recording has no row of that day.
    pub fn day(&self, recorded: Option<LocalDay>) -> Result<RecordedDay, DeviceError> {
        let date = match recorded {
            Some(day) => date_of(day)?,
            // Cannot fail: a recording has rows.
            None => self.rows.first().map_or(Date::MIN, |row| row.wall.date()),
        };
        let rows: Vec<Row> = self.rows.iter().filter(|row| row.wall.date() == date).cloned().collect();
        if rows.is_empty() {
            return Err(DeviceError::Config(format!("the recording has no rows of {date}")));
        }
        Ok(RecordedDay { table: self.table().clone(), date, rows })
    }

    /// How many rows the recording has, of all its days.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no row; it always has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl RecordedDay {
    /// The day that was recorded.
    #[must_use]
    pub fn date(&self) -> String {
        self.date.to_string()
    }

    /// The sensor table.
    #[must_use]
    pub fn table(&self) -> &SensorTable {
        &self.table
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none, as after [`RecordedDay::until`] midnight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The day without what was recorded at this time of the wall clock or later.
    #[must_use]
    pub fn until(mut self, time: Time) -> Self {
        self.rows.retain(|row| row.wall.time() < time);
        self
    }

    /// What a site's sensors show on `day`: each row at the instant at which the site's wall clock shows the row's time. When clocks
    /// go forward, rows of the hour that is not there are left out; when they go back, an hour recorded once is taken the first time.
    ///
    /// # Errors
    /// [`DeviceError::Config`] for a zone that the tz database does not have.
    pub fn on(&self, zone: &ZoneName, day: LocalDay) -> Result<Vec<Sample>, DeviceError> {
        let date = date_of(day)?;
        let tz = zone_of(zone)?;
        let mut samples: Vec<Sample> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let wall = DateTime::from_parts(date, row.wall.time());
            let Some(time) = instant(&tz, wall, samples.last().map(|sample| sample.time)) else { continue };
            samples.push(Sample { time, readings: self.readings(&row.values) });
        }
        Ok(samples)
    }

    fn readings(&self, values: &[Option<Decimal>]) -> Vec<Reading> {
        let sensors = self.table.sensors().iter().zip(values);
        sensors
            .map(|(sensor, value)| Reading {
                sensor: sensor.name.clone(),
                unit: sensor.unit.clone(),
                value: value.clone(),
            })
            .collect()
    }
}

/// The instant at which a wall clock of the zone shows this, if it does and is later than `after`. Of two such instants the first is
/// taken, unless that is over.
fn instant(tz: &TimeZone, wall: DateTime, after: Option<UnixMillis>) -> Option<UnixMillis> {
    let at = |offset: jiff::tz::Offset| {
        let time = UnixMillis(offset.to_timestamp(wall).ok()?.as_millisecond());
        after.is_none_or(|after| time > after).then_some(time)
    };
    match tz.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset),
        AmbiguousOffset::Fold { before, after } => at(before).or_else(|| at(after)),
        AmbiguousOffset::Gap { .. } => None,
    }
}

/// The zone from the database that is built in, which `vitro-proof` bounds days by as well.
pub(crate) fn zone_of(zone: &ZoneName) -> Result<TimeZone, DeviceError> {
    TimeZoneDatabase::bundled().get(zone.as_str()).map_err(|e| DeviceError::Config(format!("time zone {zone}: {e}")))
}

fn date_of(day: LocalDay) -> Result<Date, DeviceError> {
    day.to_string().parse().map_err(|e| DeviceError::Config(format!("{day}: {e}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vitro_proof::DayBounds;

    use super::super::Columns;
    use super::*;

    const TOML: &str = "version = 1\n[[column]]\ncolumn = \"t\"\nname = \"t\"\nunit = \"Cel\"\nkind = \"gauge\"\n";

    fn recording(times: impl IntoIterator<Item = String>) -> Recording {
        let csv: String = times.into_iter().map(|time| format!("{time},1\n")).collect();
        let columns = Columns::parse(TOML, Path::new("s.toml")).unwrap();
        Recording::parse(format!("time,t\n{csv}").as_bytes(), Path::new("r.csv"), columns).unwrap()
    }

    fn minutely(offset: &str) -> Recording {
        let minute = |m: u32| format!("2018-10-14T{:02}:{:02}:00{offset}", m / 60, m % 60);
        recording((0..1440).map(minute))
    }

    fn on(recording: &Recording, zone: &str, day: &str) -> (DayBounds, Vec<i64>) {
        let (zone, day) = (zone.parse().unwrap(), day.parse().unwrap());
        let samples = recording.day(None).unwrap().on(&zone, day).unwrap();
        (DayBounds::of(&zone, day).unwrap(), samples.iter().map(|sample| sample.time.0 / 1000).collect())
    }

    #[test]
    fn wall_clock_times_are_kept_whatever_the_zones_are() {
        for offset in ["-07:00", "Z", "+13:00"] {
            for zone in ["Etc/GMT+7", "Europe/Warsaw", "Asia/Kathmandu"] {
                let (bounds, times) = on(&minutely(offset), zone, "2026-11-22");
                let expected: Vec<i64> = (0..1440).map(|m| bounds.from + m * 60).collect();
                assert_eq!(times, expected, "{offset} {zone}");
            }
        }
    }

    #[test]
    fn an_hour_that_is_not_there_is_left_out() {
        let (bounds, times) = on(&minutely("Z"), "Europe/Warsaw", "2026-03-29");
        assert_eq!(times.len(), 1380);
        assert_eq!(times, (0..1380).map(|m| bounds.from + m * 60).collect::<Vec<_>>());
    }

    #[test]
    fn an_hour_that_is_there_twice_is_taken_once_or_as_it_was_recorded() {
        let (bounds, times) = on(&minutely("Z"), "Europe/Warsaw", "2026-10-25");
        assert_eq!(times.len(), 1440);
        assert_eq!(times[179], bounds.from + 179 * 60);
        assert_eq!(times[180], bounds.from + 240 * 60, "the second 02:00 to 02:59 was not recorded");
        // Recorded on such a day: 25 hours, with both offsets.
        let local = |m: u32| {
            let (wall, offset) = if m < 180 { (m, "+02:00") } else { (m - 60, "+01:00") };
            format!("2025-10-26T{:02}:{:02}:00{offset}", wall / 60, wall % 60)
        };
        let (bounds, times) = on(&recording((0..1500).map(local)), "Europe/Warsaw", "2026-10-25");
        assert_eq!(times, (0..1500).map(|m| bounds.from + m * 60).collect::<Vec<_>>());
    }

    #[test]
    fn one_day_of_several_is_chosen() {
        let times = ["2018-10-14T23:59:00-07:00", "2018-10-15T00:00:00-07:00", "2018-10-15T00:01:00-07:00"];
        let recording = recording(times.map(str::to_owned));
        assert_eq!((recording.len(), recording.day(None).unwrap().rows.len()), (3, 1));
        assert_eq!(recording.day(Some("2018-10-15".parse().unwrap())).unwrap().rows.len(), 2);
        assert!(recording.day(Some("2018-10-16".parse().unwrap())).is_err());
    }

    #[test]
    fn an_unknown_zone_is_told() {
        let day = minutely("Z").day(None).unwrap();
        assert!(day.on(&"Mars/Base".parse().unwrap(), "2026-01-01".parse().unwrap()).is_err());
    }
}
