//! Keeping what is refused.

use vitro_cloud::parked::{Parked, ParkedState};
use vitro_cloud::{Clock, CloudError};
use vitro_proof::Reason;

use crate::Ingest;
use crate::plan::{Keep, Refused};
use crate::results::Done;
use crate::store::Store;

impl<S: Store, C: Clock> Ingest<S, C> {
    /// Keeps a refused message: the bytes first, then the row that points to them, evidence last.
    pub(crate) async fn refuse(&self, refused: &Refused<'_>) -> Result<Done, CloudError> {
        let (event, reason) = (refused.event, refused.refusal.reason());
        let capped = matches!(refused.keep, Keep::Capped);
        let stands_for = if capped {
            match self.cap.borrow_mut().admit(&event.thing, reason, event.received) {
                Some(stands_for) => stands_for,
                None => return Ok(Done::Refused(reason)),
            }
        } else {
            1
        };
        let kept = self.keep(refused, reason, stands_for).await;
        if kept.is_err() && capped {
            self.cap.borrow_mut().release(&event.thing, reason);
        }
        kept.map(|()| Done::Refused(reason))
    }

    async fn keep(&self, refused: &Refused<'_>, reason: &str, stands_for: u64) -> Result<(), CloudError> {
        let event = refused.event;
        let said = refused.refusal.to_string();
        let detail = if refused.detail.is_empty() { &said } else { &refused.detail };
        let object = match refused.keep {
            Keep::Capped | Keep::Quarantined => Some(self.store.quarantine(event, reason, detail, stands_for).await?),
            Keep::Evidence(_) => None,
        };
        let parked = Parked {
            reason: reason.to_owned(),
            id: event.id(),
            state: ParkedState::Open,
            device: event.thing.parse().ok(),
            object,
            detail: detail.clone(),
            received: event.received,
        };
        self.store.park(&parked).await?;
        if let Keep::Evidence(reading) = &refused.keep {
            self.store.write(std::slice::from_ref(&**reading)).await.into_iter().collect::<Result<(), _>>()?;
        }
        tracing::warn!(reason, topic = %event.topic, id = %parked.id, detail = %said, stands_for, "refused");
        Ok(())
    }
}
