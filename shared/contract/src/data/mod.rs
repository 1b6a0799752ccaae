//! Daily blocks and accounts: publishing them, and asking for them.

mod chain;
mod publish;
mod query;

pub(crate) use chain::{Stored, by_number, continuity};
pub(crate) use publish::publish;
pub(crate) use query::{chain_view, day, summaries};

/// The name of the event that publishing raises.
pub const PUBLISHED_EVENT: &str = "published";
/// The most items of one `data:publish`. A transaction's size ends most batches earlier.
pub const MAX_ITEMS: usize = 1_000;
