//! The rules of the ledger: registry, agreements, data, billing, audit.
//!
//! [`invoke`] is the one way in. It is pure and deterministic: what it answers and writes depends on the arguments, the
//! [`Context`] and what the [`State`] holds, so that every peer, the development ledger and a test get the same bytes. It reads no
//! clock, draws no randomness and does no I/O; it knows nothing of Fabric beyond the [`State`] trait.
//!
//! What is stored and exchanged is deterministic CBOR (RFC 8949, section 4.2.1) with a schema version and integer keys
//! ([`Record`]); hashes are over those bytes. The page `docs/contract.md` lists functions, arguments, errors and keys.
#![forbid(unsafe_code)]

mod acceptance;
mod access;
mod agreement;
mod audit;
mod billing;
mod calendar;
mod call;
pub mod calls;
mod corrections;
mod data;
mod error;
mod ids;
mod keys;
mod late;
mod model;
mod money;
mod registry;
mod simulate;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod tx;
mod wire;

pub use agreement::{ACTIVE_EVENT, AMENDED_EVENT, TERMINATED_EVENT};
pub use billing::{CLOSED_EVENT, MAX_LINES};
pub use call::{Context, Creator, Event, OuRole, Response, State, StateError, invoke, is_query};
pub use data::{ALIVE_EVENT, MAX_ITEMS, PUBLISHED_EVENT};
pub use error::{ContractError, code_of};
pub use ids::{AgreementId, Bytes, MeteringPoint, MspId, Role, Shard};
pub use model::{
    AccountStep, Alive, AliveInclusion, AlivePage, AliveView, AuditDay, BlockView, Citation, Covered, DayHistory,
    EntryRevision, HistoryPage, Hour, Hours, LastValue, SignOfLife,
};
pub use model::{
    Agreement, AgreementPage, AgreementView, Amendment, Approval, Basis, BlockRef, ChainView, CitedCorrection,
    Continuity, Correction, Currency, DayChange, DayOutcome, DayView, DeedKind, DeviceApproval, DeviceChain,
    DeviceEntry, DevicePage, DeviceView, Field, Held, HeldAgreement, HeldVersion, InForcePage, Inclusion, Item, Line,
    Owed, Path, Payee, PerUnit, PeriodKind, PublishedAccount, Roles, RolesStatus, Settlement, Share, SimulatedPeriod,
    Simulation, Statement, StatementHead, StatementView, SummaryPage, SummaryRow, Tariff, Term, Termination, Unbilled,
    UnbilledDays, Verdict,
};
pub use model::{DeviceStatus, Exchange, ExchangeView, Halt, History, Service, Standing, StatusReason};
pub use status::{EXCHANGED_EVENT, STATUS_EVENT};
pub use wire::Record;
