//! The envelopes of closed days, as the archive keeps them: what the time series has forgotten is known all the same.

use std::collections::{BTreeMap, BTreeSet};

use vitro_cloud::CloudError;
use vitro_cloud::archive::{Archive, S3Archive, equivocal_key};
use vitro_cloud::days::DynamoDays;
use vitro_proof::envelope::sequence;
use vitro_proof::{DeviceId, Leaf, Signature};

/// An envelope as far as it is compared: leaf and signature.
pub type Archived = (Leaf, Signature);

/// What the archive holds under these numbers. A day is read once for all of them.
///
/// # Errors
/// [`CloudError`].
pub(crate) async fn read(
    days: &DynamoDays,
    archive: &S3Archive,
    device: &DeviceId,
    numbers: &BTreeSet<u64>,
) -> Result<BTreeMap<u64, Vec<Archived>>, CloudError> {
    let mut found: BTreeMap<u64, Vec<Archived>> = BTreeMap::new();
    let mut left = numbers.clone();
    while let Some(lowest) = left.pop_first() {
        let Some(row) = days.holding(device, lowest).await? else { continue };
        let (Some(block), Some(raw)) = (row.block.as_ref(), row.raw.as_ref()) else { continue };
        let end = block.first.saturating_add(block.count);
        let beyond = left.split_off(&end);
        let mut of_day = std::mem::replace(&mut left, beyond);
        of_day.insert(lowest);
        let bytes = archive.get(raw).await?;
        gather(&raw.key, &bytes, &of_day, &mut found)?;
        let key = equivocal_key(device, row.day);
        match archive.get_newest(&key).await {
            Ok((_, bytes)) => gather(&key, &bytes, &of_day, &mut found)?,
            Err(CloudError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Takes the envelopes with these numbers out of a day's object.
fn gather(
    key: &str,
    bytes: &[u8],
    numbers: &BTreeSet<u64>,
    found: &mut BTreeMap<u64, Vec<Archived>>,
) -> Result<(), CloudError> {
    for envelope in sequence(bytes) {
        let envelope = envelope.map_err(|fault| CloudError::damaged(format!("the archive's {key}"), fault))?;
        let number = envelope.header().number;
        if numbers.contains(&number) {
            found.entry(number).or_default().push((envelope.leaf(), *envelope.signature()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::envelope;

    #[test]
    fn a_days_object_gives_what_is_asked_for() {
        let day = [envelope("dev-1", 3, 1), envelope("dev-1", 4, 1), envelope("dev-1", 4, 2)].concat();
        let mut found = BTreeMap::new();
        gather("k", &day, &[4, 9].into(), &mut found).unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [4]);
        assert_eq!(found[&4].len(), 2);
        let cut = &day[..day.len() - 1];
        assert!(matches!(gather("k", cut, &[4].into(), &mut found), Err(CloudError::Damaged { .. })));
    }
}
