//! Whether a message may come in at all: form, identity, signature, in this order, each refusal with its own reason code
//! (`docs/reasons.md`).
//!
//! Pure: the caller brings the rule event and the registry's entry. Telemetry, blocks and replies pass the same checks.

use thiserror::Error;
use vitro_proof::{ContentType, Envelope, EnvelopeFault, Header, Kind, Leaf, Reason, Verify};

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
    #[error("the {what} is {found:?}, which is not the device's that the message claims to be from")]
    OtherDevice {
        /// `topic`, `kid` or `client id`.
        what: &'static str,
        /// What it is, cut at 80 characters.
        found: String,
    },
    /// The connection was authenticated by another certificate than the registered ones.
    #[error("the connection's certificate is not a registered one of the device")]
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
    /// The device's telemetry is confidential by agreement, and this came in clear.
    #[error("telemetry in clear, which is confidential by agreement")]
    ClearTelemetry,
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
            Self::ClearTelemetry => "clear_telemetry",
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

/// Checks that topic, envelope and connection name one registered device, and that it was active when the message was received.
///
/// A suspension holds from its instant on. The received time is AWS IoT's word: it is the one thing that whoever holds a cloned key
/// cannot choose, and it is the same whenever the message is looked at, so a delivery that comes again ends as the first one did.
///
/// # Errors
/// A [`Refusal`] of identity or status.
pub fn identify<'d>(event: &RuleEvent, header: &Header, device: Option<&'d Device>) -> Result<&'d Device, Refusal> {
    let device = device.filter(|device| device.id.as_str() == event.thing).ok_or(Refusal::UnknownDevice)?;
    let other = |what, found: &str| Refusal::OtherDevice { what, found: found.chars().take(80).collect() };
    // The rule's filter let it in by its third level alone.
    if !event.is_on(&event.thing, header.kind) {
        return Err(other("topic", &event.topic));
    }
    if header.kid != event.thing {
        return Err(other("kid", &header.kid));
    }
    let client = event.client.as_deref().unwrap_or_default();
    if client != event.thing {
        return Err(other("client id", client));
    }
    let Some(principal) = event.principal.as_deref().filter(|id| device.certificate_ids.contains(*id)) else {
        return Err(Refusal::OtherCertificate);
    };
    let is_before = device.suspended_at.is_some_and(|at| event.received <= at);
    match device.status {
        // It came back with another certificate: by the revoked one, nobody is believed.
        Status::Active if device.revoked_certificates.contains(principal) => Err(Refusal::OtherCertificate),
        Status::Active => Ok(device),
        Status::Suspended | Status::Retired if is_before => Ok(device),
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

/// Checks that confidential telemetry comes encrypted. Encrypted telemetry of any other device is taken as well: the agreement asks
/// for the least that a device has to do, and a device changes over without a gap.
///
/// # Errors
/// [`Refusal::ClearTelemetry`].
pub fn check_confidential(header: &Header, device: &Device) -> Result<(), Refusal> {
    let is_clear = header.content == ContentType::Senml;
    if device.confidential && is_clear { Err(Refusal::ClearTelemetry) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use vitro_proof::Signer;
    use vitro_proof::UnixMillis;
    use vitro_proof::crypto::{AwsLcKey, SoftwareSigner};
    use vitro_proof::envelope::seal;

    use super::*;
    use crate::devices::tests::device;
    use crate::rule_event::NewRuleEvent;

    fn header(kid: &str) -> Header {
        Header { kind: Kind::Telemetry, content: ContentType::Senml, kid: kid.into(), number: 7 }
    }

    fn event(thing: &str, client: Option<&str>, principal: Option<&str>) -> RuleEvent {
        let topic = format!("vitro/acme/{thing}/telemetry");
        let event = NewRuleEvent { envelope: b"", thing, topic: &topic, client, principal, received: 0 };
        RuleEvent::parse(event.to_body()).unwrap()
    }

    #[test]
    fn topic_envelope_and_connection_name_one_active_device() {
        let device = Device { certificate_ids: ["ab12".into(), "ef56".into()].into(), ..device() };
        let good = event("dev-1", Some("dev-1"), Some("ab12"));
        let of = |event: &RuleEvent, kid: &str, device: Option<&Device>| {
            identify(event, &header(kid), device).map(|device| device.id.clone()).map_err(|refusal| refusal.reason())
        };
        assert_eq!(of(&good, "dev-1", Some(&device)), Ok(device.id.clone()));
        let renewed = event("dev-1", Some("dev-1"), Some("ef56"));
        assert_eq!(of(&renewed, "dev-1", Some(&device)), Ok(device.id.clone()), "each of its certificates is good");
        let revoked = Device { revoked_certificates: ["ef56".into()].into(), ..device.clone() };
        assert_eq!(of(&renewed, "dev-1", Some(&revoked)), Err("other_certificate"));
        assert_eq!(of(&good, "dev-1", Some(&revoked)), Ok(device.id.clone()), "a renewed device goes on");
        let suspended = Device { status: Status::Suspended, ..revoked };
        assert_eq!(of(&renewed, "dev-1", Some(&suspended)), Err("device_suspended"));
        assert_eq!(of(&good, "dev-1", None), Err("unknown_device"));
        assert_eq!(of(&event("dev-2", Some("dev-2"), Some("ab12")), "dev-2", Some(&device)), Err("unknown_device"));
        assert_eq!(of(&good, "dev-2", Some(&device)), Err("other_device"));
        for (client, principal, reason) in [
            (Some("dev-2"), Some("ab12"), "other_device"),
            (None, Some("ab12"), "other_device"),
            (Some("dev-1"), Some("cd34"), "other_certificate"),
            (Some("dev-1"), None, "other_certificate"),
        ] {
            assert_eq!(of(&event("dev-1", client, principal), "dev-1", Some(&device)), Err(reason));
        }
        for topic in [
            "vitro/acme/dev-2/telemetry",
            "vitro/acme/dev-1/block",
            "acme/dev-1/telemetry",
            "vitro/acme/dev-1/telemetry/x",
            "",
        ] {
            let (client, principal) = (Some("dev-1"), Some("ab12"));
            let body = NewRuleEvent { envelope: b"", thing: "dev-1", topic, client, principal, received: 0 }.to_body();
            assert_eq!(of(&RuleEvent::parse(body).unwrap(), "dev-1", Some(&device)), Err("other_device"), "{topic}");
        }
        for (status, reason) in [(Status::Suspended, "device_suspended"), (Status::Retired, "device_retired")] {
            let halted = Device { status, ..device.clone() };
            assert_eq!(of(&good, "dev-1", Some(&halted)), Err(reason));
            for (at, expected) in [(-1, Err(reason)), (0, Ok(device.id.clone())), (1, Ok(device.id.clone()))] {
                let since = Device { suspended_at: Some(UnixMillis(at)), ..halted.clone() };
                assert_eq!(of(&good, "dev-1", Some(&since)), expected, "received at 0, {status:?} since {at}");
            }
        }
    }

    #[test]
    fn what_is_confidential_comes_encrypted() {
        let encrypted = Header { content: ContentType::Encrypted, ..header("dev-1") };
        let confidential = Device { confidential: true, ..device() };
        assert_eq!(check_confidential(&header("dev-1"), &confidential), Err(Refusal::ClearTelemetry));
        for (header, device) in [(&encrypted, &confidential), (&encrypted, &device()), (&header("dev-1"), &device())] {
            assert_eq!(check_confidential(header, device), Ok(()));
        }
    }

    #[test]
    fn kind_and_signature_are_checked() {
        let signer = SoftwareSigner::from_scalar(&[7; 32]).unwrap();
        let bytes = seal(&header("dev-1"), b"payload", &signer).unwrap();
        assert_eq!(open(&bytes, Kind::Block).unwrap_err().reason(), "wrong_kind");
        assert_eq!(open(b"{}", Kind::Telemetry).unwrap_err().reason(), "not_an_envelope");
        let envelope = open(&bytes, Kind::Telemetry).unwrap();
        let key = |scalar| AwsLcKey::new(&SoftwareSigner::from_scalar(&[scalar; 32]).unwrap().public_key()).unwrap();
        assert_eq!(verify(&envelope, &key(7)), Ok(envelope.leaf()));
        assert_eq!(verify(&envelope, &key(8)), Err(Refusal::BadSignature));
    }

    #[test]
    fn an_equivocation_names_what_was_there_first() {
        let refusal = Refusal::Equivocation { known: Leaf([3; 32]) };
        assert_eq!(refusal.contradicts(), Some(Leaf([3; 32])));
        assert_eq!((refusal.reason(), Refusal::Late.reason()), ("equivocation", "late"));
        assert_eq!(Refusal::Late.contradicts(), None);
    }
}
