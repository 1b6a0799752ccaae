//! What is stored, passed and answered.

mod agreement;
mod data;
mod registry;
mod statement;
mod status;

pub(crate) use agreement::Proposal;
pub use agreement::{Agreement, AgreementView, Currency, Field, Payee, PerUnit, PeriodKind, Tariff, Term};
pub(crate) use data::{BlockRecord, ChainRecord, DayRecord};
pub use data::{
    BlockRef, ChainView, Continuity, DayChange, DayOutcome, DayView, Inclusion, Item, Path, PublishedAccount,
    SummaryPage, SummaryRow, Verdict,
};
pub use registry::{Approval, DeviceApproval, DeviceEntry, DevicePage, DeviceView, Roles, RolesStatus};
pub(crate) use registry::{DeviceRecord, RolesVote};
pub use statement::{Line, Share, Statement, StatementHead, StatementView, Unbilled, UnbilledDays};
pub use status::{DeviceStatus, Exchange, ExchangeView, Halt, History, Service, Standing, StatusReason};
