//! Why a device is not taken in.

use thiserror::Error;
use vitro_proof::chain::ChainFault;
use vitro_proof::{DeviceId, Reason};

/// Why a device that announced itself is not taken in. Each has a reason code of its own (`docs/reasons.md`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its certificate does not lead to a trusted authority, now, by way of nothing that is revoked.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// AWS IoT has the certificate as revoked, and that is for good.
    #[error("AWS IoT has the certificate as revoked")]
    Revoked,
    /// It was taken in once, and ended since: by a renewal, by a revocation list, or by hand.
    #[error("the certificate was {0}'s, and was ended")]
    Withdrawn(DeviceId),
    /// Nobody said that such a device would come.
    #[error("the manifest does not name {0:?}")]
    NotInManifest(String),
    /// The manifest expects another device under this name.
    #[error("the manifest expects {thing} with another {what}")]
    ManifestMismatch {
        /// The name.
        thing: DeviceId,
        /// `key`, `serial number` or `device to replace`.
        what: &'static str,
    },
    /// The name is a registered device's, and that has another key.
    #[error("{0} is registered with another key")]
    OtherThing(DeviceId),
    /// The name is a thing's that belongs to another installation.
    #[error("{thing} is a thing of {owner}")]
    OtherCustomer {
        /// The name.
        thing: DeviceId,
        /// Customer and stage as the thing carries them.
        owner: String,
    },
    /// Another device holds the key.
    #[error("the key of {thing} is {holder}'s")]
    KeyInUse {
        /// Who came with it.
        thing: DeviceId,
        /// Whose it is.
        holder: DeviceId,
    },
    /// The device is suspended. Its certificate is known now, and becomes active when the device is reinstated.
    #[error("{0} is suspended")]
    DeviceSuspended(DeviceId),
    /// The device is retired.
    #[error("{0} is retired")]
    DeviceRetired(DeviceId),
}

impl Reason for Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Chain(fault) => fault.reason(),
            Self::Revoked => "certificate_revoked",
            Self::Withdrawn(_) => "certificate_withdrawn",
            Self::NotInManifest(_) => "not_in_manifest",
            Self::ManifestMismatch { .. } => "manifest_mismatch",
            Self::OtherThing(_) => "other_thing",
            Self::OtherCustomer { .. } => "other_customer",
            Self::KeyInUse { .. } => "key_in_use",
            Self::DeviceSuspended(_) => "device_suspended",
            Self::DeviceRetired(_) => "device_retired",
        }
    }
}
