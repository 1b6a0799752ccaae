//! What a revocation list asks for, carried out. Everything here may be done again and by several at once.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use vitro_cloud::CloudError;
use vitro_cloud::batch::chain;
use vitro_cloud::devices::{Consequence, Revoked, suspend_revoked};
use vitro_cloud::identities::CertificateIdentity;
use vitro_cloud::queue::StatusTask;
use vitro_cloud::trust::TrustedAuthority;
use vitro_proof::chain::{Crl, RevocationReason};
use vitro_proof::{DeviceId, Hash, UnixMillis};

use crate::ports::Ports;

/// Looks at the registry at once.
const AT_ONCE: usize = 16;
/// Entries of a list that are looked up in one call of the registry.
const LOOKED_UP: usize = 100;
/// Entries that are carried out before the next ones are looked up: an invocation that ends too early has suspended whom it found.
const CARRIED_OUT: usize = 10_000;

/// What is revoked of a device: its certificates, each by its own name or by its issuer's.
type Holders = BTreeMap<DeviceId, Vec<(String, Revoked)>>;

impl Ports {
    /// Carries a list out. Gives the devices that it suspended now. One device that fails holds up none of the others.
    ///
    /// # Errors
    /// The first [`CloudError`], once all else was done: then it has to be done again.
    pub(crate) async fn apply(
        &self,
        authority: &TrustedAuthority,
        list: &Crl,
        authorities: &[TrustedAuthority],
        now: UnixMillis,
    ) -> Result<BTreeSet<DeviceId>, CloudError> {
        let entries: BTreeMap<CertificateIdentity, RevocationReason> = list
            .revoked()
            .map(|(serial, entry)| (CertificateIdentity::new(authority.key_hash, serial.clone()), entry.reason))
            .collect();
        let mut suspended = BTreeSet::new();
        let mut revoked = Holders::new();
        for child in authorities {
            let Some(reason) = entries.get(&child.identity) else { continue };
            if !is_of_key(*reason)
                && authorities
                    .iter()
                    .any(|other| stands_in(other, child, now) && !entries.contains_key(&other.identity))
            {
                // It has another certificate for its key, by which all chains are as good as they were.
                self.trust.note_revoked(child.id, now).await?;
                continue;
            }
            for below in subtree(child, authorities) {
                self.trust.note_revoked(below.id, now).await?;
                for holder in self.registry.under_issuer(below.key_hash).await? {
                    revoked.entry(holder.device).or_default().push((holder.certificate_id, Revoked::Issuer));
                }
            }
        }
        let mut failed = self.carry_out(revoked, now, &mut suspended).await.err();
        let identities: Vec<CertificateIdentity> = entries.keys().cloned().collect();
        for part in identities.chunks(CARRIED_OUT) {
            let look = |some: &'_ [CertificateIdentity]| {
                let some = some.to_vec();
                async move { self.registry.holders(&some).await }
            };
            let mut found = stream::iter(part.chunks(LOOKED_UP)).map(look).buffer_unordered(AT_ONCE);
            let mut revoked = Holders::new();
            while let Some(holders) = found.try_next().await? {
                for (identity, holder) in holders {
                    let reason = entries.get(&identity).copied().unwrap_or(RevocationReason::Unspecified);
                    revoked
                        .entry(holder.device)
                        .or_default()
                        .push((holder.certificate_id, Revoked::Certificate(reason)));
                }
            }
            drop(found);
            failed = failed.or(self.carry_out(revoked, now, &mut suspended).await.err());
        }
        failed.map_or(Ok(suspended), Err)
    }

    /// Does what the revocations ask for, and notes the devices that it suspended now.
    ///
    /// # Errors
    /// The first one, once all devices were looked at.
    async fn carry_out(
        &self,
        revoked: Holders,
        now: UnixMillis,
        suspended: &mut BTreeSet<DeviceId>,
    ) -> Result<(), CloudError> {
        let revoke = |(thing, certificates): (DeviceId, Vec<(String, Revoked)>)| async move {
            let done = self.revoke(&thing, certificates, now).await;
            (thing, done)
        };
        let mut all = stream::iter(revoked).map(revoke).buffer_unordered(AT_ONCE);
        let mut failed = None;
        while let Some((thing, done)) = all.next().await {
            match done {
                Ok(true) => _ = suspended.insert(thing),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%thing, error = %chain(&error), "a revocation could not be carried out");
                    failed = failed.or(Some(error));
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Does what the revocation of a device's certificates asks for. Says whether it suspended it.
    ///
    /// A certificate that is not the device's newest was replaced: unless its key is not to be trusted, which is the other's as well,
    /// it is withdrawn and the device goes on.
    async fn revoke(
        &self,
        thing: &DeviceId,
        certificates: Vec<(String, Revoked)>,
        now: UnixMillis,
    ) -> Result<bool, CloudError> {
        let Some(device) = self.registry.device(thing).await? else { return Ok(false) };
        let (mut gravest, mut withdrawn) = (None, Vec::new());
        for (id, why) in certificates {
            match device.consequence_of(&id, why) {
                Consequence::Nothing => {}
                // Whoever did it may have ended before it told.
                Consequence::CarriedOut if !device.is_status_applied() => {
                    self.outbox.status(&StatusTask { thing: thing.clone() }).await?;
                }
                Consequence::CarriedOut => {}
                Consequence::Withdraw => withdrawn.push(id),
                Consequence::Suspend(cause) => gravest = gravest.max(Some(cause)),
            }
        }
        let Some(cause) = gravest else {
            for id in withdrawn {
                // The registry forgets it last: until then this comes again.
                self.certificates.revoke(&id).await?;
                self.registry.withdraw(thing, &id).await?;
                tracing::info!(%thing, certificate = id, "a replaced certificate is withdrawn");
            }
            return Ok(false);
        };
        let (registry, readings) = (self.registry.as_ref(), self.readings.as_ref());
        suspend_revoked(registry, readings, self.outbox.as_ref(), &device, cause, now).await
    }
}

/// Whether a reason speaks of the authority's key, and not of its certificate alone.
fn is_of_key(reason: RevocationReason) -> bool {
    !matches!(
        reason,
        RevocationReason::Superseded | RevocationReason::CessationOfOperation | RevocationReason::AffiliationChanged
    )
}

/// Whether an authority has the key of another one, by a certificate that is good now.
fn stands_in(other: &TrustedAuthority, for_one: &TrustedAuthority, now: UnixMillis) -> bool {
    other.id != for_one.id && other.key_hash == for_one.key_hash && other.revoked_at.is_none() && other.not_after > now
}

/// An authority and all below it. A circle, which no signature can make but a damaged table could, ends.
fn subtree<'a>(top: &'a TrustedAuthority, authorities: &'a [TrustedAuthority]) -> Vec<&'a TrustedAuthority> {
    let mut seen: BTreeSet<Hash> = BTreeSet::from([top.id]);
    let mut found = vec![top];
    let mut at = 0;
    while let Some(parent) = found.get(at).map(|authority| authority.id) {
        found.extend(authorities.iter().filter(|child| child.parent == Some(parent) && seen.insert(child.id)));
        at += 1;
    }
    found
}
