//! A client for Hyperledger Fabric's classic flow (2.2 to 3.x): propose at peers, compare what they endorse, order, wait for the
//! verdict.
//!
//! What it does not do: it knows nothing of Vitro's contract, of AWS or of where a network was found. It hands a key's owner
//! digests to sign and never asks for the key. A Gateway service is not needed: Fabric 2.2, which Managed Blockchain runs, has none.
//!
//! The way of a call, all bounded by [`Limits`]:
//!
//! 1. [`Proposal`]: the call, its author, a nonce; author and nonce make the transaction's id. Signed by the author.
//! 2. [`Ledger::endorse`]: at one peer of each organization that the plan names, in parallel; another organization stands in
//!    for one that is away or whose endorsement is not its own. If their results differ by a byte, the remaining organizations are asked, and
//!    the largest equal set that satisfies the plan counts.
//! 3. [`Transaction`]: proposal, result and endorsements. Signed by the author again.
//! 4. [`Ledger::commit`]: the delivery of verdicts is opened, then the transaction is handed to an orderer. If no verdict comes it is
//!    looked up by its id, and handed in again *unchanged*: the same transaction is valid at most once.
//!
//! [`Ledger::submit`] does all of it and simulates anew after a conflict; [`Ledger::query`] is step 2 at one peer.
#![forbid(unsafe_code)]

mod authorities;
pub mod block;
pub mod channel;
mod client;
mod commit;
mod compare;
mod der;
mod endorse;
mod environment;
mod error;
pub mod identity;
pub mod lifecycle;
mod limits;
mod line;
mod node;
mod orderer;
mod outcome;
pub mod policy;
mod profile;
pub mod proposal;
pub mod proto;
pub mod signature;
mod transaction;

pub use block::{Block, BlockTransaction, ProcessedTransaction};
pub use channel::{BatchLimits, ChannelConfig};
pub use client::{ChainInfo, Ledger};
pub use commit::{Committed, Outcome};
pub use environment::{Environment, SystemEnvironment};
pub use error::{Failure, Failures, LedgerError};
pub use identity::{Identity, PemSigner, SharedSigner};
pub use limits::Limits;
pub use node::MAX_MESSAGE_BYTES;
pub use profile::{ClientTls, ConnectionProfile, EndorserGroup, Endorsers, IdentityProfile, NodeEndpoint, SecretPem};
pub use proposal::{Call, Nonce, Proposal};
pub use proto::transaction::TxValidationCode;
pub use transaction::{Endorsed, SignedTransaction, Transaction};
pub use vitro_proof::{Signature, Signer, SignerError};
