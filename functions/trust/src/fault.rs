//! Why a revocation list is not taken.

use thiserror::Error;
use vitro_proof::Reason;
use vitro_proof::chain::CrlFault;

/// Why a list is not taken. Each has a reason code (`docs/reasons.md`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It could not be had.
    #[error("{0}")]
    Unreachable(String),
    /// It is larger than any list that we take.
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    /// It is not a good list of this authority, now.
    #[error(transparent)]
    List(#[from] CrlFault),
    /// It says something else under the number of the last one.
    #[error("another list has its number {0}")]
    SameNumber(String),
}

impl Reason for Fault {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "crl_unreachable",
            Self::TooLarge(_) => "crl_unreadable",
            Self::List(fault) => fault.reason(),
            Self::SameNumber(_) => "crl_number_backwards",
        }
    }
}
