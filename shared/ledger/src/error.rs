//! What can go wrong between a call and its commit.

use thiserror::Error;
use vitro_proof::SignerError;

use crate::proto::transaction::TxValidationCode;

/// Why a call to the ledger has no result. [`LedgerError::retryable`] says whether the same call may succeed later.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The connection profile is not usable. Terminal.
    #[error("connection profile: {0}")]
    Profile(String),
    /// The private key is not one of P-256 in PEM. Terminal.
    #[error("the private key is not a P-256 key in PEM")]
    Key,
    /// The signer is away or refuses. Retryable.
    #[error("signer: {0}")]
    Signer(#[source] SignerError),
    /// The system gives no randomness. Retryable.
    #[error("no randomness: {0}")]
    Randomness(String),
    /// Nobody who could do it answered in time. Retryable.
    #[error("{what}: {failures}")]
    Unavailable {
        /// What was wanted.
        what: &'static str,
        /// Who failed, and how.
        failures: Failures,
    },
    /// Too few organizations endorsed, since peers were away or faulty; nothing was submitted. Retryable.
    #[error("the endorsement of {missing} is missing: {failures}")]
    NotEndorsed {
        /// The organizations of which one more would be needed.
        missing: String,
        /// Who failed, and how.
        failures: Failures,
    },
    /// The peers refuse the identity: its certificate is not one of its organization's, has expired, or its key is another. Terminal.
    #[error("the identity is refused: {0}")]
    Denied(Failures),
    /// The contract refused the call; nothing was submitted. Terminal.
    #[error("the contract refuses ({status}): {message}")]
    Refused {
        /// The contract's status, 400 or more.
        status: i32,
        /// The contract's words.
        message: String,
    },
    /// Organizations simulated the same call to different results, and no set of them that says the same is enough; nothing was submitted.
    /// Retryable: a peer that lags behind catches up; one that lies goes on being named.
    #[error("organizations disagree: {} ({differs}){}", against(.sides), beside(.failures))]
    Disagree {
        /// The organizations, grouped by equal results, the largest group first.
        sides: Vec<Vec<String>>,
        /// What differs between the first side and another.
        differs: String,
        /// Who could not be asked.
        failures: Failures,
    },
    /// A node's answer is not what the protocol asks for. Terminal.
    #[error("{node} answers outside the protocol: {detail}")]
    Protocol {
        /// The node.
        node: String,
        /// What is wrong.
        detail: String,
    },
    /// The orderer refused the transaction; it was not ordered. Retryable where the orderer says that it is only busy.
    #[error("{orderer} does not order it ({status}): {info}")]
    NotOrdered {
        /// The orderer.
        orderer: String,
        /// A `common.Status`.
        status: i32,
        /// The orderer's words.
        info: String,
    },
    /// The transaction is in a block and changed nothing. Retryable for a conflict with another transaction, which was already
    /// retried; terminal for every other code.
    #[error("transaction {tx_id} in block {block_number} is not valid: {code}")]
    Invalid {
        /// The transaction.
        tx_id: String,
        /// The block that holds it.
        block_number: u64,
        /// The committer's verdict.
        code: TxValidationCode,
    },
    /// It is not known whether the transaction commits. It was looked up, handed in again unchanged and looked up again. Retryable: the
    /// same signed transaction may be handed in at any time ([`crate::Ledger::commit`]). A new call of the same is another transaction, and safe
    /// only if the contract takes a repetition for what it is, as Vitro's does; [`crate::Ledger::outcome`] tells what is in the chain by now.
    #[error("the outcome of transaction {tx_id} is unknown")]
    OutcomeUnknown {
        /// The transaction.
        tx_id: String,
    },
    /// There is no such block or transaction. Terminal.
    #[error("the ledger has no {0}")]
    NotFound(String),
}

impl LedgerError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Signer(_)
            | Self::Randomness(_)
            | Self::Unavailable { .. }
            | Self::NotEndorsed { .. }
            | Self::Disagree { .. }
            | Self::OutcomeUnknown { .. } => true,
            Self::NotOrdered { status, .. } => *status >= 500,
            Self::Invalid { code, .. } => code.is_conflict(),
            Self::Profile(_)
            | Self::Key
            | Self::Denied(_)
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::NotFound(_) => false,
        }
    }
}

fn against(sides: &[Vec<String>]) -> String {
    sides.iter().map(|side| side.join(" and ")).collect::<Vec<_>>().join(" against ")
}

fn beside(failures: &Failures) -> String {
    if failures.0.is_empty() { String::new() } else { format!("; {failures}") }
}

/// Which nodes failed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(pub Vec<Failure>);

/// How a node failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The node.
    pub node: String,
    /// What happened.
    pub cause: String,
}

impl Failures {
    /// Notes one more; a cause is cut at a length that suits a log line, since peers quote certificates.
    pub(crate) fn note(&mut self, node: &str, cause: impl ToString) {
        let cause = cause.to_string().chars().take(300).collect();
        self.0.push(Failure { node: node.to_owned(), cause });
    }

    /// Whether every node refused the identity, in the words of Fabric 2.2 to 3.1.
    pub(crate) fn is_denial(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|failure| failure.cause.contains("access denied"))
    }
}

impl std::fmt::Display for Failures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nobody to ask");
        }
        for (index, failure) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "; " };
            write!(f, "{comma}{}: {}", failure.node, failure.cause)?;
        }
        Ok(())
    }
}
