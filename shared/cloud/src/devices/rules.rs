//! Suspension by rules: what a device did is evidence enough, and no operator has to be awake.
//!
//! Evidence that an operator has judged does not count twice: a reinstatement notes the instant of the suspension that it lifted, and
//! what was received up to then suspends nobody any more, whoever finds it again. What was refused while the device was suspended
//! was never judged.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use vitro_proof::{DeviceId, UnixMillis};

use super::{Devices, Status, StatusStore, Suspension};
use crate::error::CloudError;
use crate::item::{Reader, s, ss};
use crate::queue::{Outbox, StatusTask};

const SERVICE: &str = "dynamodb";

/// Suspends a device for evidence that was received at `evidence`, and has the change applied. It may be done again with the same
/// effect. Says whether the evidence counts; not if an operator has judged it.
///
/// # Errors
/// [`CloudError`]: then it has to be done again.
pub async fn suspend_by_rule<S, O>(
    store: &S,
    outbox: &O,
    id: &DeviceId,
    suspension: &Suspension,
    evidence: UnixMillis,
) -> Result<bool, CloudError>
where
    S: StatusStore + ?Sized,
    O: Outbox + ?Sized,
{
    if store.judged_through(id).await?.is_some_and(|judged| evidence <= judged) {
        tracing::info!(device = %id, cause = %suspension.cause, "evidence that an operator has judged suspends nobody");
        return Ok(false);
    }
    let change = store.suspend(id, suspension.at, suspension.last_good, suspension.cause).await?;
    if change.changed {
        let last_good = suspension.last_good.map(|number| number.0);
        tracing::warn!(device = %id, cause = %suspension.cause, last_good, "suspended by a rule");
    }
    if change.changed || !change.device.is_status_applied() {
        outbox.status(&StatusTask { thing: id.clone() }).await?;
    }
    Ok(true)
}

impl Devices {
    /// Notes signatures that failed under a device's own certificate, by their events' ids, and gives all that are noted: nothing if the
    /// device is not active, which then needs no suspension. The same event again is the same note.
    ///
    /// # Errors
    /// As any call.
    pub async fn note_failures(
        &self,
        id: &DeviceId,
        events: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, CloudError> {
        let noted = self
            .update(id)
            .update_expression("ADD signature_failures :events")
            .condition_expression("#status = :active")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":active", s(Status::Active.as_str()))
            .expression_attribute_values(":events", ss(events))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await;
        match noted {
            Ok(noted) => {
                let item = noted.attributes.unwrap_or_default();
                Reader::new("a registry entry", &item).texts("signature_failures").map(Some)
            }
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(None)
            }
            Err(error) => Err(CloudError::service(SERVICE, "UpdateItem", error)),
        }
    }

    /// Takes notes of failed signatures back.
    ///
    /// # Errors
    /// As any call.
    pub async fn forget_failures(&self, id: &DeviceId, events: &BTreeSet<String>) -> Result<(), CloudError> {
        let update = self
            .update(id)
            .update_expression("DELETE signature_failures :events")
            .condition_expression("attribute_exists(device)")
            .expression_attribute_values(":events", ss(events));
        self.send(update).await.map(|_| ())
    }

    pub(super) async fn read_judged_through(&self, id: &DeviceId) -> Result<Option<UnixMillis>, CloudError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("device", AttributeValue::S(id.to_string()))
            .projection_expression("judged_through")
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "GetItem", error))?;
        let item = found.item.unwrap_or_default();
        Ok(Reader::new("a registry entry", &item).number_opt("judged_through")?.map(UnixMillis))
    }
}
