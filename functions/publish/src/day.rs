//! A settled day: its newest account, with the block that it names.

use vitro_client::Channel;
use vitro_cloud::archive::Archive;
use vitro_cloud::days::{self, DayRow, DayState, DayStore};
use vitro_cloud::parked::{Park, Parked, ParkedState};
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{Bytes, Item, PublishedAccount, Verdict};
use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, LocalDay};

use crate::plan::Subject;
use crate::{Again, Publish, Run};

impl<L: Channel, D: DayStore, A: Archive, P: Park, C: Clock> Publish<L, D, A, P, C> {
    /// Reads a day and what the archive has of it; nothing if the newest account is published already or superseded.
    pub(crate) async fn load_day(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<(Subject, Item)>, Again> {
        let row = self.stores.days.get(thing, day).await?.ok_or(Again::NoAccount)?;
        if row.state == DayState::Published {
            return Ok(None);
        }
        let account = row.decoded_account()?.ok_or(Again::NoAccount)?;
        let bytes = row.account.clone().map(Bytes);
        let block = match (&row.block, account.block) {
            (Some(block), Some(number)) if block.number == number => {
                Some(Bytes(self.stores.archive.get(&block.object).await?))
            }
            (None, Some(number)) => {
                let what = format!("the row of {thing} {day}");
                return Err(CloudError::damaged(what, format!("its account names block {}", number.0)).into());
            }
            // No block came; or one came after this account, and an account of it follows.
            _ => None,
        };
        let item = Item { block, account: bytes, number: Some(row.accounts) };
        Ok(Some((Subject::Day(Box::new(row)), item)))
    }

    /// Notes that a day is published.
    pub(crate) async fn settle_day(
        &self,
        row: &DayRow,
        verdict: &Verdict,
        tx: &str,
        run: &mut Run,
    ) -> Result<(), Again> {
        let tx = if verdict.code == "unchanged" { self.first_publication(row).await? } else { tx.to_owned() };
        let (_, changed) =
            days::edit::<CloudError>(
                &self.stores.days,
                &row.thing,
                row.day,
                |now| Ok(now.published(row.accounts, &tx)),
            )
            .await?;
        if changed {
            run.metrics.count("DaysPublished", 1);
            tracing::info!(thing = %row.thing, day = %row.day, %tx, outcome = ?verdict.outcome, "published");
        }
        Ok(())
    }

    /// The transaction that brought the account to the ledger, when an earlier one did: its answer got lost.
    async fn first_publication(&self, row: &DayRow) -> Result<String, Again> {
        let view = self.ledger.day(&row.thing, row.day).await?;
        // The last that says so: the same may have been said before, and something else in between.
        let says_so = |published: &PublishedAccount| Some(&published.account.0) == row.account.as_ref();
        let found = view.accounts.into_iter().rev().find(says_so);
        let what = || format!("the ledger's day {} of {}", row.day, row.thing);
        Ok(found.ok_or_else(|| CloudError::damaged(what(), "it does not hold the account"))?.tx)
    }

    /// Whether a refused account is an older one of its day: another invocation published a newer one since the row was read. The older
    /// one can never be published then, and needs nobody: an account that comes after another says all that is to be said of the day.
    async fn went_on(&self, row: &DayRow, code: &str) -> Result<bool, Again> {
        if !matches!(code, "account_superseded" | "account_taken") {
            return Ok(false);
        }
        let now = self.stores.days.get(&row.thing, row.day).await?;
        Ok(now.is_some_and(|now| now.accounts > row.accounts))
    }

    /// Sets a day aside that the ledger refuses for good.
    pub(crate) async fn park_day(&self, row: &DayRow, code: &str, detail: &str, run: &mut Run) -> Result<(), Again> {
        if row.state == DayState::Parked && row.parked.as_deref() == Some(code) {
            return Ok(());
        }
        if self.went_on(row, code).await? {
            tracing::info!(thing = %row.thing, day = %row.day, account = row.accounts, code, "a newer account is there already");
            return Ok(());
        }
        let account = row.account.as_deref().unwrap_or_default();
        let hash = sha256(&[account, code.as_bytes(), &row.revision.to_be_bytes()]).to_string();
        let object = row.block.as_ref().map(|block| (self.archive_bucket.clone(), block.object.key.clone()));
        self.stores
            .parked
            .park(&Parked {
                reason: code.to_owned(),
                // The same at every attempt, another one after an operator sent the day again.
                id: format!("{}-{}-{}", row.day, row.thing, &hash[..8]),
                state: ParkedState::Open,
                device: Some(row.thing.clone()),
                object,
                detail: format!("the ledger refuses the day {} of {}: {detail}", row.day, row.thing),
                received: self.clock.now(),
            })
            .await?;
        let (_, changed) =
            days::edit::<CloudError>(&self.stores.days, &row.thing, row.day, |now| Ok(now.park(row.accounts, code)))
                .await?;
        if changed {
            run.metrics.count_reason("DaysParked", code, 1);
            tracing::warn!(thing = %row.thing, day = %row.day, code, detail, "parked");
        }
        Ok(())
    }
}
