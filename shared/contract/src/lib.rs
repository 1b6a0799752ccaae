//! The rules of the ledger: registry, agreements, data, billing, audit.
//!
//! [`invoke`] is the one way in. It is pure and deterministic: what it answers and writes depends on the arguments, the
//! [`Context`] and what the [`State`] holds, so that every peer, the development ledger and a test get the same bytes. It reads no
//! clock, draws no randomness and does no I/O; it knows nothing of Fabric beyond the [`State`] trait.
//!
//! What is stored and exchanged is deterministic CBOR (RFC 8949, section 4.2.1) with a schema version and integer keys
//! ([`Record`]); hashes are over those bytes. The page `docs/contract.md` lists functions, arguments, errors and keys.
#![forbid(unsafe_code)]

mod access;
mod call;
mod error;
mod ids;
mod keys;
mod model;
mod registry;
mod tx;
mod wire;

pub use call::{Context, Creator, Event, OuRole, Response, State, StateError, invoke, is_query};
pub use error::{ContractError, code_of};
pub use ids::{AgreementId, Bytes, MeteringPoint, MspId, Role, Shard};
pub use model::{Approval, DeviceApproval, DeviceEntry, DevicePage, DeviceView, Roles, RolesStatus};
pub use wire::Record;
