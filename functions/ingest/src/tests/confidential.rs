//! Confidential telemetry: by agreement it comes encrypted, and whether it can be read is a matter of its content.

use std::collections::BTreeSet;

use vitro_cloud::data_keys::{self, KeyRing, KeyState, StoredKey};
use vitro_proof::confidential::{self, Bound, Inside, OneTime, PureDataKey, Recipient};
use vitro_proof::envelope::seal;
use vitro_proof::senml::{Reading, write_pack};
use vitro_proof::{ContentType, Decimal, DeviceId, Header, Kind, SequenceNumber, UnixMillis};
use zeroize::Zeroizing;

use super::memory::Memory;
use super::world::*;

fn scalar(key: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([key; 32])
}

/// Telemetry of one register, encrypted for key `key-<key>` and bound to `bound`.
fn encrypted(name: &str, number: u64, bound: u64, key: u8) -> Sent {
    let thing: DeviceId = name.parse().unwrap();
    let time = UnixMillis(NOON + i64::try_from(number).unwrap() * MINUTE);
    let reading = Reading { sensor: "energy".parse().unwrap(), unit: "kWh".into(), value: Some(Decimal::from(3)) };
    let pack = write_pack(&thing, time, &[reading]);
    let public = PureDataKey::from_scalar(&scalar(key)).unwrap().public_key();
    let recipient = Recipient::new(format!("key-{key}").parse().unwrap(), public).unwrap();
    let once = OneTime::new(&scalar(9), [u8::try_from(number).unwrap(); 12]).unwrap();
    let bound = Bound { thing: &thing, number: bound };
    let payload = confidential::seal(Inside::Pack, &bound, &pack, &recipient, once).unwrap();
    of_payload(name, number, &payload)
}

fn of_payload(name: &str, number: u64, payload: &[u8]) -> Sent {
    let header = Header { kind: Kind::Telemetry, content: ContentType::Encrypted, kid: name.into(), number };
    Sent { envelope: seal(&header, payload, &signer(name)).unwrap(), ..sent(name, number) }
}

/// A store with a confidential device, one that is not, and the data-proxy key `key-1`.
fn confidential_store() -> Memory {
    let memory = store(&["secret", "open"]);
    memory.devices.borrow_mut().get_mut(&"secret".parse().unwrap()).unwrap().confidential = true;
    let key = StoredKey { id: "key-1".parse().unwrap(), state: KeyState::Current, scalar: scalar(1) };
    let text = KeyRing { keys: vec![key] }.write().unwrap();
    *memory.data_keys.borrow_mut() = data_keys::fixed(&text).unwrap();
    memory
}

fn flags(memory: &Memory, name: &str, number: u64) -> BTreeSet<String> {
    let kept = memory.kept.borrow();
    let of_number = |reading: &&vitro_cloud::readings::Reading| {
        reading.device.as_str() == name && reading.number() == SequenceNumber(number)
    };
    kept.readings.values().find(of_number).unwrap().flags.clone()
}

#[test]
fn clear_telemetry_of_a_confidential_device_is_refused_and_kept_apart() {
    let (memory, clock) = (confidential_store(), clock());
    let messages = [sent("secret", 0), encrypted("secret", 1, 1, 1), sent("open", 0), encrypted("open", 1, 1, 1)];
    let metrics = accept(&instance(&memory, &clock), &messages);
    assert_eq!(refused(&metrics, "clear_telemetry"), 1);
    assert_eq!((total(&metrics, "MessagesStored"), total(&metrics, "Flagged")), (3, 0));
    {
        let kept = memory.kept.borrow();
        assert_eq!((kept.readings.len(), kept.parked.len(), kept.quarantined.len()), (3, 1, 1));
        // The time inside is known: the message is noted under its own day.
        assert!(kept.readings.values().all(|reading| reading.time.is_some()));
    }
    // A forgery in clear is a forgery first: nobody may have a device's agreement blamed for it.
    let forged = Sent { envelope: envelope_by("open", "secret", 2, 1), ..sent("secret", 2) };
    let metrics = accept(&instance(&memory, &clock), &[forged]);
    assert_eq!((refused(&metrics, "bad_signature"), refused(&metrics, "clear_telemetry")), (1, 0));
}

#[test]
fn what_cannot_be_decrypted_is_stored_and_flagged() {
    let (memory, clock) = (confidential_store(), clock());
    let messages = [
        encrypted("secret", 0, 0, 2),
        encrypted("secret", 1, 7, 1),
        of_payload("secret", 2, b"nonsense"),
        encrypted("secret", 3, 3, 1),
    ];
    let metrics = accept(&instance(&memory, &clock), &messages);
    assert_eq!((total(&metrics, "MessagesStored"), total(&metrics, "Flagged"), total(&metrics, "Refused")), (4, 3, 0));
    for (number, flag) in [(0, "encrypted"), (1, "undecryptable"), (2, "bad_encryption")] {
        assert_eq!(flags(&memory, "secret", number), BTreeSet::from([flag.to_owned()]));
    }
    assert!(flags(&memory, "secret", 3).is_empty());
}

#[test]
fn without_its_keys_confidential_telemetry_comes_again_and_no_other() {
    let (memory, clock) = (confidential_store(), clock());
    memory.failing.borrow_mut().insert("data_keys");
    let messages = [encrypted("secret", 0, 0, 1), sent("open", 0)];
    let ingest = instance(&memory, &clock);
    let (response, metrics) = deliver(&ingest, &messages).unwrap();
    assert_eq!(response.batch_item_failures.len(), 1);
    assert_eq!(response.batch_item_failures[0].item_identifier, "0");
    assert_eq!(total(&metrics, "MessagesStored"), 1);
    memory.failing.borrow_mut().clear();
    let metrics = accept(&ingest, &messages);
    assert_eq!((total(&metrics, "MessagesStored"), total(&metrics, "Flagged")), (2, 0));
    // Where nothing is confidential, no secret is read.
    memory.calls.borrow_mut().clear();
    accept(&ingest, &[sent("open", 1)]);
    assert_eq!(memory.count("data_keys"), 0);
}
