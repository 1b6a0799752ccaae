//! What a call can be refused for, each with a stable code.

use thiserror::Error;
use vitro_proof::ProofError;

use crate::call::StateError;

/// Why a call failed. Its text is `<code>: <detail>`; a failed call writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ContractError {
    /// The contract has no such function.
    #[error("unknown_function: {0:?}")]
    UnknownFunction(String),
    /// Too few or too many arguments, or one that is not what the function takes.
    #[error("bad_arguments: {0}")]
    BadArguments(String),
    /// Bytes that are not the deterministic CBOR of what they should be.
    #[error("malformed: {what}: {detail}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The four parties have not agreed yet which MSP plays which role.
    #[error("not_configured: the parties have not agreed on their roles yet")]
    NotConfigured,
    /// Other roles are in force already; they are never changed.
    #[error("already_configured: other roles are in force")]
    AlreadyConfigured,
    /// The caller's MSP plays no role here.
    #[error("not_a_party: {0} plays no role on this channel")]
    NotAParty(String),
    /// The caller's role may not do this.
    #[error("forbidden: {0}")]
    Forbidden(String),
    /// The caller's certificate has another NodeOU role than the function needs.
    #[error("wrong_identity: {0}")]
    WrongIdentity(String),
    /// A device's entry breaks its own rules.
    #[error("bad_device: {0}")]
    BadDevice(String),
    /// No device of this name is registered.
    #[error("unknown_device: {0}")]
    UnknownDevice(String),
    /// The device is registered with another key, metering point, zone, shard or earlier sensor tables.
    #[error("device_differs: {0}")]
    DeviceDiffers(String),
    /// Another device serves the metering point.
    #[error("metering_point_taken: {0}")]
    MeteringPointTaken(String),
    /// Nobody serves the metering point that a device is to take over.
    #[error("metering_point_free: {0}")]
    MeteringPointFree(String),
    /// No device of this metering point is registered.
    #[error("unknown_point: {0}")]
    UnknownPoint(String),
    /// The device is retired.
    #[error("device_retired: {0}")]
    DeviceRetired(String),
    /// A suspension or retirement is in force that is stricter in some respect; only a reinstatement makes it milder.
    #[error("not_stricter: {0}")]
    NotStricter(String),
    /// The one device does not take the metering point over from the other.
    #[error("exchange_refused: {0}")]
    ExchangeRefused(String),
    /// What is approved is not what the ledger holds.
    #[error("entry_mismatch: {0}")]
    EntryMismatch(String),
    /// An agreement breaks its own rules.
    #[error("bad_agreement: {0}")]
    BadAgreement(String),
    /// No such agreement was proposed.
    #[error("unknown_agreement: {0}")]
    UnknownAgreement(String),
    /// An agreement of this id is active; it is never changed in place.
    #[error("agreement_active: {0}")]
    AgreementActive(String),
    /// Not every party approved the agreement.
    #[error("agreement_not_active: {0}")]
    AgreementNotActive(String),
    /// An amendment or termination whose day does not fit: no period begins or ends there, or days beyond it are billed.
    #[error("bad_amendment: {0}")]
    BadAmendment(String),
    /// What is amended or ended is not the newest version of the agreement.
    #[error("agreement_superseded: {0}")]
    AgreementSuperseded(String),
    /// The agreement was terminated; that is for good.
    #[error("agreement_terminated: {0}")]
    AgreementTerminated(String),
    /// Nothing was published for this day.
    #[error("unknown_day: {0}")]
    UnknownDay(String),
    /// No block of this number was published.
    #[error("unknown_block: {0}")]
    UnknownBlock(String),
    /// Nothing was said of this shard's hour.
    #[error("unknown_hour: {0}")]
    UnknownHour(String),
    /// The hour is not over yet.
    #[error("hour_not_over: {0}")]
    HourNotOver(String),
    /// Something else was said of this shard's hour already.
    #[error("hour_taken: {0}")]
    HourTaken(String),
    /// A period that is backwards, too long, or not one that the agreement has.
    #[error("bad_period: {0}")]
    BadPeriod(String),
    /// The period is not over yet.
    #[error("period_not_over: {0}")]
    PeriodNotOver(String),
    /// Another closed period holds some of the days.
    #[error("period_overlaps: {0}")]
    PeriodOverlaps(String),
    /// A statement would have more lines than a transaction can hold, or a simulation more days than a peer has time for.
    #[error("too_many_lines: {0}")]
    TooManyLines(String),
    /// A sum of money beyond what the ledger counts.
    #[error("amount_too_large: {0}")]
    AmountTooLarge(String),
    /// Nothing changed since the agreement's last statement that could be billed otherwise.
    #[error("nothing_to_correct: {0}")]
    NothingToCorrect(String),
    /// No such statement.
    #[error("unknown_statement: {0}")]
    UnknownStatement(String),
    /// An envelope that is presented for audit is broken, of another device, or not signed by the registered key.
    #[error("bad_evidence: {0}")]
    BadEvidence(String),
    /// The inclusion proof does not lead to the published root.
    #[error("not_included: {0}")]
    NotIncluded(String),
    /// A stored value cannot be read: another version wrote it, or the store is damaged.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The ledger's state could not be read or written.
    #[error("state: {0}")]
    State(#[from] StateError),
}

impl ContractError {
    /// The stable code: lower-case letters and underscores.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownFunction(_) => "unknown_function",
            Self::BadArguments(_) => "bad_arguments",
            Self::Malformed { .. } => "malformed",
            Self::NotConfigured => "not_configured",
            Self::AlreadyConfigured => "already_configured",
            Self::NotAParty(_) => "not_a_party",
            Self::Forbidden(_) => "forbidden",
            Self::WrongIdentity(_) => "wrong_identity",
            Self::BadDevice(_) => "bad_device",
            Self::UnknownDevice(_) => "unknown_device",
            Self::DeviceDiffers(_) => "device_differs",
            Self::MeteringPointTaken(_) => "metering_point_taken",
            Self::MeteringPointFree(_) => "metering_point_free",
            Self::UnknownPoint(_) => "unknown_point",
            Self::DeviceRetired(_) => "device_retired",
            Self::NotStricter(_) => "not_stricter",
            Self::ExchangeRefused(_) => "exchange_refused",
            Self::EntryMismatch(_) => "entry_mismatch",
            Self::BadAgreement(_) => "bad_agreement",
            Self::UnknownAgreement(_) => "unknown_agreement",
            Self::AgreementActive(_) => "agreement_active",
            Self::AgreementNotActive(_) => "agreement_not_active",
            Self::BadAmendment(_) => "bad_amendment",
            Self::AgreementSuperseded(_) => "agreement_superseded",
            Self::AgreementTerminated(_) => "agreement_terminated",
            Self::UnknownDay(_) => "unknown_day",
            Self::UnknownBlock(_) => "unknown_block",
            Self::UnknownHour(_) => "unknown_hour",
            Self::HourNotOver(_) => "hour_not_over",
            Self::HourTaken(_) => "hour_taken",
            Self::BadPeriod(_) => "bad_period",
            Self::PeriodNotOver(_) => "period_not_over",
            Self::PeriodOverlaps(_) => "period_overlaps",
            Self::TooManyLines(_) => "too_many_lines",
            Self::AmountTooLarge(_) => "amount_too_large",
            Self::NothingToCorrect(_) => "nothing_to_correct",
            Self::UnknownStatement(_) => "unknown_statement",
            Self::BadEvidence(_) => "bad_evidence",
            Self::NotIncluded(_) => "not_included",
            Self::Damaged(_) => "damaged",
            Self::State(_) => "state",
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::State(_) | Self::PeriodNotOver(_) | Self::HourNotOver(_))
    }

    pub(crate) fn malformed(what: &'static str, detail: impl ToString) -> Self {
        Self::Malformed { what, detail: detail.to_string() }
    }
}

impl From<ProofError> for ContractError {
    fn from(error: ProofError) -> Self {
        Self::malformed("a value", error)
    }
}

/// The stable code at the start of an error's text, as a client gets it from a peer.
#[must_use]
pub fn code_of(message: &str) -> Option<&str> {
    let code = message.split_once(':')?.0;
    let fits = !code.is_empty() && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    fits.then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_begins_with_the_code() {
        for error in [
            ContractError::NotConfigured,
            ContractError::malformed("an agreement", "key 3 is missing"),
            ContractError::NotAParty("XMSP".into()),
            ContractError::State(StateError("the peer is away".into())),
        ] {
            assert_eq!(code_of(&error.to_string()), Some(error.code()));
        }
        assert_eq!(code_of("transaction returned with failure"), None);
    }
}
