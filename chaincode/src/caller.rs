//! Who calls: from the creator of a proposal to what the contract knows of it. The peer has verified signature and certificate
//! before it calls a chaincode; nothing is verified here.

use fabric_shim_protos::msp::SerializedIdentity;
use prost::Message;
use sha2::{Digest, Sha256};
use vitro_contract::{ContractError, Creator, OuRole};
use vitro_proof::Hash;
use x509_parser::pem::parse_x509_pem;

/// Reads a serialized identity: the MSP, the certificate's hash, and the one NodeOU role among its organizational units.
pub(crate) fn creator(serialized: &[u8]) -> Result<Creator, ContractError> {
    let unreadable = || ContractError::WrongIdentity("the creator holds no X.509 certificate".to_owned());
    let identity = SerializedIdentity::decode(serialized).map_err(|_| unreadable())?;
    let (_, pem) = parse_x509_pem(&identity.id_bytes).map_err(|_| unreadable())?;
    let certificate = pem.parse_x509().map_err(|_| unreadable())?;
    let units = certificate.subject().iter_organizational_unit();
    let roles: Vec<_> = units.filter_map(|unit| unit.as_str().ok().and_then(OuRole::from_ou)).collect();
    let [role] = roles[..] else {
        let found = roles.len();
        return Err(ContractError::WrongIdentity(format!("one NodeOU role is expected in a certificate, not {found}")));
    };
    Ok(Creator { msp: identity.mspid, role, certificate_hash: Hash(Sha256::digest(&pem.contents).into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    /// A certificate whose subject has one organizational unit, or another kind of text instead.
    fn identity(unit: Option<&str>) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::default();
        if let Some(unit) = unit {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let identity = SerializedIdentity { mspid: "RcMSP".to_owned(), id_bytes: certificate.pem().into_bytes() };
        (identity.encode_to_vec(), certificate.der().to_vec())
    }

    #[test]
    fn the_certificate_gives_msp_role_and_hash() {
        for (unit, role) in [("client", OuRole::Client), ("admin", OuRole::Admin), ("peer", OuRole::Peer)] {
            let (serialized, der) = identity(Some(unit));
            let certificate_hash = Hash(Sha256::digest(&der).into());
            assert_eq!(creator(&serialized), Ok(Creator { msp: "RcMSP".to_owned(), role, certificate_hash }));
        }
    }

    #[test]
    fn no_role_or_no_certificate_is_refused() {
        let nobody = SerializedIdentity { mspid: "RcMSP".to_owned(), id_bytes: b"nonsense".to_vec() }.encode_to_vec();
        for serialized in [identity(Some("accounting")).0, identity(None).0, nobody, b"\xff\xff".to_vec(), vec![]] {
            assert_eq!(creator(&serialized).unwrap_err().code(), "wrong_identity");
        }
    }
}
