//! The way back after a revocation: another certificate for the device's key, whose whole chain is good now.

use vitro_cloud::devices::{Device, Revoked, StatusChange, StatusStore};
use vitro_cloud::queue::{Outbox, StatusTask};
use vitro_cloud::trust::certificate_der;
use vitro_cloud::verified::Chains;
use vitro_proof::chain::{ChainFault, VerifiedChain};
use vitro_proof::{Reason, UnixMillis};

use crate::error::CliError;
use crate::session::Session;

/// Reinstates a device that a revocation suspended, if its newest certificate leads to a root of the trust store, and nothing on the way
/// is on the lists that were accepted last.
///
/// Without its authority in the trust store nobody here can tell whether a certificate was revoked, so it heals nothing.
///
/// # Errors
/// [`CliError::Refused`] and [`CliError::Cloud`] say what is missing.
pub(super) async fn after_revocation(
    device: &Device,
    session: &Session,
    now: UnixMillis,
) -> Result<StatusChange, CliError> {
    // First what no chain changes: a compromised key, or no other certificate at all.
    device.activated(Some(&device.certificate_id))?;
    let chains = Chains::new(Box::new(session.trust()), Box::new(session.archive().await?));
    let leaf = certificate_der(&device.certificate)?;
    let chain = chains.verify(&leaf, None, now).await?.map_err(|fault| not_good(device, &fault))?;
    is_its_own(device, &chain)?;
    let change = session.devices().activate(&device.id, Some(&device.certificate_id)).await?;
    // A list that came meanwhile found a device that was suspended already: one of the two looks sees the other.
    let revoked = chains.verify(&leaf, None, now).await?.err().and_then(|fault| Some((Revoked::of(&fault)?, fault)));
    // For all else the first look was good.
    let Some((revoked, fault)) = revoked else { return Ok(change) };
    // As it was: nothing that came since counts.
    let at = device.suspended_at.unwrap_or(now);
    let cause = device.cause.map_or(revoked.cause(), |cause| cause.max(revoked.cause()));
    session.devices().suspend(&device.id, at, device.last_good, cause).await?;
    session.status_queue().await?.status(&StatusTask { thing: device.id.clone() }).await?;
    Err(not_good(device, &fault))
}

/// The registry's entry and the certificate that it holds must be of one device.
fn is_its_own(device: &Device, chain: &VerifiedChain) -> Result<(), CliError> {
    let id = chain.certificate.to_string();
    if (chain.public_key, chain.common_name.as_str(), &id)
        == (device.public_key, device.id.as_str(), &device.certificate_id)
    {
        return Ok(());
    }
    Err(CliError::Refused(format!("the registry's newest certificate of {} is another device's", device.id)))
}

fn not_good(device: &Device, fault: &ChainFault) -> CliError {
    let hint = match fault {
        ChainFault::UnknownCa { .. } => "; its authority belongs into the trust store (`vitro trust add`)",
        ChainFault::CrlMissing { .. } | ChainFault::CrlExpired { .. } => "; see `vitro trust list`",
        ChainFault::CertificateRevoked { .. } | ChainFault::IssuerRevoked { .. } => "; renew it (`vitro device renew`)",
        _ => "",
    };
    let (thing, id, code) = (&device.id, &device.certificate_id, fault.reason());
    CliError::Refused(format!(
        "{thing} stays suspended: its newest certificate {id} is not good: {fault} ({code}){hint}"
    ))
}
