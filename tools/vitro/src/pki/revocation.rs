//! Revocation lists.

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};
use vitro_proof::chain::{Revocation, RevocationReason, Serial};

use super::Validity;
use crate::error::CliError;

/// A revocation list in DER, signed by an authority (RFC 5280, section 5).
///
/// # Errors
/// [`CliError::Certificate`].
pub fn revocation_list(
    issuer: &Issuer<'_, KeyPair>,
    number: u64,
    validity: Validity,
    revoked: &[(Serial, Revocation)],
) -> Result<Vec<u8>, CliError> {
    let (this_update, next_update) = validity.dates()?;
    let entry = |(serial, revocation): &(Serial, Revocation)| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: Validity::date(revocation.at.seconds())?,
            reason_code: reason_code(revocation.reason),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update,
        next_update,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, CliError>>()?,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = params.signed_by(issuer).map_err(|e| CliError::certificate("signing the revocation list", e))?;
    Ok(list.der().to_vec())
}

/// A reason as it is written in a list; `unspecified` is left out (RFC 5280, section 5.3.1).
fn reason_code(reason: RevocationReason) -> Option<rcgen::RevocationReason> {
    use rcgen::RevocationReason as Code;
    Some(match reason {
        RevocationReason::Unspecified => return None,
        RevocationReason::KeyCompromise => Code::KeyCompromise,
        RevocationReason::CaCompromise => Code::CaCompromise,
        RevocationReason::AffiliationChanged => Code::AffiliationChanged,
        RevocationReason::Superseded => Code::Superseded,
        RevocationReason::CessationOfOperation => Code::CessationOfOperation,
        RevocationReason::CertificateHold => Code::CertificateHold,
        RevocationReason::PrivilegeWithdrawn => Code::PrivilegeWithdrawn,
        RevocationReason::AaCompromise => Code::AaCompromise,
    })
}
