//! Whether a device counts for an agreement on a day. This is the one place that says so.
//!
//! It counts if RC and DV approved its entry in force, or, of its entries, one that has the sensor table of the day's block: a device is
//! its key and its metering point, so a new table or certificate that waits for approval takes nothing from the days before it. It counts
//! as well if a chain of certificates that is registered for it leads to an authority that
//! the agreement pins, names this device and its key, and was good, with every certificate of it, in the last second of the day. That is
//! when the device signs its block: a certificate says whose key it is, and when. So a device's first day counts from its middle on, a
//! day on which its certificate ended does not, and days before a renewal count by the certificate that they had.
//!
//! The contract reads no clock, so a day of the past counts as it did; and it has no revocation lists: a revoked device is suspended on
//! the ledger.

use std::collections::BTreeSet;

use vitro_proof::chain::{Certificate, VerifiedChain, verify_lasting};
use vitro_proof::crypto::sha256;
use vitro_proof::{Block, DeviceId, Hash, LocalDay, SensorTable, UnixMillis};

use crate::calendar;
use crate::error::ContractError;
use crate::ids::Bytes;
use crate::keys;
use crate::model::{Agreement, Basis, DeviceChain, DeviceEntry};
use crate::registry;
use crate::tx::{self, Tx};
use crate::wire::Record;

/// Why a device counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// By what.
    pub(crate) by: Basis,
    /// The device's certificate and the pinned authority, if it counts by a chain.
    pub(crate) chain: Option<(Hash, Hash)>,
}

/// What decides whether a device counts for an agreement, day by day.
pub(crate) struct Acceptance {
    entry: DeviceEntry,
    approved: bool,
    /// The versions of the sensor tables in earlier entries that RC and DV approved.
    approved_tables: BTreeSet<u64>,
    authorities: Vec<Bytes>,
    /// With each certificate's own validity, in seconds: what was not good then is not verified.
    chains: Vec<(DeviceChain, i64, i64)>,
}

impl Acceptance {
    /// What is known of a device and what an agreement says. Nothing is verified yet.
    pub(crate) fn of(tx: &mut Tx<'_>, terms: &Agreement, thing: &DeviceId) -> Result<Self, ContractError> {
        let (record, entry) = registry::load(tx, thing)?;
        let approved = registry::counts(tx, thing, entry.hash())?;
        let mut approved_tables = BTreeSet::new();
        for revision in (0..record.revision).filter(|_| !approved) {
            let earlier = registry::revision(tx, thing, revision)?;
            if registry::counts(tx, thing, earlier.hash())? {
                approved_tables.extend(earlier.tables.iter().map(SensorTable::version));
            }
        }
        let mut chains = Vec::new();
        if !approved && !terms.authorities.is_empty() {
            for chain in registered(tx, thing)? {
                let leaf = chain.certificates.first().and_then(|leaf| Certificate::read(&leaf.0).ok());
                if let Some((first, last)) = leaf.map(|leaf| (leaf.not_before().seconds(), leaf.not_after().seconds()))
                {
                    chains.push((chain, first, last));
                }
            }
        }
        Ok(Self { entry, approved, approved_tables, authorities: terms.authorities.clone(), chains })
    }

    /// Whether the device counts on a day, and why. A day without a block ends where it does in UTC, and counts by any entry.
    pub(crate) fn on(
        &self,
        tx: &mut Tx<'_>,
        day: LocalDay,
        block: Option<&Block>,
    ) -> Result<Option<Accepted>, ContractError> {
        let is_approved = |table: u64| self.approved_tables.contains(&table);
        if self.approved || block.map_or(!self.approved_tables.is_empty(), |block| is_approved(block.table_version)) {
            return Ok(Some(Accepted { by: Basis::Approvals, chain: None }));
        }
        let end = block.map_or_else(|| calendar::utc_end(day), |block| block.bounds.to);
        let second = end.saturating_sub(1);
        // The newest first: mostly it is the one.
        for (chain, first, last) in self.chains.iter().rev() {
            if !(*first..=*last).contains(&second) {
                continue;
            }
            for authority in &self.authorities {
                if let Some(verified) = self.good_at(tx, chain, authority, second) {
                    let chain = Some((verified.certificate.0, sha256(&[&authority.0])));
                    return Ok(Some(Accepted { by: Basis::Chain, chain }));
                }
            }
        }
        Ok(None)
    }

    /// The chain, if it leads to the authority, is this device's, and all of it is good in that second.
    fn good_at(&self, tx: &mut Tx<'_>, chain: &DeviceChain, authority: &Bytes, second: i64) -> Option<VerifiedChain> {
        let bytes: Vec<&[u8]> = chain.certificates.iter().map(|certificate| certificate.0.as_slice()).collect();
        let (leaf, issuers) = bytes.split_first()?;
        let of_both = (sha256(&[&chain.certificates.encode()]), sha256(&[&authority.0]));
        let signatures = &tx.signatures;
        let verify = || verify_lasting(leaf, issuers, &[&authority.0], signatures).unwrap_or_default();
        let paths = tx.verified.entry(of_both).or_insert_with(verify);
        let is_ours = |verified: &VerifiedChain| {
            verified.public_key == self.entry.public_key && verified.common_name == self.entry.thing.as_str()
        };
        let at = UnixMillis(second.saturating_mul(1000));
        let good = paths.iter().find(|path| path.holds_at(at) && is_ours(&path.chain));
        good.map(|path| path.chain.clone())
    }
}

/// The chains that are registered for a device, oldest first.
pub(crate) fn registered(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<Vec<DeviceChain>, ContractError> {
    tx.under(&keys::device_chains(thing))?.iter().map(|(key, bytes)| tx::read(key, bytes)).collect()
}
