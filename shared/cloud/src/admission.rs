//! Whether a message may come in at all: form, identity, signature, in this order, each refusal with its own reason code
//! (`docs/reasons.md`).
//!
//! Pure: the caller brings the rule event and the registry's entry. Telemetry, blocks and replies pass the same checks.

use thiserror::Error;
use vitro_proof::{Envelope, EnvelopeFault, Header, Kind, Leaf, Reason, Verify};

use crate::devices::{Device, Status};
use crate::rule_event::RuleEvent;

/// Why a message is refused, or kept out of the time series.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Its form is wrong.
    #[error(transparent)]
    Form(#[from] EnvelopeFault),
    /// The registry has no such device.
    #[error("the registry has no such device")]
    UnknownDevice,
    /// The envelope or the connection is another device's than the topic says.
    #[error("the {what} is {found:?}, the topic is another device's")]
    OtherDevice {
        /// `kid` or `client id`.
        what: &'static str,
        /// What it is, cut at 80 characters.
        found: String,
    },
    /// The connection was authenticated by another certificate than the registered one.
    #[error("the connection's certificate is not the registered one")]
    OtherCertificate,
    /// The device is suspended.
    #[error("the device is suspended")]
    DeviceSuspended,
    /// The device is retired.
    #[error("the device is retired")]
    DeviceRetired,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    BadSignature,
    /// The signature does not verify, but it is that of a stored envelope of the same number: a copy was altered.
    #[error("an altered copy of a stored envelope")]
    AlteredCopy,
    /// Another envelope was signed under this number before.
    #[error("another envelope has this number: leaf {known}")]
    Equivocation {
        /// The leaf of the envelope that was there first.
        known: Leaf,
    },
    /// The number belongs to a day that is closed, and the envelope was not known.
    #[error("its day is closed")]
    Late,
}

impl Refusal {
    /// The leaf that was there first, if that is why.
    #[must_use]
    pub fn contradicts(&self) -> Option<Leaf> {
        match self {
            Self::Equivocation { known } => Some(*known),
            _ => None,
        }
    }
}

impl Reason for Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Form(fault) => fault.reason(),
            Self::UnknownDevice => "unknown_device",
            Self::OtherDevice { .. } => "other_device",
            Self::OtherCertificate => "other_certificate",
            Self::DeviceSuspended => "device_suspended",
            Self::DeviceRetired => "device_retired",
            Self::BadSignature => "bad_signature",
            Self::AlteredCopy => "altered_copy",
            Self::Equivocation { .. } => "equivocation",
            Self::Late => "late",
        }
    }
}

/// Takes an envelope apart and checks that it is of the kind that belongs on its topic.
///
/// # Errors
/// [`Refusal::Form`].
pub fn open(bytes: &[u8], kind: Kind) -> Result<Envelope<'_>, Refusal> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.header().kind == kind { Ok(envelope) } else { Err(EnvelopeFault::WrongKind.into()) }
}

/// Checks that topic, envelope and connection name one registered, active device.
///
/// # Errors
/// A [`Refusal`] of identity or status.
pub fn identify<'d>(event: &RuleEvent, header: &Header, device: Option<&'d Device>) -> Result<&'d Device, Refusal> {
    let device = device.filter(|device| device.id.as_str() == event.thing).ok_or(Refusal::UnknownDevice)?;
    let other = |what, found: &str| Refusal::OtherDevice { what, found: found.chars().take(80).collect() };
    if header.kid != event.thing {
        return Err(other("kid", &header.kid));
    }
    let client = event.client.as_deref().unwrap_or_default();
    if client != event.thing {
        return Err(other("client id", client));
    }
    if event.principal.as_deref() != Some(device.certificate_id.as_str()) {
        return Err(Refusal::OtherCertificate);
    }
    match device.status {
        Status::Active => Ok(device),
        Status::Suspended => Err(Refusal::DeviceSuspended),
        Status::Retired => Err(Refusal::DeviceRetired),
    }
}

/// Checks the signature and gives the leaf.
///
/// # Errors
/// [`Refusal::BadSignature`].
pub fn verify(envelope: &Envelope<'_>, key: &dyn Verify) -> Result<Leaf, Refusal> {
    envelope.verify_leaf(key).map_err(|_| Refusal::BadSignature)
}
