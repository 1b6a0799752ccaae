//! Blocks, accounts and signs of life: publishing them, and asking for them.

mod alive;
mod chain;
mod history;
mod publish;
mod query;

pub use alive::ALIVE_EVENT;
pub(crate) use alive::{alive, find as find_alive, hours};
pub(crate) use chain::{Stored, by_number, continuity, daily_by_hash, following};
pub(crate) use history::{block, history, of_day};
pub(crate) use publish::publish;
pub(crate) use query::{block_of, chain_view, day, summaries};

/// The name of the event that publishing raises.
pub const PUBLISHED_EVENT: &str = "published";
/// The most items of one `data:publish`. A transaction's size ends most batches earlier.
pub const MAX_ITEMS: usize = 1_000;
