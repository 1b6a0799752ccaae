//! Shards' hours in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Fuse, lock};
use crate::error::CloudError;
use crate::hours::{HourRow, HourStore};

/// Hours.
#[derive(Clone, Debug, Default)]
pub struct MemoryHours {
    fuse: Fuse,
    rows: Arc<Mutex<BTreeMap<(String, i64), HourRow>>>,
}

impl MemoryHours {
    /// No hours.
    #[must_use]
    pub fn new(fuse: Fuse) -> Self {
        Self { fuse, rows: Arc::default() }
    }

    /// All rows, by shard and hour.
    #[must_use]
    pub fn rows(&self) -> Vec<HourRow> {
        lock(&self.rows).values().cloned().collect()
    }

    fn change(&self, shard: &str, hour: i64, change: impl FnOnce(&mut HourRow)) -> Result<(), CloudError> {
        self.fuse.around(|| {
            if let Some(row) = lock(&self.rows).get_mut(&(shard.to_owned(), hour)).filter(|row| row.tx.is_none()) {
                change(row);
            }
        })
    }
}

#[async_trait]
impl HourStore for MemoryHours {
    async fn get(&self, shard: &str, hour: i64) -> Result<Option<HourRow>, CloudError> {
        self.fuse.around(|| lock(&self.rows).get(&(shard.to_owned(), hour)).cloned())
    }

    async fn range(&self, shard: &str, from: i64, to: i64) -> Result<Vec<HourRow>, CloudError> {
        self.fuse.around(|| {
            let rows = self.rows().into_iter();
            rows.filter(|row| row.shard == shard && (from..=to).contains(&row.hour)).collect()
        })
    }

    async fn add(&self, row: &HourRow) -> Result<(), CloudError> {
        self.fuse.around(|| {
            lock(&self.rows).entry((row.shard.clone(), row.hour)).or_insert_with(|| row.clone());
        })
    }

    async fn said(&self, shard: &str, hour: i64, tx: &str) -> Result<(), CloudError> {
        self.change(shard, hour, |row| (row.tx, row.parked) = (Some(tx.to_owned()), None))
    }

    async fn park(&self, shard: &str, hour: i64, reason: &str) -> Result<(), CloudError> {
        self.change(shard, hour, |row| row.parked = Some(reason.to_owned()))
    }
}
