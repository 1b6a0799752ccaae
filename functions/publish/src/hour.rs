//! A shard's hour: how many of its devices showed life. What is said was archived before, and is said as it was archived: the ledger takes one
//! word of an hour.

use std::time::Duration;

use vitro_client::{Channel, ClientError, Published};
use vitro_cloud::archive::Archive;
use vitro_cloud::days::DayStore;
use vitro_cloud::hours::HourRow;
use vitro_cloud::parked::{Park, Parked, ParkedState};
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{Alive, Hour, Record, SignOfLife};
use vitro_proof::UnixMillis;

use crate::{Again, LAST_MILLIS, Publish, RESERVE_MILLIS};

/// What became of an hour.
pub(crate) enum Said {
    /// It is on the ledger now.
    Now,
    /// It was there before.
    Before,
    /// It is parked for this reason.
    Refused(String),
}

impl<L: Channel, D: DayStore, A: Archive, P: Park, C: Clock> Publish<L, D, A, P, C> {
    /// Says a shard's hour, unless that is done. `deadline` is when the invocation ends.
    pub(crate) async fn say(&self, shard: &str, hour: i64, deadline: UnixMillis) -> Result<Said, Again> {
        let hours = self.stores.hours.as_ref();
        let row = hours.get(shard, hour).await?.ok_or(Again::NoHour)?;
        if row.tx.is_some() {
            return Ok(Said::Before);
        }
        let alive = self.read_hour(&row).await?;
        let left = deadline.0.saturating_sub(self.clock.now().0);
        if left < RESERVE_MILLIS {
            return Err(Again::Time);
        }
        let time = Duration::from_millis((left - LAST_MILLIS).unsigned_abs());
        let said = tokio::time::timeout(time, self.ledger.alive(&alive)).await.map_err(|_| Again::Time)?;
        match said {
            Ok(Published { answer, .. }) => {
                // Said again, the answer names the first transaction.
                hours.said(shard, hour, &answer.tx).await?;
                tracing::info!(shard, hour, alive = alive.alive, silent = alive.silent, tx = %answer.tx, "an hour is said");
                Ok(Said::Now)
            }
            Err(error) => match for_good(&error) {
                Some(code) => self.park_hour(&row, code, &error.to_string()).await,
                None => Err(error.into()),
            },
        }
    }

    /// The word of an hour, from the archive.
    async fn read_hour(&self, row: &HourRow) -> Result<Alive, Again> {
        let damaged = |detail: String| CloudError::damaged(format!("the archive's {}", row.object.key), detail);
        let bytes = self.stores.archive.get(&row.object).await?;
        let signs = Vec::<SignOfLife>::decode(&bytes).map_err(|e| damaged(e.to_string()))?;
        let (shard, hour) = (row.shard.parse(), Hour::beginning(row.hour));
        let (Ok(shard), Ok(hour)) = (shard, hour) else { return Err(damaged("its row names no hour".into()).into()) };
        let alive = Alive::of(shard, hour, &signs).map_err(|e| damaged(e.to_string()))?;
        if (alive.root, alive.alive, alive.silent) == (row.root, row.alive, row.silent) {
            Ok(alive)
        } else {
            Err(damaged("it does not say what its row says".into()).into())
        }
    }

    /// Sets an hour aside of which the ledger has another word, or which it refuses for good.
    async fn park_hour(&self, row: &HourRow, code: String, detail: &str) -> Result<Said, Again> {
        let (shard, hour) = (&row.shard, row.hour);
        self.stores
            .parked
            .park(&Parked {
                reason: code.clone(),
                id: format!("hour-{hour:012}-{shard}"),
                state: ParkedState::Open,
                device: None,
                object: Some((self.archive_bucket.clone(), row.object.key.clone())),
                detail: format!("the ledger refuses the hour {hour} of the shard {shard}: {detail}"),
                received: self.clock.now(),
            })
            .await?;
        self.stores.hours.park(shard, hour, &code).await?;
        tracing::warn!(%shard, hour, code, detail, "parked");
        Ok(Said::Refused(code))
    }
}

/// The code by which an hour is refused for good; nothing for what may go better later.
fn for_good(error: &ClientError) -> Option<String> {
    let code = error.code()?;
    matches!(code, "hour_taken" | "malformed" | "damaged" | "bad_arguments").then(|| code.to_owned())
}
