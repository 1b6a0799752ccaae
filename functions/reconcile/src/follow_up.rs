//! What follows from an outcome. Every step can be done again without effect, and all are done again when a message comes again.

use vitro_cloud::CloudError;
use vitro_cloud::archive::{CBOR, PutOnce, account_key};
use vitro_cloud::days::{DayBlock, DayRow, DayState};
use vitro_cloud::parked::{Parked, ParkedState};
use vitro_cloud::queue::{PublishDay, PublishTask};
use vitro_proof::command::Action;
use vitro_proof::crypto::sha256;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{DayBounds, DeviceId, LocalDay, UnixMillis};

use crate::command_id;
use crate::ports::Ports;
use crate::settle::Settled;

/// How long a device may take to hear that a day is settled, in seconds.
const SETTLED_SECONDS: i64 = 24 * 3600;

impl Ports {
    /// Archives the account, tells operators of a mismatch, closes the day's numbers, hands the day to publish, and tells the device
    /// that it may prune.
    pub(crate) async fn follow_up(&self, row: &DayRow) -> Result<Settled, CloudError> {
        let (Some(outcome), Some(account)) = (row.outcome, row.account.as_ref()) else { return Ok(Settled::Stale) };
        let key = account_key(&row.thing, row.day, row.accounts);
        if self.archive.put_once(&key, account.clone(), CBOR).await? == PutOnce::Exists {
            tracing::debug!(%key, "the account is in the archive");
        }
        if outcome == Outcome::Mismatched {
            self.refusals.park(mismatched(row, account, self.clock.now())).await?;
        }
        self.close(&row.thing, row.day).await?;
        if row.state != DayState::Published {
            self.outbox.publish(&PublishTask::Day(PublishDay { thing: row.thing.clone(), day: row.day })).await?;
        }
        if let Some(block) = row.block.as_ref().filter(|_| outcome.agrees()) {
            self.tell_settled(row, block).await?;
        }
        Ok(Settled::Done(outcome))
    }

    async fn tell_settled(&self, row: &DayRow, block: &DayBlock) -> Result<(), CloudError> {
        let id = command_id::of_day(&row.thing, row.day, &format!("settled {}", block.number));
        let expires = self.clock.now().seconds().saturating_add(SETTLED_SECONDS);
        let action = Action::Settled { day: row.day, block: block.number, hash: block.hash };
        self.commands.send(&row.thing, id, expires, action).await.map(|_| ())
    }

    /// Moves `closed_through` over this day, and over the days after it that are settled already. It moves day by day from the run it
    /// stands before: a later day that is settled first closes nothing, or what is still to be healed before it would come too late.
    /// Days that are closed already are passed over, because a kill may have cut the walk short behind them.
    async fn close(&self, thing: &DeviceId, day: LocalDay) -> Result<(), CloudError> {
        let mut next = Some(day);
        while let Some(day) = next {
            let Some(row) = self.days.get(thing, day).await? else { return Ok(()) };
            let Some(block) = row.block.as_ref() else { return Ok(()) };
            if !row.is_settled()? || !self.close_run(thing, block.first, block.count).await? {
                return Ok(());
            }
            next = day.next();
        }
        Ok(())
    }

    /// Closes one run; says whether it is closed then. It is not if one before it is open.
    async fn close_run(&self, thing: &DeviceId, first: u64, count: u64) -> Result<bool, CloudError> {
        let end = first.saturating_add(count);
        loop {
            let closed = self.chains.head(thing).await?.closed_through;
            let open_from = closed.map_or(0, |closed| closed.saturating_add(1));
            if open_from < first {
                return Ok(false);
            }
            if open_from >= end {
                return Ok(true);
            }
            if self.chains.close(thing, closed, end - 1).await? {
                return Ok(true);
            }
        }
    }
}

/// The row that tells operators of a mismatch; the same for every delivery.
fn mismatched(row: &DayRow, account: &[u8], now: UnixMillis) -> Parked {
    let utc_end = "UTC".parse().and_then(|utc| DayBounds::of(&utc, row.day)).map_or(0, |bounds| bounds.to);
    let digest = sha256(&[row.thing.as_str().as_bytes(), b"\0", account]).to_string();
    let block = row.block.as_ref().map(|block| block.object.key.clone()).unwrap_or_default();
    let summary = row.summary.as_ref().map(|summary| format!("{} version {}", summary.key, summary.version));
    Parked {
        reason: Outcome::Mismatched.as_str().to_owned(),
        id: format!("{:015}-{}", utc_end.saturating_mul(1000), &digest[..16]),
        state: ParkedState::Open,
        device: Some(row.thing.clone()),
        object: None,
        detail: format!("{}: {}; block {block}, summary {}", row.day, row.detail, summary.unwrap_or_default()),
        received: now,
    }
}
