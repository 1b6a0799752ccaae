//! Evidence: whether a reading is part of a published day.

use vitro_proof::crypto::P256Key;
use vitro_proof::{DeviceId, Envelope, Kind, LocalDay, merkle};

use crate::access::{self, exactly, text};
use crate::call::{Context, Response};
use crate::data::by_number;
use crate::error::ContractError;
use crate::keys;
use crate::model::{DayRecord, Inclusion, Path};
use crate::registry;
use crate::tx::Tx;
use crate::wire::Record;

/// Verifies a telemetry envelope's signature under the registered key, and its path to the root that the device signed for the day.
pub(crate) fn verify_inclusion(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing, day, envelope, path] = exactly(args)?;
    let (thing, day) = (text::<DeviceId>("a device", thing)?, text::<LocalDay>("a day", day)?);
    let path = Path::decode(path)?;
    let bad = |why: &str| ContractError::BadEvidence(why.to_owned());
    let envelope = Envelope::parse(envelope).map_err(|fault| ContractError::BadEvidence(fault.to_string()))?;
    let header = envelope.header();
    if header.kind != Kind::Telemetry || header.kid != thing.as_str() {
        return Err(bad("it is not telemetry of this device"));
    }
    let (_, entry) = registry::load(tx, &thing)?;
    let key = P256Key::new(&entry.public_key).map_err(|error| ContractError::Damaged(error.to_string()))?;
    let leaf = envelope.verify_leaf(&key).map_err(|_| bad("the signature does not verify"))?;
    let unknown = || ContractError::UnknownDay(format!("{thing} {day}"));
    let record: DayRecord = tx.load(&keys::day(&thing, day))?.ok_or_else(unknown)?;
    let number = record.block.as_ref().map(|block| block.number).ok_or_else(unknown)?;
    let stored = by_number(tx, &thing, number)?.ok_or_else(unknown)?;
    let block = &stored.opened.block;
    let included = header
        .number
        .checked_sub(block.first)
        .is_some_and(|index| merkle::verify_inclusion(leaf, index, block.count, &path.siblings, block.root));
    if !included {
        return Err(ContractError::NotIncluded(format!("number {} in the day of {day}", header.number)));
    }
    Ok(Response::of(&Inclusion {
        thing,
        day,
        number: header.number,
        leaf: vitro_proof::Hash(leaf.0),
        root: block.root,
        block: stored.reference(),
        outcome: record.outcome(Some(&stored.opened)),
    }))
}
