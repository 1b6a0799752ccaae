//! Where a parked entry came from, and so what looking at it again means.

use vitro_cloud::parked::Parked;
use vitro_proof::{BlockNumber, DeviceId, LocalDay};

/// Where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A message whose whole event lies in quarantine: bucket and key.
    Event(String, String),
    /// A day that the ledger refused.
    Ledger(DeviceId, LocalDay),
    /// An interim block that the ledger refused.
    Interim(DeviceId, BlockNumber),
    /// A shard's hour that the ledger refused.
    Hour(String, i64),
    /// A device's status that could not be applied.
    Status(DeviceId),
    /// Nothing that waits: it says what a device did, or how a day ended. Why it cannot be looked at again.
    Evidence(&'static str),
}

/// Where an entry came from.
pub(super) fn of(row: &Parked) -> Origin {
    if row.reason == "equivocation" {
        return Origin::Evidence("it shows that two envelopes were signed under one number, whatever is checked again");
    }
    if let Some((bucket, key)) = row.object.as_ref().filter(|(_, key)| key.starts_with("quarantine/")) {
        return Origin::Event(bucket.clone(), key.clone());
    }
    if row.id.starts_with("ask-") {
        return Origin::Evidence("nobody waits for the answer any more, and whoever wants one asks again");
    }
    // The id of a refused hour: `hour-<Unix second>-<shard>`.
    if let Some((hour, shard)) = row.id.strip_prefix("hour-").and_then(|rest| rest.split_once('-')) {
        return match hour.parse() {
            Ok(hour) => Origin::Hour(shard.to_owned(), hour),
            Err(_) => Origin::Evidence("its id names no hour"),
        };
    }
    let Some(thing) = &row.device else {
        return Origin::Evidence("its event was not kept");
    };
    if row.reason.starts_with("status_") {
        return Origin::Status(thing.clone());
    }
    // The id of a refused interim block: `block-<number>-<thing>`.
    let interim = row.id.strip_prefix("block-").and_then(|rest| rest.split_once('-'));
    if let Some((number, _)) = interim.filter(|(_, name)| *name == thing.as_str()) {
        return match number.parse() {
            Ok(number) => Origin::Interim(thing.clone(), BlockNumber(number)),
            Err(_) => Origin::Evidence("its id names no block"),
        };
    }
    // The id of a refused day: `<day>-<thing>-<hash>`.
    let day = row.id.get(..10).and_then(|day| day.parse::<LocalDay>().ok());
    match day.filter(|_| row.id[10..].starts_with(&format!("-{thing}-"))) {
        Some(day) => Origin::Ledger(thing.clone(), day),
        None => Origin::Evidence("it says how a day ended, and that stays"),
    }
}

#[cfg(test)]
mod tests {
    use vitro_cloud::parked::ParkedState;
    use vitro_proof::UnixMillis;

    use super::*;

    fn row(reason: &str, id: &str, object: Option<(&str, &str)>) -> Parked {
        Parked {
            reason: reason.into(),
            id: id.into(),
            state: ParkedState::Open,
            device: Some("dev-1".parse().unwrap()),
            object: object.map(|(bucket, key)| (bucket.into(), key.into())),
            detail: String::new(),
            received: UnixMillis(0),
        }
    }

    #[test]
    fn every_kind_of_entry_is_known_by_its_row() {
        let (event, day) = ("001700000000000-0123456789abcdef", "2026-11-22-dev-1-0123456789abcdef");
        let key = "quarantine/2026-11-22/bad_signature/dev-1/x.json";
        let quarantined = Some(("q", key));
        for reason in ["bad_signature", "fork"] {
            assert_eq!(of(&row(reason, event, quarantined)), Origin::Event("q".into(), key.into()));
        }
        let thing: DeviceId = "dev-1".parse().unwrap();
        let archived = Some(("archive", "blocks/dev-1/0000000000.cbor"));
        assert_eq!(
            of(&row("unknown_device", day, archived)),
            Origin::Ledger(thing.clone(), "2026-11-22".parse().unwrap())
        );
        assert_eq!(
            of(&row("unknown_device", "block-0000000007-dev-1", archived)),
            Origin::Interim(thing.clone(), BlockNumber(7))
        );
        let said = row("hour_taken", "hour-001539500400-north-2", Some(("archive", "alive/north-2/001539500400.cbor")));
        assert_eq!(of(&Parked { device: None, ..said }), Origin::Hour("north-2".into(), 1_539_500_400));
        assert_eq!(of(&row("status_certificate_missing", "dev-1-3", None)), Origin::Status(thing));
        for (reason, id, object) in [
            ("equivocation", event, None),
            ("equivocation", event, quarantined),
            ("unknown_device", "ask-2026-11-22-dev-1", None),
            ("mismatched", "001700000000000-0123456789abcdef", None),
            ("unknown_device", "2026-11-22-dev-10-0123456789abcdef", archived),
        ] {
            assert!(matches!(of(&row(reason, id, object)), Origin::Evidence(_)), "{reason} {id}");
        }
    }
}
