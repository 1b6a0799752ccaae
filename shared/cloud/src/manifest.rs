//! The manifest: what the customer says about devices to come. A device that announces itself is registered as this says, or not at all.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use vitro_proof::{DeviceId, PublicKey, SensorTable, UnixMillis, ZoneName};

use crate::backoff::Backoff;
use crate::error::CloudError;
use crate::item::{Item, Reader, b, n, s};

const SERVICE: &str = "dynamodb";
/// BatchWriteItem takes so many puts.
const BATCH: usize = 25;

/// One expected device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The thing name that its certificate has as common name.
    pub thing: DeviceId,
    /// The metering point that it will serve.
    pub metering_point: String,
    /// The zone of the site's calendar.
    pub zone: ZoneName,
    /// The group of devices that agreements cover.
    pub shard: String,
    /// Its sensors.
    pub sensor_table: SensorTable,
    /// The key that it must have, if the customer knows it: then nobody else can come under its name.
    pub public_key: Option<PublicKey>,
    /// The serial number that its first certificate must have, in hex without leading zeros, if the customer knows it.
    pub serial: Option<String>,
    /// Whether its telemetry is to be confidential.
    pub confidential: bool,
    /// The device whose metering point it is to take over.
    pub replaces: Option<DeviceId>,
    /// When the customer said so.
    pub imported_at: UnixMillis,
}

impl Expected {
    /// Whether both say the same of the device, whenever they were said.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { imported_at: self.imported_at, ..other.clone() }
    }

    fn write(&self) -> Result<Item, CloudError> {
        let table = serde_json::to_string(&self.sensor_table);
        let mut item = Item::from([
            ("thing".to_owned(), s(&self.thing)),
            ("metering_point".to_owned(), s(&self.metering_point)),
            ("zone".to_owned(), s(&self.zone)),
            ("shard".to_owned(), s(&self.shard)),
            ("sensor_table".to_owned(), s(table.map_err(|error| CloudError::damaged("a sensor table", error))?)),
            ("imported_at".to_owned(), n(self.imported_at.0)),
        ]);
        if let Some(key) = &self.public_key {
            item.insert("public_key".into(), b(key.as_bytes().as_slice()));
        }
        if let Some(serial) = &self.serial {
            item.insert("serial".into(), s(serial));
        }
        if self.confidential {
            item.insert("confidential".into(), AttributeValue::Bool(true));
        }
        if let Some(replaces) = &self.replaces {
            item.insert("replaces".into(), s(replaces));
        }
        Ok(item)
    }

    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("a manifest entry", item);
        Ok(Self {
            thing: r.parsed("thing")?,
            metering_point: r.text("metering_point")?.to_owned(),
            zone: r.parsed("zone")?,
            shard: r.text("shard")?.to_owned(),
            sensor_table: serde_json::from_str(r.text("sensor_table")?)
                .map_err(|error| r.bad("sensor_table", error))?,
            public_key: match r.bytes_opt("public_key")? {
                Some(bytes) => Some(PublicKey::from_sec1(bytes).map_err(|error| r.bad("public_key", error))?),
                None => None,
            },
            serial: r.text_opt("serial")?.map(str::to_owned),
            confidential: match item.get("confidential") {
                None => false,
                Some(AttributeValue::Bool(yes)) => *yes,
                Some(_) => return Err(r.bad("confidential", "it is no truth value")),
            },
            replaces: r.text_opt("replaces")?.map(str::parse).transpose().map_err(|error| r.bad("replaces", error))?,
            imported_at: UnixMillis(r.number("imported_at")?),
        })
    }
}

/// The table `manifest`.
#[derive(Clone, Debug)]
pub struct Manifest {
    client: Client,
    table: String,
}

impl Manifest {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// What is expected under a name; nothing if nothing is.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or the entry is damaged.
    pub async fn get(&self, thing: &DeviceId) -> Result<Option<Expected>, CloudError> {
        let found = self.client.get_item().table_name(&self.table).key("thing", s(thing)).consistent_read(true).send();
        let found = found.await.map_err(|error| CloudError::service(SERVICE, "GetItem", error))?;
        found.item.as_ref().map(Expected::read).transpose()
    }

    /// Everything that is expected, by name. Reads the whole table: for the command line.
    ///
    /// # Errors
    /// As [`Manifest::get`].
    pub async fn list(&self) -> Result<Vec<Expected>, CloudError> {
        let mut found = Vec::new();
        let mut pages = self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
            for item in page.items() {
                found.push(Expected::read(item)?);
            }
        }
        found.sort_by(|one, other| one.thing.cmp(&other.thing));
        Ok(found)
    }

    /// Writes entries; what was under their names is replaced. Repeating it after a failure finishes it.
    ///
    /// # Errors
    /// [`CloudError`]: some may be written then.
    pub async fn put(&self, entries: &[Expected]) -> Result<(), CloudError> {
        for chunk in entries.chunks(BATCH) {
            let mut left = Vec::with_capacity(chunk.len());
            for entry in chunk {
                let put = PutRequest::builder()
                    .set_item(Some(entry.write()?))
                    .build()
                    .map_err(|error| CloudError::damaged("a manifest entry", error))?;
                left.push(WriteRequest::builder().put_request(put).build());
            }
            let mut backoff = Backoff::new();
            while !left.is_empty() {
                let written = self.client.batch_write_item().request_items(&self.table, left).send().await;
                let written = written.map_err(|error| CloudError::service(SERVICE, "BatchWriteItem", error))?;
                left = written.unprocessed_items.unwrap_or_default().remove(&self.table).unwrap_or_default();
                if !left.is_empty() {
                    backoff.wait(SERVICE, "BatchWriteItem").await?;
                }
            }
        }
        Ok(())
    }

    /// Takes an entry away. Says whether it was there. A device that is registered stays so.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn remove(&self, thing: &DeviceId) -> Result<bool, CloudError> {
        let removed = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("thing", s(thing))
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "DeleteItem", error))?;
        Ok(removed.attributes.is_some_and(|item| !item.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    #[test]
    fn entries_round_trip() {
        let table = r#"{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}"#;
        let bare = Expected {
            thing: "dev-1".parse().unwrap(),
            metering_point: "mp-1".into(),
            zone: "Etc/GMT+7".parse().unwrap(),
            shard: "north".into(),
            sensor_table: serde_json::from_str(table).unwrap(),
            public_key: None,
            serial: None,
            confidential: false,
            replaces: None,
            imported_at: UnixMillis(7),
        };
        let key = SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key();
        let full = Expected {
            public_key: Some(key),
            serial: Some("4a".into()),
            confidential: true,
            replaces: Some("dev-0".parse().unwrap()),
            ..bare.clone()
        };
        assert!(!full.says_the_same(&bare));
        assert!(full.says_the_same(&Expected { imported_at: UnixMillis(8), ..full.clone() }));
        for entry in [bare, full] {
            assert_eq!(Expected::read(&entry.write().unwrap()).unwrap(), entry);
        }
    }

    #[test]
    fn damage_is_told() {
        let item = Item::from([("thing".to_owned(), s("dev-1"))]);
        assert!(Expected::read(&item).unwrap_err().to_string().contains("metering_point"));
    }
}
