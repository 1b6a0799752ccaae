//! The table `devices`.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use vitro_proof::crypto::AwsLcKey;
use vitro_proof::{DeviceId, SensorTable, UnixMillis};

use super::{Device, Mark, Status, entry, gap_shard, live_shard};
use crate::backoff::{self, Backoff};
use crate::error::CloudError;
use crate::item::{Item, Reader, flag, n, s, ss};

const SERVICE: &str = "dynamodb";
/// BatchGetItem takes so many keys.
const BATCH: usize = 100;

/// The registry of devices.
#[derive(Clone, Debug)]
pub struct Devices {
    pub(super) client: Client,
    pub(super) table: String,
}

/// A device with its key, parsed once.
pub struct Registered {
    /// The entry.
    pub device: Device,
    /// Its key, ready to verify with.
    pub key: AwsLcKey,
}

impl Registered {
    /// Parses the entry's key.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if the registered key is not on the curve.
    pub fn new(device: Device) -> Result<Self, CloudError> {
        let key = AwsLcKey::new(&device.public_key)
            .map_err(|error| CloudError::damaged(format!("the key of {}", device.id), error))?;
        Ok(Self { device, key })
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.device.id).finish()
    }
}

/// What became of a conditional update.
pub(super) enum Updated {
    Done,
    /// The condition did not hold; the item as it is, if the service said.
    Refused(Option<Item>),
}

impl Devices {
    /// The registry in a table.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Reads one entry, as it is now.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or the entry is damaged.
    pub async fn get(&self, id: &DeviceId) -> Result<Option<Device>, CloudError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("device", s(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "GetItem", error))?;
        found.item.as_ref().map(entry::read).transpose()
    }

    /// Reads one entry that must be there.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if it is not, and as [`Devices::get`].
    pub async fn require(&self, id: &DeviceId) -> Result<Device, CloudError> {
        self.get(id).await?.ok_or_else(|| CloudError::NotFound(format!("the device {id}")))
    }

    /// Reads many entries, as they are now. Those that are not registered are not in the answer; one that is damaged has its own
    /// error and spoils no other.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read.
    pub async fn get_many(
        &self,
        ids: &[DeviceId],
    ) -> Result<BTreeMap<DeviceId, Result<Device, CloudError>>, CloudError> {
        let mut found = BTreeMap::new();
        if let [id] = ids {
            match self.get(id).await {
                Ok(device) => found.extend(device.map(|device| (id.clone(), Ok(device)))),
                Err(error @ CloudError::Damaged { .. }) => _ = found.insert(id.clone(), Err(error)),
                Err(error) => return Err(error),
            }
            return Ok(found);
        }
        for chunk in ids.chunks(BATCH) {
            let mut keys: Vec<Item> = chunk.iter().map(|id| Item::from([("device".to_owned(), s(id))])).collect();
            let mut backoff = Backoff::new();
            while !keys.is_empty() {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .consistent_read(true)
                    .build()
                    .map_err(|error| CloudError::damaged("a request for registry entries", error))?;
                let answer = self
                    .client
                    .batch_get_item()
                    .request_items(&self.table, asked)
                    .send()
                    .await
                    .map_err(|error| CloudError::service(SERVICE, "BatchGetItem", error))?;
                for item in answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
                    let id: DeviceId = Reader::new("a registry entry", &item).parsed("device")?;
                    found.insert(id, entry::read(&item));
                }
                keys = answer
                    .unprocessed_keys
                    .unwrap_or_default()
                    .remove(&self.table)
                    .map(|rest| rest.keys)
                    .unwrap_or_default();
                if !keys.is_empty() {
                    backoff.wait(SERVICE, "BatchGetItem").await?;
                }
            }
        }
        Ok(found)
    }

    /// Every entry, in no order. Reads the whole table: for the command line and for schedules, not for messages.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or an entry is damaged.
    pub async fn list(&self) -> Result<Vec<Device>, CloudError> {
        let mut devices = Vec::new();
        let mut pages = self.client.scan().table_name(&self.table).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
            for item in page.items() {
                devices.push(entry::read(item)?);
            }
        }
        Ok(devices)
    }

    /// At most `limit` entries after `after`, in the table's own order; fewer only at the end. For schedules that go through the
    /// whole table in bounded steps.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or an entry is damaged.
    pub async fn page(&self, after: Option<&DeviceId>, limit: u32) -> Result<Vec<Device>, CloudError> {
        let mut devices = Vec::new();
        let mut start = after.map(|id| Item::from([("device".to_owned(), s(id))]));
        while devices.len() < limit as usize {
            let left = limit.saturating_sub(u32::try_from(devices.len()).unwrap_or(u32::MAX));
            let page = self
                .client
                .scan()
                .table_name(&self.table)
                .limit(i32::try_from(left).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
            for item in page.items() {
                devices.push(entry::read(item)?);
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(devices)
    }

    /// Adds a version of the sensor table. The same version with the same content again changes nothing.
    ///
    /// # Errors
    /// [`CloudError::Exists`] if that version has other content or a newer version is there, [`CloudError::NotFound`] without the
    /// device, [`CloudError::Contended`] if others changed the tables meanwhile.
    pub async fn add_sensor_table(&self, id: &DeviceId, table: &SensorTable) -> Result<(), CloudError> {
        let mut device = self.require(id).await?;
        if device.sensor_tables.contains(table) {
            return Ok(());
        }
        if device.sensor_tables.iter().any(|known| known.version() >= table.version()) {
            return Err(CloudError::Exists(format!("a sensor table {} or newer of {id}", table.version())));
        }
        let before = entry::tables_to_json(&device.sensor_tables)?;
        device.sensor_tables.push(table.clone());
        let update = self
            .update(id)
            .update_expression("SET sensor_tables = :new")
            .condition_expression("sensor_tables = :old")
            .expression_attribute_values(":new", s(entry::tables_to_json(&device.sensor_tables)?))
            .expression_attribute_values(":old", s(before));
        self.must(update, id).await
    }

    /// Takes a certificate that may connect no longer out of an entry. One that is not there is out already.
    ///
    /// # Errors
    /// [`CloudError::Refused`] if it is the device's newest, without which it could not connect at all; [`CloudError::NotFound`] if there
    /// is no such device.
    pub async fn forget_certificate(&self, id: &DeviceId, certificate: &str) -> Result<(), CloudError> {
        let update = self
            .update(id)
            .update_expression("DELETE certificate_ids :gone, admitting :gone")
            .condition_expression("attribute_exists(device) AND certificate_id <> :certificate")
            .expression_attribute_values(":gone", ss([certificate]))
            .expression_attribute_values(":certificate", s(certificate));
        match self.send(update).await? {
            Updated::Done => Ok(()),
            Updated::Refused(None) => Err(CloudError::NotFound(format!("the device {id}"))),
            Updated::Refused(Some(_)) => Err(CloudError::Refused(format!("{certificate} is the newest of {id}"))),
        }
    }

    /// Notes that a certificate is taken in: AWS IoT has it active. It is no error if that was noted before.
    ///
    /// # Errors
    /// As any call.
    pub async fn note_admitted(&self, id: &DeviceId, certificate: &str) -> Result<(), CloudError> {
        let update = self
            .update(id)
            .update_expression("DELETE admitting :done")
            .condition_expression("attribute_exists(device)")
            .expression_attribute_values(":done", ss([certificate]));
        self.must(update, id).await
    }

    /// Sets whether the device's telemetry is confidential by agreement.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] without the device.
    pub async fn set_confidential(&self, id: &DeviceId, confidential: bool) -> Result<(), CloudError> {
        let update = self
            .update(id)
            .update_expression("SET confidential = :confidential")
            .condition_expression("attribute_exists(device)")
            .expression_attribute_values(":confidential", flag(confidential));
        self.must(update, id).await
    }

    /// Moves the liveness mark, never back, and closes an open gap. Gives the mark that is there afterwards; nothing if the device
    /// is not active, whose mark is left alone.
    ///
    /// # Errors
    /// [`CloudError::Contended`] if others kept moving it, or as any call.
    pub async fn move_mark(&self, id: &DeviceId, mark: Mark) -> Result<Option<Mark>, CloudError> {
        let mut wanted = mark;
        for _ in 0..backoff::ATTEMPTS {
            let time = if wanted.time.is_some() { ", mark_time = :time" } else { "" };
            let update = self
                .update(id)
                .update_expression(format!(
                    "SET mark_number = :number, mark_received = :received, live_shard = :shard{time} REMOVE gap_since"
                ))
                .condition_expression(
                    "#status = :active AND (attribute_not_exists(mark_number) \
                     OR (mark_number <= :number AND mark_received <= :received))",
                )
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":active", s(Status::Active.as_str()))
                .expression_attribute_values(":number", n(wanted.number))
                .expression_attribute_values(":received", n(wanted.received.0))
                .expression_attribute_values(":shard", n(live_shard(id)));
            let update = match wanted.time {
                Some(time) => update.expression_attribute_values(":time", n(time.0)),
                None => update,
            };
            let item = match self.send(update).await? {
                Updated::Done => return Ok(Some(wanted)),
                Updated::Refused(Some(item)) => item,
                Updated::Refused(None) => match self.raw(id).await? {
                    Some(item) => item,
                    None => return Ok(None),
                },
            };
            let r = Reader::new("a registry entry", &item);
            if r.text("status")? != Status::Active.as_str() {
                return Ok(None);
            }
            let Some(known) = entry::mark(&r)? else { continue };
            if known.number >= mark.number && known.received >= mark.received {
                return Ok(Some(known));
            }
            wanted = known.merged(&mark);
        }
        Err(CloudError::Contended(format!("the mark of {id}")))
    }

    /// Notes that a device is silent since `since`, if its mark is still the one seen. Says whether it was: if not, a message came
    /// meanwhile. The next message closes the gap ([`Devices::move_mark`]).
    ///
    /// # Errors
    /// As any call.
    pub async fn open_gap(&self, id: &DeviceId, since: UnixMillis, seen: &Mark) -> Result<bool, CloudError> {
        let update = self
            .update(id)
            .update_expression("SET gap_since = :since, live_shard = :shard")
            .condition_expression("mark_received = :seen AND #status = :active")
            .expression_attribute_values(":shard", n(gap_shard(id)))
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":active", s(Status::Active.as_str()))
            .expression_attribute_values(":since", n(since.0))
            .expression_attribute_values(":seen", n(seen.received.0));
        Ok(matches!(self.send(update).await?, Updated::Done))
    }

    /// Active devices in one part of the liveness index whose mark is older than `before`. In the parts below
    /// [`super::LIVE_SHARDS`] they have no open gap and are candidates for one: their newest stored reading may be newer than the
    /// mark. In the parts from there on they have one.
    ///
    /// # Errors
    /// As any call.
    pub async fn quiet(&self, shard: u8, before: UnixMillis) -> Result<Vec<DeviceId>, CloudError> {
        let mut ids = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("liveness")
            .key_condition_expression("live_shard = :shard AND mark_received < :before")
            .expression_attribute_values(":shard", n(shard))
            .expression_attribute_values(":before", n(before.0))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                ids.push(Reader::new("a liveness index entry", item).parsed("device")?);
            }
        }
        Ok(ids)
    }

    async fn raw(&self, id: &DeviceId) -> Result<Option<Item>, CloudError> {
        let found = self.client.get_item().table_name(&self.table).key("device", s(id)).consistent_read(true).send();
        Ok(found.await.map_err(|error| CloudError::service(SERVICE, "GetItem", error))?.item)
    }

    pub(super) fn update(&self, id: &DeviceId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("device", AttributeValue::S(id.to_string()))
    }

    pub(super) async fn send(&self, update: UpdateItemFluentBuilder) -> Result<Updated, CloudError> {
        let sent =
            update.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld).send().await;
        match sent {
            Ok(_) => Ok(Updated::Done),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(Updated::Refused(refused.item().cloned().filter(|item| !item.is_empty())))
                }
                _ => Err(CloudError::service(SERVICE, "UpdateItem", error)),
            },
        }
    }

    async fn must(&self, update: UpdateItemFluentBuilder, id: &DeviceId) -> Result<(), CloudError> {
        match self.send(update).await? {
            Updated::Done => Ok(()),
            Updated::Refused(_) => Err(CloudError::Contended(format!("the device {id}"))),
        }
    }
}
