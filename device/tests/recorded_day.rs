//! The recorded day that is carried in the repository, by the arithmetic that the cloud and the ledger use as well.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vitro_device::recording::Recording;
use vitro_proof::senml::write_pack;
use vitro_proof::summary::{Figures, Summarizer};
use vitro_proof::{DayBounds, Decimal, DeviceId, LocalDay, SequenceNumber, ZoneName};

fn recorded(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/midc-2018-10-14").with_extension(extension)
}

#[test]
fn the_register_of_the_recorded_day_counts_3_0903_kwh() {
    let recording = Recording::read(&recorded("csv"), &recorded("toml")).unwrap();
    let thing: DeviceId = "solar-1".parse().unwrap();
    for (zone, day) in [("Etc/GMT+7", "2018-10-14"), ("Etc/GMT+7", "2026-11-22"), ("Europe/Warsaw", "2026-11-22")] {
        let (zone, day): (ZoneName, LocalDay) = (zone.parse().unwrap(), day.parse().unwrap());
        let bounds = DayBounds::of(&zone, day).unwrap();
        let samples = recording.day(None).unwrap().on(&zone, day).unwrap();
        assert_eq!(samples.len(), 1440);
        let openings = BTreeMap::new();
        let mut summarizer = Summarizer::new(&thing, recording.table(), bounds, &openings);
        for (number, sample) in samples.iter().enumerate() {
            let pack = write_pack(&thing, sample.time, &sample.readings);
            summarizer.add(SequenceNumber(number as u64), Ok(&pack));
        }
        let summaries = summarizer.finish();
        let energy = summaries.iter().find(|summary| summary.sensor.as_str() == "energy").unwrap();
        assert_eq!(energy.increase(), Some("3.0903".parse::<Decimal>().unwrap()));
        assert_eq!((energy.values, energy.missing, energy.flagged), (1440, 0, 0));
        assert_eq!(
            energy.first.as_ref().unwrap().value,
            "4.61923".parse::<Decimal>().unwrap(),
            "00:00 shows the day before"
        );
        assert!(matches!(energy.figures, Some(Figures::Counter { resets: 1, rollovers: 0, decreases: 0, .. })));
    }
}
