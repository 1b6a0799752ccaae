//! The table `hours`: what became of each shard's hour on its way to the ledger.
//!
//! What is said of an hour is archived before it is said, and said as it was archived: the ledger takes one word of an hour. The row names the
//! archived object; it has a transaction once the ledger has the hour.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use vitro_proof::{Hash, UnixMillis};

use crate::days::ObjectRef;
use crate::error::CloudError;
use crate::item::{Item, Reader, b, n, s};

const SERVICE: &str = "dynamodb";

/// A shard's hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourRow {
    /// The shard.
    pub shard: String,
    /// The Unix second with which the hour begins.
    pub hour: i64,
    /// The signs of life of its devices.
    pub object: ObjectRef,
    /// The Merkle root over them.
    pub root: Hash,
    /// How many devices were heard of.
    pub alive: u64,
    /// How many were silent.
    pub silent: u64,
    /// When this was found.
    pub found: UnixMillis,
    /// The transaction that brought it to the ledger; nothing until then.
    pub tx: Option<String>,
    /// Why the ledger refuses it for good.
    pub parked: Option<String>,
}

impl HourRow {
    /// Whether it still has to come to the ledger.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tx.is_none() && self.parked.is_none()
    }

    fn write(&self) -> Item {
        let mut item = Item::from([
            ("shard".to_owned(), s(&self.shard)),
            ("hour".to_owned(), n(self.hour)),
            ("object_key".to_owned(), s(&self.object.key)),
            ("object_version".to_owned(), s(&self.object.version)),
            ("root".to_owned(), b(self.root.0.as_slice())),
            ("alive".to_owned(), n(self.alive)),
            ("silent".to_owned(), n(self.silent)),
            ("found".to_owned(), n(self.found.0)),
        ]);
        if let Some(tx) = &self.tx {
            item.insert("tx".into(), s(tx));
        }
        if let Some(parked) = &self.parked {
            item.insert("parked".into(), s(parked));
        }
        item
    }

    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("a shard's hour", item);
        Ok(Self {
            shard: r.text("shard")?.to_owned(),
            hour: r.number("hour")?,
            object: ObjectRef { key: r.text("object_key")?.to_owned(), version: r.text("object_version")?.to_owned() },
            root: Hash::from_slice(r.bytes("root")?).map_err(|error| r.bad("root", error))?,
            alive: r.number("alive")?,
            silent: r.number("silent")?,
            found: UnixMillis(r.number("found")?),
            tx: r.text_opt("tx")?.map(str::to_owned),
            parked: r.text_opt("parked")?.map(str::to_owned),
        })
    }
}

/// Where hours are kept.
#[async_trait]
pub trait HourStore: Send + Sync {
    /// A row as it is now.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn get(&self, shard: &str, hour: i64) -> Result<Option<HourRow>, CloudError>;

    /// A shard's rows from one hour to another, both included, in order.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn range(&self, shard: &str, from: i64, to: i64) -> Result<Vec<HourRow>, CloudError>;

    /// Adds a row, if its hour has none; what is there stays.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn add(&self, row: &HourRow) -> Result<(), CloudError>;

    /// Notes that an hour is on the ledger. The first transaction stays.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn said(&self, shard: &str, hour: i64, tx: &str) -> Result<(), CloudError>;

    /// Notes that the ledger refuses an hour for good.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn park(&self, shard: &str, hour: i64, reason: &str) -> Result<(), CloudError>;
}

/// The table `hours`.
#[derive(Clone, Debug)]
pub struct DynamoHours {
    client: Client,
    table: String,
}

impl DynamoHours {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Sets an attribute of a row that is not on the ledger yet.
    async fn set(&self, shard: &str, hour: i64, update: &str, value: &str) -> Result<(), CloudError> {
        let sent = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("shard", s(shard))
            .key("hour", n(hour))
            .update_expression(update)
            .condition_expression("attribute_exists(#hour) AND attribute_not_exists(#tx)")
            .expression_attribute_names("#hour", "hour")
            .expression_attribute_names("#tx", "tx")
            .expression_attribute_names("#parked", "parked")
            .expression_attribute_values(":value", s(value))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            Err(e) => Err(CloudError::service(SERVICE, "UpdateItem", e)),
        }
    }
}

#[async_trait]
impl HourStore for DynamoHours {
    async fn get(&self, shard: &str, hour: i64) -> Result<Option<HourRow>, CloudError> {
        let found = self.client.get_item().table_name(&self.table).key("shard", s(shard)).key("hour", n(hour));
        let found = found.consistent_read(true).send().await;
        found.map_err(|e| CloudError::service(SERVICE, "GetItem", e))?.item.as_ref().map(HourRow::read).transpose()
    }

    async fn range(&self, shard: &str, from: i64, to: i64) -> Result<Vec<HourRow>, CloudError> {
        let mut rows = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#shard = :shard AND #hour BETWEEN :from AND :to")
            .expression_attribute_names("#shard", "shard")
            .expression_attribute_names("#hour", "hour")
            .expression_attribute_values(":shard", s(shard))
            .expression_attribute_values(":from", n(from))
            .expression_attribute_values(":to", n(to))
            .consistent_read(true)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                rows.push(HourRow::read(item)?);
            }
        }
        Ok(rows)
    }

    async fn add(&self, row: &HourRow) -> Result<(), CloudError> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row.write()))
            .condition_expression("attribute_not_exists(#hour)")
            .expression_attribute_names("#hour", "hour")
            .send()
            .await;
        match sent {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => Ok(()),
            Err(e) => Err(CloudError::service(SERVICE, "PutItem", e)),
        }
    }

    async fn said(&self, shard: &str, hour: i64, tx: &str) -> Result<(), CloudError> {
        self.set(shard, hour, "SET #tx = :value REMOVE #parked", tx).await
    }

    async fn park(&self, shard: &str, hour: i64, reason: &str) -> Result<(), CloudError> {
        self.set(shard, hour, "SET #parked = :value", reason).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let open = HourRow {
            shard: "west".into(),
            hour: 1_539_500_400,
            object: ObjectRef { key: "alive/west/001539500400.cbor".into(), version: "v1".into() },
            root: Hash([7; 32]),
            alive: 3,
            silent: 1,
            found: UnixMillis(1_539_504_300_000),
            tx: None,
            parked: None,
        };
        let said = HourRow { tx: Some("t".into()), ..open.clone() };
        let parked = HourRow { parked: Some("hour_taken".into()), ..open.clone() };
        assert_eq!([&open, &said, &parked].map(HourRow::is_open), [true, false, false]);
        for row in [open, said, parked] {
            assert_eq!(HourRow::read(&row.write()).unwrap(), row);
        }
    }
}
