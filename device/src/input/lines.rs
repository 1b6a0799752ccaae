//! Lines of JSON: whatever reads the sensors writes what it measured, a line a measurement.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;
use vitro_proof::senml::Reading;
use vitro_proof::{DayBounds, Decimal, LocalDay, SensorTable, UnixMillis};

use super::json::members;
use super::{Event, fits};
use crate::clock::Guard;
use crate::error::DeviceError;
use crate::link::Shared;
use crate::recording::{Sample, parse_time};

/// The longest line.
pub const MAX_LINE: usize = 64 * 1024;
/// A line may be ahead of the agent's clock by so much.
const AHEAD: Duration = Duration::from_secs(60);
/// A day is closed so long after its end, unless a line of a later day comes before.
pub const GRACE: Duration = Duration::from_secs(60);

/// What became of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines that came; empty ones do not count.
    pub lines: u64,
    /// Those that were signed and stored.
    pub stored: u64,
    /// Those that said nothing new, by `send = "on-change"`.
    pub unchanged: u64,
    /// Those that were refused: each was told, with its number.
    pub refused: u64,
}

/// What a line says: a reading a sensor that it names, in the table's order. A line without a time is of now.
///
/// # Errors
/// What is wrong with it.
pub fn parse(line: &str, table: &SensorTable, now: UnixMillis) -> Result<Sample, String> {
    let (mut time, mut written) = (None, None);
    for (name, raw) in members(line)? {
        match name.as_str() {
            "time" => time = Some(raw),
            "values" => written = Some(raw),
            _ => return Err(format!("unknown member {name:?}; `time` and `values` are known")),
        }
    }
    let time = match time {
        Some(raw) => {
            let text: String = serde_json::from_str(raw).map_err(|_| format!("time: {raw} is no text"))?;
            UnixMillis(parse_time(&text)?.1)
        }
        None => now,
    };
    if time.0.saturating_sub(millis(AHEAD)) > now.0 {
        return Err("its time is ahead of the clock".into());
    }
    let mut values = BTreeMap::new();
    for (name, raw) in members(written.ok_or("there are no `values`")?)? {
        let at = table.position(&name).ok_or_else(|| format!("{name:?} is not in the sensor table"))?;
        values.insert(at, value(raw).map_err(|why| format!("{name}: {why}"))?);
    }
    if values.is_empty() {
        return Err("it says nothing".into());
    }
    let readings = values
        .into_iter()
        .filter_map(|(at, value)| table.sensors().get(at).map(|sensor| (sensor, value)))
        .map(|(sensor, value)| Reading { sensor: sensor.name.clone(), unit: sensor.unit.clone(), value })
        .collect();
    Ok(Sample { time, readings })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A number, a number as text, or null for missing.
fn value(raw: &str) -> Result<Option<Decimal>, String> {
    let text = match raw.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => serde_json::from_str::<String>(raw).map_err(|e| e.to_string())?,
        Some(b'-' | b'0'..=b'9') => raw.to_owned(),
        _ => return Err(format!("{raw} is no number; null says that it is missing")),
    };
    let value: Decimal = text.parse().map_err(|_| format!("{raw} is no number"))?;
    if fits(&value) {
        Ok(Some(value))
    } else {
        Err(format!("{raw} has more than 12 decimals, or more digits than 63 bits hold"))
    }
}

/// Bytes as they come, in pieces of any size. What is not taken yet holds back whoever writes them.
pub type Pieces = mpsc::Receiver<io::Result<Vec<u8>>>;

/// Reads standard input in a thread of its own, since waiting for it cannot be given up.
///
/// # Errors
/// [`DeviceError::Connection`] if there is no thread to be had.
pub fn standard_input() -> Result<Pieces, DeviceError> {
    let (pieces, taken) = mpsc::channel(4);
    let read = move || {
        let mut input = io::stdin().lock();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let piece = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(buffer.get(..length).unwrap_or_default().to_vec()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            if piece.is_err() | pieces.blocking_send(piece).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".into()).spawn(read).map_err(DeviceError::Connection)?;
    Ok(taken)
}

/// Makes lines of pieces and remembers where it is, so that waiting for one can be given up and taken up again.
pub struct Lines {
    pieces: Pieces,
    piece: VecDeque<u8>,
    line: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Lines {
    /// Reads from here on.
    #[must_use]
    pub fn new(pieces: Pieces) -> Self {
        Self { pieces, piece: VecDeque::new(), line: Vec::new(), too_long: false, number: 0 }
    }

    /// The next line that is not empty, with its number; nothing at the end.
    ///
    /// # Errors
    /// [`DeviceError::Connection`] if the input breaks.
    pub async fn next(&mut self) -> Result<Option<(u64, Result<String, String>)>, DeviceError> {
        loop {
            if self.piece.is_empty() {
                match self.pieces.recv().await {
                    Some(piece) => self.piece = piece.map_err(DeviceError::Connection)?.into(),
                    // The last line may lack its end.
                    None if self.line.is_empty() && !self.too_long => return Ok(None),
                    None => {
                        if let Some(line) = self.end_of_line() {
                            return Ok(Some(line));
                        }
                    }
                }
            }
            while let Some(byte) = self.piece.pop_front() {
                if byte == b'\n' {
                    if let Some(line) = self.end_of_line() {
                        return Ok(Some(line));
                    }
                } else if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                } else {
                    self.too_long = true;
                }
            }
        }
    }

    fn end_of_line(&mut self) -> Option<(u64, Result<String, String>)> {
        let (line, too_long) = (std::mem::take(&mut self.line), std::mem::take(&mut self.too_long));
        self.number += 1;
        let text = match String::from_utf8(line) {
            _ if too_long => Err(format!("it is longer than {MAX_LINE} bytes")),
            Ok(text) if text.trim().is_empty() => return None,
            Ok(text) => Ok(text),
            Err(_) => Err("it is no UTF-8".into()),
        };
        Some((self.number, text))
    }
}

/// Says what the lines say, until they end. A bad one is told and counted, and the next one is taken.
///
/// # Errors
/// [`DeviceError`] if the input breaks, or for a zone that the tz database does not have.
pub async fn follow(
    pieces: Pieces,
    shared: &Shared,
    guard: &mut Guard,
    events: &mpsc::Sender<Event>,
    counts: &mut Counts,
) -> Result<(), DeviceError> {
    let (zone, table) = {
        let agent = shared.agent();
        (agent.zone().clone(), agent.table().clone())
    };
    let mut lines = Lines::new(pieces);
    let now = guard.ready(None).await;
    let mut day = LocalDay::at(&zone, now)?;
    let grace = millis(GRACE);
    // Days that passed while the agent was away wait a little for lines that come late.
    let mut event = Event::Before(day);
    let mut due = UnixMillis(now.0 + grace);
    loop {
        tokio::select! {
            biased;
            line = lines.next() => {
                let Some((number, line)) = line? else { break };
                counts.lines += 1;
                let now = guard.ready(None).await;
                match line.and_then(|line| parse(&line, &table, now)) {
                    Ok(sample) => {
                        if events.send(Event::Measured { sample, line: Some(number) }).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(why) => refuse(counts, number, &why),
                }
            }
            () = guard.sleep_until(due) => {
                guard.ready(None).await;
                if events.send(event).await.is_err() {
                    return Ok(());
                }
                let now = LocalDay::at(&zone, guard.now())?;
                // The clock may have gone over more than one midnight.
                event = if day < now { Event::Before(now) } else { Event::Over(day) };
                due = if day < now { due } else { UnixMillis(DayBounds::of(&zone, day)?.to * 1000 + grace) };
                day = now;
            }
        }
    }
    let now = guard.ready(None).await;
    // Nobody listens any more if this fails, and then it does not matter.
    let _ = events.send(Event::Before(LocalDay::at(&zone, now)?)).await;
    Ok(())
}

/// Tells and counts a line that is refused.
pub fn refuse(counts: &mut Counts, line: u64, why: &dyn fmt::Display) {
    counts.refused += 1;
    tracing::warn!(line, refused = counts.refused, "line refused: {why}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_330_800_000);

    fn table() -> SensorTable {
        let table = r#"{"version":1,"sensors":[{"name":"air","unit":"Cel","kind":"gauge"},
            {"name":"energy","unit":"kWh","kind":"counter"}]}"#;
        serde_json::from_str(table).unwrap()
    }

    /// Milliseconds from now on, and a value a sensor.
    type Said = (i64, Vec<(String, Option<String>)>);

    fn read(line: &str) -> Result<Said, String> {
        let sample = parse(line, &table(), NOW)?;
        let of = |reading: Reading| (reading.sensor.to_string(), reading.value.map(|value| value.to_string()));
        Ok((sample.time.0 - NOW.0, sample.readings.into_iter().map(of).collect()))
    }

    #[test]
    fn a_line_says_what_it_names_and_numbers_stay_exact() {
        let some = |text: &str| Some(text.to_owned());
        for (line, time, energy, air) in [
            (r#"{"values": {"energy": 0.1, "air": -4.669}}"#, 0, some("0.1"), some("-4.669")),
            (
                r#"{"time": "2026-11-22T08:00:00.250+01:00", "values": {"energy": null, "air": 1e3}}"#,
                250,
                None,
                some("1000"),
            ),
            // A double would have 9007199254740992 and 0.1000000000000000055.
            (
                r#"{"values": {"energy": 9007199254740993, "air": "0.100000000001"}}"#,
                0,
                some("9007199254740993"),
                some("0.100000000001"),
            ),
        ] {
            let expected = vec![("air".to_owned(), air), ("energy".to_owned(), energy)];
            assert_eq!(read(line).unwrap(), (time, expected), "{line}");
        }
        assert_eq!(read(r#"{"values": {"energy": 3}}"#).unwrap().1, [("energy".to_owned(), some("3"))]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, told) in [
            ("", "EOF"),
            ("{}", "there are no `values`"),
            (r#"{"values": {}}"#, "it says nothing"),
            (r#"{"values": [1]}"#, "it is no object"),
            (r#"{"values": {"energy": 1}, "vlaues": {}}"#, "unknown member \"vlaues\""),
            (r#"{"values": {"water": 1}}"#, "\"water\" is not in the sensor table"),
            (r#"{"values": {"energy": 1, "energy": 2}}"#, "\"energy\" stands twice"),
            (r#"{"values": {"energy": true}}"#, "energy: true is no number"),
            (r#"{"values": {"energy": "n/a"}}"#, "energy: \"n/a\" is no number"),
            (r#"{"values": {"energy": NaN}}"#, "expected value"),
            (r#"{"values": {"energy": [1]}}"#, "[1] is no number"),
            (r#"{"values": {"energy": 0.0000000000001}}"#, "more than 12 decimals"),
            (r#"{"values": {"energy": 9223372036854775808}}"#, "63 bits"),
            (r#"{"values": {"energy": 1e999}}"#, "63 bits"),
            (r#"{"values": {"energy": 1e9999}}"#, "is no number"),
            (r#"{"time": "yesterday", "values": {"energy": 1}}"#, "is no RFC 3339 time"),
            (r#"{"time": 1795330800, "values": {"energy": 1}}"#, "1795330800 is no text"),
            (r#"{"time": "2126-11-22T00:00:00Z", "values": {"energy": 1}}"#, "is ahead of the clock"),
            (r#"{"values": {"energy": 1}} {"values": {"energy": 2}}"#, "trailing characters"),
        ] {
            let found = read(line).unwrap_err();
            assert!(found.contains(told), "{line}: {found}");
        }
    }

    async fn all(input: &[u8]) -> Vec<(u64, Result<String, String>)> {
        let (sender, pieces) = mpsc::channel(1);
        let input = input.to_vec();
        tokio::spawn(async move {
            // Pieces end anywhere.
            for piece in input.chunks(7) {
                sender.send(Ok(piece.to_vec())).await.unwrap();
            }
        });
        let mut lines = Lines::new(pieces);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    #[tokio::test]
    async fn lines_are_counted_and_broken_ones_end_with_their_own() {
        let long = "x".repeat(MAX_LINE + 1);
        let input = [b"a\n\n  \nb\r\n\xff\n".to_vec(), long.into_bytes(), b"\nlast".to_vec()].concat();
        let found = all(&input).await;
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 4, 5, 6, 7]);
        assert_eq!(found[0].1, Ok("a".into()));
        assert!(found[2].1.as_ref().unwrap_err().contains("UTF-8"));
        assert!(found[3].1.as_ref().unwrap_err().contains("longer"));
        assert_eq!(found[4].1, Ok("last".into()));
        assert_eq!(all(b"").await, []);
    }

    proptest! {
        #[test]
        fn a_number_is_what_it_says(mantissa in any::<i32>(), exponent in 0i32..12) {
            let value = Decimal::new(mantissa.into(), -exponent);
            let found = read(&format!(r#"{{"values": {{"energy": {value}}}}}"#)).unwrap();
            prop_assert_eq!(&found.1, &[("energy".to_owned(), Some(value.to_string()))]);
        }

        #[test]
        fn no_line_stops_the_agent(line in "\\PC{0,80}") {
            let _ = read(&line);
        }
    }
}
