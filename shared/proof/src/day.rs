//! Local days of a site, as intervals of Unix time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{BlockFault, ProofError};
use crate::ids::UnixMillis;

/// A day of the site's calendar, written YYYY-MM-DD. Years 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalDay {
    year: u16,
    month: u8,
    day: u8,
}

impl LocalDay {
    /// The day by its parts.
    ///
    /// # Errors
    /// [`ProofError::BadName`] if the calendar has no such day.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, ProofError> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let length = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 0,
        };
        if (1970..=9999).contains(&year) && (1..=length).contains(&day) {
            Ok(Self { year, month, day })
        } else {
            Err(ProofError::BadName { what: "day", text: format!("{year:04}-{month:02}-{day:02}") })
        }
    }

    /// Year, month and day.
    #[must_use]
    pub fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// The day after, or nothing after 9999-12-31.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::new(self.year, self.month, self.day + 1)
            .or_else(|_| Self::new(self.year, self.month + 1, 1))
            .or_else(|_| Self::new(self.year + 1, 1, 1))
            .ok()
    }

    /// The day before, or nothing before 1970-01-01.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        if self.day > 1 {
            return Self::new(self.year, self.month, self.day - 1).ok();
        }
        let (year, month) = if self.month > 1 { (self.year, self.month - 1) } else { (self.year - 1, 12) };
        (28..=31).rev().find_map(|day| Self::new(year, month, day).ok())
    }
}

impl FromStr for LocalDay {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ProofError::BadName { what: "day", text: text.chars().take(40).collect() };
        let b = text.as_bytes();
        if b.len() != 10 || b[4] != b'-' || b[7] != b'-' {
            return Err(bad());
        }
        let number = |range: std::ops::Range<usize>| -> Result<u16, ProofError> {
            let digits = &b[range];
            if !digits.iter().all(u8::is_ascii_digit) {
                return Err(bad());
            }
            Ok(digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')))
        };
        // Two digits fit a byte.
        #[allow(clippy::cast_possible_truncation)]
        Self::new(number(0..4)?, number(5..7)? as u8, number(8..10)? as u8)
    }
}

impl fmt::Display for LocalDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for LocalDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for LocalDay {
    type Error = ProofError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LocalDay> for String {
    fn from(day: LocalDay) -> Self {
        day.to_string()
    }
}

/// The name of an IANA time zone, for example `Etc/GMT+7` or `Europe/Warsaw`. Whether the tz database has it is checked where a
/// day is computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName(String);

impl ZoneName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = ProofError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fine = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(ProofError::BadName { what: "time zone", text: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ZoneName {
    type Error = ProofError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(zone: ZoneName) -> Self {
        zone.0
    }
}

/// The interval [from, to) of a day in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DayBounds {
    /// The first second of the day.
    pub from: i64,
    /// The first second after it.
    pub to: i64,
}

impl DayBounds {
    /// A daily block's interval: 22 to 26 hours, whatever the zone does that day.
    ///
    /// # Errors
    /// [`BlockFault::BadLength`].
    pub fn check_daily(self) -> Result<(), BlockFault> {
        let length = self.to.saturating_sub(self.from);
        if (22 * 3600..=26 * 3600).contains(&length) { Ok(()) } else { Err(BlockFault::BadLength(length)) }
    }

    /// An interim block's interval: part of a day, so not empty and at most 26 hours.
    ///
    /// # Errors
    /// [`BlockFault::BadLength`].
    pub fn check_interim(self) -> Result<(), BlockFault> {
        let length = self.to.saturating_sub(self.from);
        if (1..=26 * 3600).contains(&length) { Ok(()) } else { Err(BlockFault::BadLength(length)) }
    }

    /// Whether the instant lies in the interval.
    #[must_use]
    pub fn contains(self, time: UnixMillis) -> bool {
        (self.from..self.to).contains(&time.seconds())
    }
}

#[cfg(feature = "zones")]
mod zones {
    use jiff::civil::Date;
    use jiff::tz::{TimeZone, TimeZoneDatabase};

    use super::{DayBounds, LocalDay, ZoneName};
    use crate::error::ProofError;
    use crate::ids::UnixMillis;

    fn zone(name: &ZoneName) -> Result<TimeZone, ProofError> {
        // The bundled database alone: a machine's own zone files could differ between device and cloud.
        TimeZoneDatabase::bundled()
            .get(name.as_str())
            .map_err(|e| ProofError::BadZone { zone: name.to_string(), detail: e.to_string() })
    }

    impl DayBounds {
        /// The interval of a local day in a zone, from its first instant to the next day's first instant.
        ///
        /// # Errors
        /// [`ProofError::BadZone`] if the tz database has no such zone or cannot place the day.
        pub fn of(name: &ZoneName, day: LocalDay) -> Result<Self, ProofError> {
            let bad = |detail: String| ProofError::BadZone { zone: name.to_string(), detail };
            let zone = zone(name)?;
            let start = |day: LocalDay| -> Result<i64, ProofError> {
                let (year, month, date) = day.parts();
                #[allow(clippy::cast_possible_wrap)] // years end at 9999, months and days are small
                let civil = Date::new(year as i16, month as i8, date as i8).map_err(|e| bad(e.to_string()))?;
                let zoned = civil.to_zoned(zone.clone()).map_err(|e| bad(e.to_string()))?;
                Ok(zoned.timestamp().as_second())
            };
            let next = day.next().ok_or_else(|| bad("the calendar ends".to_owned()))?;
            Ok(Self { from: start(day)?, to: start(next)? })
        }
    }

    impl LocalDay {
        /// The local day in which an instant lies.
        ///
        /// # Errors
        /// [`ProofError::BadZone`] if the tz database has no such zone or the instant is out of its range.
        pub fn at(name: &ZoneName, time: UnixMillis) -> Result<Self, ProofError> {
            let bad = |detail: String| ProofError::BadZone { zone: name.to_string(), detail };
            let zone = zone(name)?;
            let date = jiff::Timestamp::from_millisecond(time.0).map_err(|e| bad(e.to_string()))?.to_zoned(zone).date();
            let part = |n: i8| u8::try_from(n).map_err(|e| bad(e.to_string()));
            let year = u16::try_from(date.year()).map_err(|e| bad(e.to_string()))?;
            Self::new(year, part(date.month())?, part(date.day())?)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn hours(zone: &str, day: &str) -> i64 {
            let bounds = DayBounds::of(&zone.parse().unwrap(), day.parse().unwrap()).unwrap();
            (bounds.to - bounds.from) / 3600
        }

        #[test]
        fn days_are_as_long_as_the_zone_makes_them() {
            assert_eq!(hours("Etc/GMT+7", "2018-10-14"), 24);
            assert_eq!(hours("Europe/Warsaw", "2026-03-29"), 23);
            assert_eq!(hours("Europe/Warsaw", "2026-10-25"), 25);
            assert!(DayBounds::of(&"Mars/Base".parse().unwrap(), "2026-01-01".parse().unwrap()).is_err());
        }

        #[test]
        fn an_instant_lies_in_its_own_day() {
            let zone: ZoneName = "Etc/GMT+7".parse().unwrap();
            let day: LocalDay = "2018-10-14".parse().unwrap();
            let bounds = DayBounds::of(&zone, day).unwrap();
            assert_eq!(bounds.from, 1_539_500_400);
            assert_eq!(LocalDay::at(&zone, UnixMillis(bounds.from * 1000)).unwrap(), day);
            assert_eq!(LocalDay::at(&zone, UnixMillis(bounds.to * 1000 - 1)).unwrap(), day);
            assert_eq!(LocalDay::at(&zone, UnixMillis(bounds.to * 1000)).unwrap(), day.next().unwrap());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_the_calendar() {
        let walk = |text: &str| text.parse::<LocalDay>().unwrap().next().unwrap().to_string();
        assert_eq!(walk("2024-02-28"), "2024-02-29");
        assert_eq!(walk("2023-02-28"), "2023-03-01");
        assert_eq!(walk("2026-12-31"), "2027-01-01");
        for bad in ["2023-02-29", "2023-13-01", "2023-1-01", "23-01-01", "2023-00-10", "+023-01-01", "1969-12-31"] {
            assert!(bad.parse::<LocalDay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn previous_undoes_next() {
        let mut day: LocalDay = "2023-12-25".parse().unwrap();
        for _ in 0..800 {
            let next = day.next().unwrap();
            assert_eq!(next.previous(), Some(day));
            assert!(next > day);
            day = next;
        }
    }

    #[test]
    fn a_daily_interval_has_22_to_26_hours() {
        for (hours, good) in [(21, false), (22, true), (26, true), (27, false), (-24, false)] {
            assert_eq!(DayBounds { from: 0, to: hours * 3600 }.check_daily().is_ok(), good);
        }
        assert!(DayBounds { from: i64::MIN, to: i64::MAX }.check_daily().is_err());
    }

    #[test]
    fn an_interim_interval_is_part_of_a_day() {
        for (seconds, good) in [(0, false), (1, true), (26 * 3600, true), (26 * 3600 + 1, false), (-1, false)] {
            assert_eq!(DayBounds { from: 7, to: 7 + seconds }.check_interim().is_ok(), good);
        }
        assert!(DayBounds { from: i64::MAX, to: i64::MIN }.check_interim().is_err());
    }
}
