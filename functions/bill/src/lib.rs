//! Closes billing periods: the contract draws the statement, this function archives it.
//!
//! No amount is computed here. Called for one period it closes that; called by the schedule it closes every period that ended more than
//! [`GRACE_DAYS`] ago, so that days which are still being healed are not missed. Both can run again: a period closes once.
#![forbid(unsafe_code)]

mod biller;
mod due;
mod ledger;
#[cfg(test)]
mod tests;

pub use biller::{Answer, Biller, Request, Shown};
pub use due::{GRACE_DAYS, due};
pub use ledger::{BillError, FabricLedger, LedgerPort};
