//! What is stored, passed and answered.

mod agreement;
mod alive;
mod data;
mod deeds;
mod history;
mod registry;
mod statement;
mod status;

pub(crate) use agreement::MAX_CERTIFICATE;
pub use agreement::{Agreement, Currency, Field, Payee, PerUnit, PeriodKind, Tariff, Term};
pub use alive::{Alive, AliveInclusion, AlivePage, AliveView, Hour, Hours, LastValue, SignOfLife};
pub(crate) use data::{BlockRecord, ChainRecord, DayRecord};
pub use data::{
    BlockRef, ChainView, Continuity, DayChange, DayOutcome, DayView, Inclusion, Item, Path, PublishedAccount,
    SummaryPage, SummaryRow, Verdict,
};
pub use deeds::{
    AgreementPage, AgreementView, Amendment, DeedKind, Held, HeldAgreement, HeldVersion, InForcePage, Termination,
};
pub(crate) use deeds::{Deed, Proposal, Version, Versions};
pub use history::{
    AccountStep, AuditDay, Basis, BlockView, Citation, CitedCorrection, Covered, DayHistory, EntryRevision, HistoryPage,
};
pub use registry::{Approval, DeviceApproval, DeviceChain, DeviceEntry, DevicePage, DeviceView, Roles, RolesStatus};
pub(crate) use registry::{DeviceRecord, RolesVote};
pub(crate) use statement::{Corrected, Examined, Place, ShardClosed};
pub use statement::{
    Correction, Line, Owed, Settlement, Share, SimulatedPeriod, Simulation, Statement, StatementHead, StatementView,
    Unbilled, UnbilledDays,
};
pub use status::{DeviceStatus, Exchange, ExchangeView, Halt, History, Service, Standing, StatusReason};
