//! A registry entry as an item of the table.

use std::collections::BTreeSet;

use vitro_proof::{BlockNumber, Hash, PublicKey, SensorTable, SequenceNumber, UnixMillis};

use super::{Device, Exchanged, Head, Mark, Status, gap_shard, live_shard};
use crate::error::CloudError;
use crate::item::{Item, Reader, b, flag, n, s, ss};

/// Writes the sensor tables as their attribute.
pub(super) fn tables_to_json(tables: &[SensorTable]) -> Result<String, CloudError> {
    serde_json::to_string(tables).map_err(|error| CloudError::damaged("a sensor table", error))
}

/// Writes an exchange as its attribute.
pub(super) fn exchange_to_json(exchange: &Exchanged) -> Result<String, CloudError> {
    serde_json::to_string(exchange).map_err(|error| CloudError::damaged("an exchange", error))
}

/// The whole entry as an item.
pub(crate) fn write(device: &Device) -> Result<Item, CloudError> {
    let mut item = Item::new();
    let mut set = |name: &str, value| item.insert(name.to_owned(), value);
    set("device", s(&device.id));
    set("status", s(device.status.as_str()));
    set("public_key", b(device.public_key.as_bytes().as_slice()));
    set("certificate", s(&device.certificate));
    set("certificate_id", s(&device.certificate_id));
    set("certificate_ids", ss(all_certificates(&device.certificate_id, device.certificate_ids.clone())));
    set("metering_point", s(&device.metering_point));
    set("zone", s(&device.zone));
    set("shard", s(&device.shard));
    if device.confidential {
        set("confidential", flag(true));
    }
    set("sensor_tables", s(tables_to_json(&device.sensor_tables)?));
    if device.status == Status::Active {
        let shard = if device.gap_since.is_none() { live_shard(&device.id) } else { gap_shard(&device.id) };
        set("live_shard", n(shard));
    }
    if let Some(at) = device.enrolled_at {
        set("enrolled_at", n(at.0));
    }
    if let Some(at) = device.suspended_at {
        set("suspended_at", n(at.0));
    }
    if let Some(last) = device.last_good {
        set("last_good", n(last));
    }
    if let Some(cause) = device.cause {
        set("cause", s(cause));
    }
    if device.status_revision > 0 {
        set("status_revision", n(device.status_revision));
    }
    if device.status_applied > 0 {
        set("status_applied", n(device.status_applied));
    }
    if let Some(exchange) = &device.exchange {
        set("exchange", s(exchange_to_json(exchange)?));
    }
    if let Some(replaces) = &device.replaces {
        set("replaces", s(replaces));
    }
    if !device.revoked_certificates.is_empty() {
        set("revoked_certificates", ss(&device.revoked_certificates));
    }
    if !device.admitting.is_empty() {
        set("admitting", ss(&device.admitting));
    }
    if let Some(mark) = &device.mark {
        set("mark_number", n(mark.number));
        set("mark_received", n(mark.received.0));
        if let Some(time) = mark.time {
            set("mark_time", n(time.0));
        }
    }
    if let Some(head) = &device.head {
        set("head_block", n(head.block));
        set("head_hash", b(head.hash.0.as_slice()));
    }
    if let Some(closed) = device.closed_through {
        set("closed_through", n(closed));
    }
    if let Some(since) = device.gap_since {
        set("gap_since", n(since.0));
    }
    Ok(item)
}

/// The set always holds the newest; entries of before the set have that alone.
fn all_certificates(newest: &str, mut ids: BTreeSet<String>) -> BTreeSet<String> {
    ids.insert(newest.to_owned());
    ids
}

/// Reads an entry.
pub(super) fn read(item: &Item) -> Result<Device, CloudError> {
    let r = Reader::new("a registry entry", item);
    let number = |name| -> Result<Option<SequenceNumber>, CloudError> { Ok(r.number_opt(name)?.map(SequenceNumber)) };
    let millis = |name| -> Result<Option<UnixMillis>, CloudError> { Ok(r.number_opt(name)?.map(UnixMillis)) };
    let sensor_tables: Vec<SensorTable> =
        serde_json::from_str(r.text("sensor_tables")?).map_err(|error| r.bad("sensor_tables", error))?;
    if sensor_tables.is_empty() {
        return Err(r.bad("sensor_tables", "there is none"));
    }
    Ok(Device {
        id: r.parsed("device")?,
        status: r.parsed("status")?,
        suspended_at: millis("suspended_at")?,
        last_good: number("last_good")?,
        cause: r.text_opt("cause")?.map(str::parse).transpose().map_err(|error| r.bad("cause", error))?,
        status_revision: r.number_opt("status_revision")?.unwrap_or(0),
        status_applied: r.number_opt("status_applied")?.unwrap_or(0),
        exchange: r
            .text_opt("exchange")?
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| r.bad("exchange", error))?,
        replaces: r.text_opt("replaces")?.map(str::parse).transpose().map_err(|error| r.bad("replaces", error))?,
        revoked_certificates: r.texts("revoked_certificates")?,
        public_key: PublicKey::from_sec1(r.bytes("public_key")?).map_err(|error| r.bad("public_key", error))?,
        certificate: r.text("certificate")?.to_owned(),
        certificate_id: r.text("certificate_id")?.to_owned(),
        certificate_ids: all_certificates(r.text("certificate_id")?, r.texts("certificate_ids")?),
        admitting: r.texts("admitting")?,
        enrolled_at: millis("enrolled_at")?,
        metering_point: r.text("metering_point")?.to_owned(),
        zone: r.parsed("zone")?,
        shard: r.text("shard")?.to_owned(),
        confidential: r.flag("confidential")?,
        sensor_tables,
        mark: mark(&r)?,
        head: match (r.number_opt("head_block")?, r.bytes_opt("head_hash")?) {
            (Some(block), Some(hash)) => Some(Head {
                block: BlockNumber(block),
                hash: Hash::from_slice(hash).map_err(|error| r.bad("head_hash", error))?,
            }),
            (None, None) => None,
            _ => return Err(r.bad("head_block", "number and hash belong together")),
        },
        closed_through: number("closed_through")?,
        gap_since: millis("gap_since")?,
    })
}

/// Reads the mark.
pub(super) fn mark(r: &Reader<'_>) -> Result<Option<Mark>, CloudError> {
    match (r.number_opt("mark_number")?, r.number_opt("mark_received")?) {
        (Some(number), Some(received)) => Ok(Some(Mark {
            number: SequenceNumber(number),
            received: UnixMillis(received),
            time: r.number_opt("mark_time")?.map(UnixMillis),
        })),
        (None, None) => Ok(None),
        _ => Err(r.bad("mark_number", "number and received time belong together")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::devices::NewDevice;
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::super::{Cause, LIVE_SHARDS};
    use super::*;

    pub(crate) fn device() -> Device {
        let table =
            r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}]"#;
        NewDevice {
            id: "dev-1".parse().unwrap(),
            replaces: None,
            public_key: SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key(),
            certificate: "-----BEGIN CERTIFICATE-----\n".into(),
            certificate_id: "ab12".into(),
            enrolled_at: None,
            metering_point: "mp-1".into(),
            zone: "Etc/GMT+7".parse().unwrap(),
            shard: "north".into(),
            confidential: false,
            sensor_tables: serde_json::from_str(table).unwrap(),
        }
        .into()
    }

    #[test]
    fn an_entry_without_its_parts_is_told() {
        let item = write(&device()).unwrap();
        for name in ["device", "status", "public_key", "zone", "sensor_tables", "certificate_id"] {
            let mut item = item.clone();
            item.remove(name);
            let error = read(&item).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let mut half = item.clone();
        half.insert("mark_number".into(), n(3));
        assert!(read(&half).is_err());
        let mut none = item;
        none.insert("sensor_tables".into(), s("[]"));
        assert!(read(&none).is_err());
    }

    #[test]
    fn the_newest_certificate_is_one_of_all() {
        let mut item = write(&Device { certificate_ids: BTreeSet::new(), ..device() }).unwrap();
        assert_eq!(read(&item).unwrap(), device());
        item.remove("certificate_ids");
        assert_eq!(read(&item).unwrap(), device(), "an entry of before there was a set");
    }

    #[test]
    fn only_active_devices_are_in_the_index() {
        assert_eq!(write(&device()).unwrap()["live_shard"], n(live_shard(&device().id)));
        let silent = Device { gap_since: Some(UnixMillis(5)), ..device() };
        assert_eq!(write(&silent).unwrap()["live_shard"], n(live_shard(&device().id) + LIVE_SHARDS));
        for away in [Status::Suspended, Status::Retired] {
            assert!(!write(&Device { status: away, ..device() }).unwrap().contains_key("live_shard"));
        }
    }

    proptest! {
        #[test]
        fn entries_round_trip(
            mark in proptest::option::of((any::<u64>(), any::<i64>(), proptest::option::of(any::<i64>()))),
            head in proptest::option::of((any::<u64>(), any::<[u8; 32]>())),
            closed in proptest::option::of(any::<u64>()),
            gap in proptest::option::of(any::<i64>()),
            suspended in proptest::option::of((any::<i64>(), any::<u64>(), proptest::sample::select(Cause::ALL.to_vec()))),
            revisions in any::<(u64, u64)>(),
            replaces in proptest::option::of("[a-z]{1,9}"),
            revoked in proptest::collection::btree_set("[0-9a-f]{4}", 0..3),
            older in proptest::collection::btree_set("[0-9a-f]{64}", 0..3),
            admitting in proptest::collection::btree_set("[0-9a-f]{64}", 0..3),
            enrolled in proptest::option::of(any::<i64>()),
            confidential: bool,
        ) {
            let device = Device {
                status: if suspended.is_some() { Status::Suspended } else { Status::Active },
                suspended_at: suspended.map(|s| UnixMillis(s.0)),
                last_good: suspended.map(|s| SequenceNumber(s.1)),
                cause: suspended.map(|s| s.2),
                status_revision: revisions.0,
                status_applied: revisions.1,
                exchange: suspended.map(|s| Exchanged {
                    by: "dev-2".parse().unwrap(), day: "2026-01-02".parse().unwrap(), at: UnixMillis(s.0),
                    last_good: Some(SequenceNumber(s.1)), first: SequenceNumber(s.1),
                }),
                replaces: replaces.map(|name| name.parse().unwrap()),
                revoked_certificates: revoked,
                admitting,
                confidential,
                mark: mark.map(|(number, received, time)| Mark {
                    number: SequenceNumber(number), received: UnixMillis(received), time: time.map(UnixMillis),
                }),
                head: head.map(|(block, hash)| Head { block: BlockNumber(block), hash: Hash(hash) }),
                closed_through: closed.map(SequenceNumber),
                gap_since: gap.map(UnixMillis),
                certificate_ids: device().certificate_ids.into_iter().chain(older).collect(),
                enrolled_at: enrolled.map(UnixMillis),
                ..device()
            };
            prop_assert_eq!(read(&write(&device).unwrap()).unwrap(), device);
        }
    }
}
