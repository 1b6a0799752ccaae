//! Who signed: certificates against the organizations' CAs, roles by OU, signatures by key. What Fabric calls the MSP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use prost::Message;
use sha2::{Digest, Sha256};
use thiserror::Error;
use vitro_ledger::proto::msp::SerializedIdentity;
use vitro_ledger::signature::{from_der, is_low_s};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::DevledgerError;

/// How many identities are remembered; a flood of others only costs their parsing.
const REMEMBERED: usize = 4096;

/// What a certificate's OU makes of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// OU client.
    Client,
    /// OU admin.
    Admin,
    /// OU peer.
    Peer,
    /// OU orderer.
    Orderer,
}

/// Somebody whose certificate an organization's CA signed.
pub struct Member {
    /// The organization.
    pub msp: String,
    /// By the certificate's OU.
    pub role: Role,
    /// SHA-256 over the certificate in DER.
    pub certificate_hash: [u8; 32],
    valid_from: i64,
    valid_to: i64,
    key: ParsedPublicKey,
}

/// Why somebody is not a member, or did not sign.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NotMember {
    /// No serialized identity with a certificate in PEM.
    #[error("the identity cannot be read")]
    Unreadable,
    /// No organization of the channel has this MSP id.
    #[error("{0} is not on the channel")]
    UnknownMsp(String),
    /// The certificate is not the organization's.
    #[error("the certificate is not signed by {0}'s CA")]
    Foreign(String),
    /// The OU names no role, or several.
    #[error("the certificate's OU gives no role")]
    NoRole,
    /// The certificate's time is over, or has not begun.
    #[error("the certificate has expired or is not valid yet")]
    Expired,
    /// The signature is not the member's, or has a high s.
    #[error("the signature is not valid")]
    BadSignature,
}

/// The organizations' CAs.
pub struct Members {
    authorities: HashMap<String, ParsedPublicKey>,
    known: Mutex<HashMap<Vec<u8>, Arc<Member>>>,
}

impl Members {
    /// Takes each organization's MSP id and CA certificate.
    ///
    /// # Errors
    /// [`DevledgerError::Certificates`] if a certificate cannot be read.
    pub fn new<'a>(authorities: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, DevledgerError> {
        let fault = |msp: &str| DevledgerError::Certificates(format!("the CA of {msp}"));
        let mut all = HashMap::new();
        for (msp, pem) in authorities {
            let (_, pem) = parse_x509_pem(pem.as_bytes()).map_err(|_| fault(msp))?;
            let certificate = pem.parse_x509().map_err(|_| fault(msp))?;
            let key = key_of(&certificate).ok_or_else(|| fault(msp))?;
            all.insert(msp.to_owned(), key);
        }
        Ok(Self { authorities: all, known: Mutex::default() })
    }

    /// Reads a serialized identity and checks whose it is; whether its time is over is [`Member::check_time`]'s.
    ///
    /// # Errors
    /// [`NotMember`].
    pub fn find(&self, creator: &[u8]) -> Result<Arc<Member>, NotMember> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = lock().get(creator) {
            return Ok(Arc::clone(member));
        }
        let member = Arc::new(self.read(creator)?);
        let mut known = lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(creator.to_vec(), Arc::clone(&member));
        Ok(member)
    }

    fn read(&self, creator: &[u8]) -> Result<Member, NotMember> {
        let identity = SerializedIdentity::decode(creator).map_err(|_| NotMember::Unreadable)?;
        let msp = identity.mspid;
        let Some(authority) = self.authorities.get(&msp) else {
            return Err(NotMember::UnknownMsp(msp));
        };
        let (_, pem) = parse_x509_pem(&identity.id_bytes).map_err(|_| NotMember::Unreadable)?;
        let (_, certificate) = X509Certificate::from_der(&pem.contents).map_err(|_| NotMember::Unreadable)?;
        let signed = certificate.tbs_certificate.as_ref();
        if authority.verify_sig(signed, &certificate.signature_value.data).is_err() || certificate.is_ca() {
            return Err(NotMember::Foreign(msp));
        }
        let units = certificate.subject().iter_organizational_unit();
        let roles: Vec<_> = units.filter_map(|unit| unit.as_str().ok().and_then(role_of)).collect();
        let [role] = roles[..] else { return Err(NotMember::NoRole) };
        let validity = certificate.validity();
        Ok(Member {
            role,
            certificate_hash: Sha256::digest(&pem.contents).into(),
            valid_from: validity.not_before.timestamp(),
            valid_to: validity.not_after.timestamp(),
            key: key_of(&certificate).ok_or(NotMember::Unreadable)?,
            msp,
        })
    }
}

impl Member {
    /// Checks that the certificate is valid at an instant, in Unix seconds. Asked where something is handed in, not when a block is
    /// judged: a chain must be judged the same at any time.
    ///
    /// # Errors
    /// [`NotMember::Expired`].
    pub fn check_time(&self, now: i64) -> Result<(), NotMember> {
        if (self.valid_from..=self.valid_to).contains(&now) { Ok(()) } else { Err(NotMember::Expired) }
    }

    /// Checks a low-S signature in DER over the message.
    ///
    /// # Errors
    /// [`NotMember::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), NotMember> {
        if !from_der(signature).is_some_and(|raw| is_low_s(&raw)) {
            return Err(NotMember::BadSignature);
        }
        self.key.verify_sig(message, signature).map_err(|_| NotMember::BadSignature)
    }
}

fn key_of(certificate: &X509Certificate<'_>) -> Option<ParsedPublicKey> {
    ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, certificate.public_key().subject_public_key.data.as_ref()).ok()
}

fn role_of(unit: &str) -> Option<Role> {
    Some(match unit {
        "client" => Role::Client,
        "admin" => Role::Admin,
        "peer" => Role::Peer,
        "orderer" => Role::Orderer,
        _ => return None,
    })
}
