//! Everything that can be wrong with what a device or a stranger sends, each with a stable reason code (`docs/reasons.md`).

use thiserror::Error;

/// A stable, machine-readable code for one way to be refused or flagged. Documented in `docs/reasons.md`; codes are never reused.
pub trait Reason {
    /// The code: lower-case letters and underscores.
    fn reason(&self) -> &'static str;
}

/// A fault in an envelope's form. Nothing was verified yet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeFault {
    /// The bytes are not one COSE_Sign1 with tag 18, or not well-formed CBOR of definite lengths without duplicate keys.
    #[error("not a COSE_Sign1 envelope: {0}")]
    NotAnEnvelope(&'static str),
    /// More than 128 KB (the AWS IoT limit of a message).
    #[error("{0} bytes are more than an envelope may have")]
    TooLarge(usize),
    /// A whole envelope, and then something else.
    #[error("{0} bytes follow the envelope")]
    TrailingBytes(usize),
    /// The protected header names another algorithm than ES256, or none.
    #[error("the algorithm is not ES256")]
    WrongAlgorithm,
    /// The headers hold a label that this format does not know, or lack one it needs.
    #[error("unknown or missing header: {0}")]
    UnknownHeader(String),
    /// The typ header names no kind of message we know, or another kind than belongs here.
    #[error("wrong kind of message")]
    WrongKind,
    /// The content type does not belong to the kind of message.
    #[error("the content type does not belong to this kind of message")]
    BadContentType,
}

impl Reason for EnvelopeFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotAnEnvelope(_) => "not_an_envelope",
            Self::TooLarge(_) => "too_large",
            Self::TrailingBytes(_) => "trailing_bytes",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownHeader(_) => "unknown_header",
            Self::WrongKind => "wrong_kind",
            Self::BadContentType => "bad_content_type",
        }
    }
}

/// What is wrong with the content of a well-signed telemetry envelope. Such an envelope is stored and is a leaf of its day all the
/// same; what has a fault does not count in a summary, it is *flagged*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum ContentFault {
    /// The payload is no SenML pack in CBOR; no record of it can be read.
    #[error("not a SenML pack")]
    UnreadablePack,
    /// More than 256 records.
    #[error("too many records")]
    TooManyRecords,
    /// The payload is encrypted, and the reader has no key for it.
    #[error("encrypted")]
    Encrypted,
    /// The payload is no COSE_Encrypt as the profile has it, or holds something else than a pack.
    #[error("encrypted in another form")]
    BadEncryption,
    /// The reader has the key that the payload names, and it does not open it.
    #[error("it does not decrypt")]
    Undecryptable,
    /// The resolved name does not begin with the device's own `<thing>/`.
    #[error("a name of another device")]
    ForeignName,
    /// The sensor table has no sensor of this name.
    #[error("a sensor that is not in the table")]
    UnknownSensor,
    /// The unit is not the one that the sensor table declares.
    #[error("another unit than declared")]
    UnitMismatch,
    /// The record has no value.
    #[error("no value")]
    NoValue,
    /// The record has more than one value.
    #[error("several values")]
    SeveralValues,
    /// The record's value is text, a boolean or data where a number belongs.
    #[error("not a number")]
    NotANumber,
    /// The number is not finite, or outside of what the profile allows.
    #[error("a number out of range")]
    NumberOutOfRange,
    /// The record has a sum and no value; sums are unit times seconds and never taken for a register.
    #[error("a sum without a value")]
    SumOnly,
    /// The resolved time is not absolute (below 2^28), or absent.
    #[error("no absolute time")]
    RelativeTime,
    /// The time is finer than a millisecond or out of range.
    #[error("a time finer than a millisecond or out of range")]
    BadTime,
    /// The same sensor and time occurred before, in this envelope or in an earlier one of the day.
    #[error("the same sensor and time again")]
    DuplicateRecord,
    /// The time lies outside of the day that the envelope belongs to.
    #[error("outside of the day")]
    OutsideDay,
    /// A counter went down without a declared rollover or reset.
    #[error("a counter went down")]
    Decrease,
}

impl Reason for ContentFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::UnreadablePack => "unreadable_pack",
            Self::TooManyRecords => "too_many_records",
            Self::Encrypted => "encrypted",
            Self::BadEncryption => "bad_encryption",
            Self::Undecryptable => "undecryptable",
            Self::ForeignName => "foreign_name",
            Self::UnknownSensor => "unknown_sensor",
            Self::UnitMismatch => "unit_mismatch",
            Self::NoValue => "no_value",
            Self::SeveralValues => "several_values",
            Self::NotANumber => "not_a_number",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::SumOnly => "sum_only",
            Self::RelativeTime => "relative_time",
            Self::BadTime => "bad_time",
            Self::DuplicateRecord => "duplicate_record",
            Self::OutsideDay => "outside_day",
            Self::Decrease => "decrease",
        }
    }
}

/// What is wrong with a daily or interim block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockFault {
    /// The block, its message or its summaries do not have the form of `docs/formats.md`.
    #[error("not a block: {0}")]
    NotABlock(String),
    /// The block names another device than the envelope does.
    #[error("the block names another device")]
    OtherDevice,
    /// Summaries and salt do not hash to the digest in the signed block.
    #[error("the summaries are not those that the block was signed over")]
    DigestMismatch,
    /// A daily block's day is not 22 to 26 hours long, or an interim block's interval is empty, backwards or longer than 26.
    #[error("the day is {0} seconds long")]
    BadLength(i64),
    /// The block does not start where the previous daily block ended, in time or in numbers.
    #[error("the block does not continue the previous daily block: {0}")]
    NotContiguous(&'static str),
    /// The block names another predecessor than the one known.
    #[error("the block does not name its predecessor's hash")]
    BrokenChain,
    /// Another block is already known under this number.
    #[error("another block has this number")]
    Fork,
    /// A counter's opening is not what the previous signed block left.
    #[error("the opening of {0} is not the previous block's last value")]
    BadOpening(String),
    /// The summaries are inconsistent in themselves or with the block.
    #[error("the summaries are inconsistent: {0}")]
    BadSummaries(String),
    /// Salt and summaries are encrypted, and the reader has no key for them.
    #[error("the summaries are encrypted for {0:?}, of which there is no key")]
    Encrypted(String),
    /// Salt and summaries are not encrypted as the profile has it, or do not decrypt under the key that they name.
    #[error("the summaries do not decrypt: {0}")]
    Undecryptable(String),
    /// The local day's label does not belong to the interval in the zone.
    #[error("the label of the local day does not fit its interval")]
    BadLabel,
}

impl Reason for BlockFault {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotABlock(_) => "not_a_block",
            Self::OtherDevice => "block_other_device",
            Self::DigestMismatch => "digest_mismatch",
            Self::BadLength(_) => "bad_day_length",
            Self::NotContiguous(_) => "not_contiguous",
            Self::BrokenChain => "broken_chain",
            Self::Fork => "fork",
            Self::BadOpening(_) => "bad_opening",
            Self::BadSummaries(_) => "bad_summaries",
            Self::Encrypted(_) => "block_encrypted",
            Self::Undecryptable(_) => "block_undecryptable",
            Self::BadLabel => "bad_label",
        }
    }
}

/// A signer could not sign: the key store is away or refused.
#[derive(Debug, Error)]
#[error("the signer failed: {0}")]
pub struct SignerError(pub String);

/// Everything else that can go wrong in this crate. All of it is terminal: the same input fails again.
#[derive(Debug, Error)]
pub enum ProofError {
    /// A name has a form that is not allowed.
    #[error("{text:?} is not a valid {what}")]
    BadName {
        /// What kind of name it should be.
        what: &'static str,
        /// The text, cut at 80 characters.
        text: String,
    },
    /// A byte string has another length than its type needs.
    #[error("{what} needs {expected} bytes, not {found}")]
    BadLength {
        /// What it should be.
        what: &'static str,
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// CBOR that does not have the expected form.
    #[error("malformed CBOR in {what}: {detail}")]
    Cbor {
        /// What was being read.
        what: &'static str,
        /// What was wrong and where.
        detail: String,
    },
    /// A number outside of the range that the formats allow.
    #[error("number out of range: {0}")]
    NumberOutOfRange(String),
    /// A public key is not a point of P-256 in SEC1 form.
    #[error("not a P-256 public key")]
    BadKey,
    /// A signature is not an ECDSA-Sig-Value of P-256 in DER.
    #[error("not an ECDSA signature in DER")]
    BadSignatureForm,
    /// A time zone that the tz database does not have, or a day it cannot place.
    #[error("time zone {zone:?}: {detail}")]
    BadZone {
        /// The zone as it was named.
        zone: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A sensor table that breaks its own rules.
    #[error("sensor table: {0}")]
    BadSensorTable(String),
}

impl ProofError {
    /// Nothing here gets better by trying again: the crate does no I/O.
    #[must_use]
    pub fn retryable(&self) -> bool {
        false
    }

    pub(crate) fn cbor(what: &'static str, detail: impl ToString) -> Self {
        Self::Cbor { what, detail: detail.to_string() }
    }
}
