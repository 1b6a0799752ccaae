//! Changes of a device's status in the table `devices`.
//!
//! An entry is read, changed by the pure rules of [`super::Device`], and written on the condition that its status is still the one that
//! was read. What is written here is what should be; the function `status` makes AWS IoT Core and the ledger agree and notes how far it
//! came ([`Devices::note_applied`]).

use async_trait::async_trait;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use vitro_proof::{DeviceId, SequenceNumber, UnixMillis};

use super::table::Updated;
use super::{Cause, Device, Devices, Exchanged, Status, StatusChange, Suspension, entry};
use crate::backoff;
use crate::error::CloudError;
use crate::item::{n, s, ss};

/// The registry as far as a device's status goes.
#[async_trait]
pub trait StatusStore: Send + Sync {
    /// Suspends a device: what it sends is refused from now on, its numbers up to `last_good` stay good. See [`Device::suspended`] for what
    /// becomes of an earlier suspension.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] without the device, [`CloudError::Contended`] if others kept changing it, or as any call.
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError>;

    /// Lets a suspended device send again, watched for silence from its next message on. After a revocation `renewed` names the
    /// certificate that replaced the revoked one ([`Device::activated`]).
    ///
    /// # Errors
    /// [`CloudError::Refused`] if it is retired, or revoked and not renewed; and as [`StatusStore::suspend`].
    async fn activate(&self, id: &DeviceId, renewed: Option<&str>) -> Result<StatusChange, CloudError>;

    /// Retires a device for good; numbers up to `last_good` stay good.
    ///
    /// # Errors
    /// As [`StatusStore::suspend`].
    async fn retire(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError>;

    /// Retires a device whose metering point another one took over.
    ///
    /// # Errors
    /// [`CloudError::Refused`] if it was exchanged otherwise; and as [`StatusStore::suspend`].
    async fn exchange(&self, id: &DeviceId, exchange: &Exchanged) -> Result<StatusChange, CloudError>;

    /// Notes that AWS IoT Core and the ledger agree with this revision of the status. It never goes back.
    ///
    /// # Errors
    /// As any call.
    async fn note_applied(&self, id: &DeviceId, revision: u64) -> Result<(), CloudError>;

    /// The instant of the suspension that was lifted last: evidence that was received up to then has been judged.
    ///
    /// # Errors
    /// As any call.
    async fn judged_through(&self, id: &DeviceId) -> Result<Option<UnixMillis>, CloudError>;
}

#[async_trait]
impl StatusStore for Devices {
    async fn suspend(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        let suspension = Suspension { at, last_good, cause };
        self.change(id, |device| Ok(device.suspended(&suspension))).await
    }

    async fn activate(&self, id: &DeviceId, renewed: Option<&str>) -> Result<StatusChange, CloudError> {
        self.change(id, |device| device.activated(renewed)).await
    }

    async fn retire(
        &self,
        id: &DeviceId,
        at: UnixMillis,
        last_good: Option<SequenceNumber>,
        cause: Cause,
    ) -> Result<StatusChange, CloudError> {
        let suspension = Suspension { at, last_good, cause };
        self.change(id, |device| Ok(device.retired(&suspension))).await
    }

    async fn exchange(&self, id: &DeviceId, exchange: &Exchanged) -> Result<StatusChange, CloudError> {
        self.change(id, |device| device.exchanged(exchange)).await
    }

    async fn note_applied(&self, id: &DeviceId, revision: u64) -> Result<(), CloudError> {
        let update = self
            .update(id)
            .update_expression("SET status_applied = :revision")
            .condition_expression(
                "attribute_exists(device) AND (attribute_not_exists(status_applied) OR status_applied < :revision)",
            )
            .expression_attribute_values(":revision", n(revision));
        self.send(update).await.map(|_| ())
    }

    async fn judged_through(&self, id: &DeviceId) -> Result<Option<UnixMillis>, CloudError> {
        self.read_judged_through(id).await
    }
}

impl Devices {
    async fn change<F>(&self, id: &DeviceId, decide: F) -> Result<StatusChange, CloudError>
    where
        F: Fn(&Device) -> Result<Option<Device>, CloudError> + Send + Sync,
    {
        for _ in 0..backoff::ATTEMPTS {
            let known = self.require(id).await?;
            let Some(next) = decide(&known)? else { return Ok(StatusChange { device: known, changed: false }) };
            if let Updated::Done = self.send(write(self.update(id), &known, &next)?).await? {
                return Ok(StatusChange { device: next, changed: true });
            }
        }
        Err(CloudError::Contended(format!("the status of {id}")))
    }
}

/// Writes a status over the one that was read.
fn write(
    update: UpdateItemFluentBuilder,
    known: &Device,
    next: &Device,
) -> Result<UpdateItemFluentBuilder, CloudError> {
    let mut set = vec!["#status = :status", "status_revision = :revision"];
    // Not in the index of those that are watched: an active one comes back to it with its next message.
    let mut remove = vec!["live_shard"];
    let mut attribute = |is_there: bool, assignment: &'static str, name: &'static str| {
        if is_there { set.push(assignment) } else { remove.push(name) }
    };
    attribute(next.suspended_at.is_some(), "suspended_at = :at", "suspended_at");
    attribute(next.last_good.is_some(), "last_good = :good", "last_good");
    attribute(next.cause.is_some(), "cause = :cause", "cause");
    attribute(!next.revoked_certificates.is_empty(), "revoked_certificates = :revoked", "revoked_certificates");
    if next.exchange.is_some() {
        set.push("exchange = :exchange");
    }
    if next.status != Status::Suspended {
        remove.push("gap_since");
    }
    // An operator has judged what led to the suspension.
    let judged = known.suspended_at.filter(|_| next.status == Status::Active);
    if judged.is_some() {
        set.push("judged_through = :judged");
        remove.push("signature_failures");
    }
    let expression = format!("SET {} REMOVE {}", set.join(", "), remove.join(", "));
    let revision = match known.status_revision {
        0 => "(attribute_not_exists(status_revision) OR status_revision = :seen)",
        _ => "status_revision = :seen",
    };
    let mut update = update
        .update_expression(expression)
        // A reinstatement after a revocation holds for the certificate that was read.
        .condition_expression(format!("#status = :was AND {revision} AND certificate_id = :certificate"))
        .expression_attribute_names("#status", "status")
        .expression_attribute_values(":status", s(next.status.as_str()))
        .expression_attribute_values(":was", s(known.status.as_str()))
        .expression_attribute_values(":revision", n(next.status_revision))
        .expression_attribute_values(":seen", n(known.status_revision))
        .expression_attribute_values(":certificate", s(&known.certificate_id));
    if let Some(at) = next.suspended_at {
        update = update.expression_attribute_values(":at", n(at.0));
    }
    if let Some(judged) = judged {
        update = update.expression_attribute_values(":judged", n(judged.0));
    }
    if let Some(good) = next.last_good {
        update = update.expression_attribute_values(":good", n(good));
    }
    if let Some(cause) = next.cause {
        update = update.expression_attribute_values(":cause", s(cause));
    }
    if !next.revoked_certificates.is_empty() {
        update = update.expression_attribute_values(":revoked", ss(&next.revoked_certificates));
    }
    if let Some(exchange) = &next.exchange {
        update = update.expression_attribute_values(":exchange", s(entry::exchange_to_json(exchange)?));
    }
    Ok(update)
}
