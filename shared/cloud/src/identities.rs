//! Who holds a key, and whom a certificate was issued to: the other half of the registry, so that two things can never hold one key.
//!
//! An identity is written in one transaction with the registry entry that it belongs to, under two names:
//!
//! - `key/<SHA-256 of the uncompressed point>`: a device is its key, and a key is one device's.
//! - `certificate/<SHA-256 of the issuer's SubjectPublicKeyInfo>/<serial>`: what a revocation list names a certificate by.
//!
//! The second carries its `issuer` as an attribute, for the index by which everything below a revoked authority is found. An identity
//! is never deleted and never given to another
//! device: a key that was used once stays used, whatever became of its device.

use std::str::FromStr;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, TransactWriteItem, Update};
use vitro_proof::chain::{Certificate, Serial};
use vitro_proof::crypto::sha256;
use vitro_proof::{DeviceId, Hash, PublicKey, UnixMillis};

use crate::backoff::Backoff;
use crate::devices::{Device, Devices, Registered, Status, write_entry};
use crate::error::CloudError;
use crate::item::{Item, Reader, s, ss};
use crate::trust::certificate_der;

const SERVICE: &str = "dynamodb";
/// BatchGetItem takes so many keys.
const BATCH: usize = 100;
/// How often a registration is looked at again after others changed what it touches.
const ROUNDS: u32 = 3;

/// What a revocation list knows a certificate by: who signed it, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateIdentity {
    /// SHA-256 of the issuer's SubjectPublicKeyInfo: an authority whose certificate is renewed under the same key goes on counting.
    pub issuer_key: Hash,
    /// The certificate's serial number.
    pub serial: Serial,
}

impl CertificateIdentity {
    /// An identity of its parts.
    #[must_use]
    pub fn new(issuer_key: Hash, serial: Serial) -> Self {
        Self { issuer_key, serial }
    }

    /// The name that it is stored under.
    #[must_use]
    pub fn name(&self) -> String {
        format!("certificate/{}/{}", self.issuer_key, self.serial)
    }
}

impl FromStr for CertificateIdentity {
    type Err = String;

    /// Reads a name as [`CertificateIdentity::name`] writes it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is no certificate's identity");
        let (issuer, serial) =
            text.strip_prefix("certificate/").and_then(|rest| rest.split_once('/')).ok_or_else(bad)?;
        Ok(Self { issuer_key: issuer.parse().map_err(|_| bad())?, serial: serial.parse().map_err(|_| bad())? })
    }
}

/// The name that a key is stored under.
#[must_use]
pub fn key_name(key: &PublicKey) -> String {
    format!("key/{}", sha256(&[key.as_bytes()]))
}

/// A certificate to be registered with its device.
#[derive(Clone, Debug)]
pub struct NewCertificate {
    /// What a revocation list will name it by.
    pub identity: CertificateIdentity,
    /// Its id in AWS IoT: the SHA-256 of its DER.
    pub id: String,
    /// The certificate in PEM.
    pub pem: String,
    /// How it came.
    pub origin: Origin,
}

/// How a certificate comes to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An operator made it, and says that it is the device's newest.
    Operator,
    /// The device showed it. It is being taken in until [`Devices::note_admitted`].
    Announced,
    /// The device showed it while it was suspended: it is registered, and whoever reinstates the device lets it connect.
    Held,
}

impl NewCertificate {
    /// Whether it becomes the newest of a device that has others. What a device shows may be older than what it has: it is held against
    /// the newest by validity, and takes the place of one that was revoked in any case.
    #[must_use]
    pub fn is_newest_of(&self, known: &Device) -> bool {
        self.origin == Origin::Operator
            || known.revoked_certificates.contains(&known.certificate_id)
            // One that cannot be read would never be replaced.
            || validity(&known.certificate).is_none_or(|newest| validity(&self.pem).is_some_and(|own| own >= newest))
    }
}

/// From when to when a certificate in PEM is good.
fn validity(pem: &str) -> Option<(UnixMillis, UnixMillis)> {
    let der = certificate_der(pem).ok()?;
    let certificate = Certificate::read(&der).ok()?;
    Some((certificate.not_before(), certificate.not_after()))
}

/// Whose certificate it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateHolder {
    /// The device.
    pub device: DeviceId,
    /// The certificate's id in AWS IoT.
    pub certificate_id: String,
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The device is new.
    New,
    /// The device was there with this key, and the certificate is new: a renewal.
    Renewed,
    /// All of it was there.
    Known,
}

/// The registry with its identities.
#[derive(Clone, Debug)]
pub struct Identities {
    client: Client,
    devices: Devices,
    devices_table: String,
    identities_table: String,
}

/// What became of a transaction.
enum Transacted {
    Done,
    /// A condition did not hold: somebody was there first.
    Refused,
}

impl Identities {
    /// The two tables by their names.
    #[must_use]
    pub fn new(client: Client, devices_table: impl Into<String>, identities_table: impl Into<String>) -> Self {
        let devices_table = devices_table.into();
        Self {
            devices: Devices::new(client.clone(), &devices_table),
            client,
            devices_table,
            identities_table: identities_table.into(),
        }
    }

    /// The registry alone.
    #[must_use]
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// Which device holds a key; nothing if none does, as of now.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or the row is damaged.
    pub async fn holder_of_key(&self, key: &PublicKey) -> Result<Option<DeviceId>, CloudError> {
        let item = self.identity(&key_name(key)).await?;
        item.map(|item| Reader::new("a key's identity", &item).parsed("device")).transpose()
    }

    /// Whose certificate this is; nothing if it is no registered device's.
    ///
    /// # Errors
    /// As [`Identities::holder_of_key`].
    pub async fn holder_of_certificate(
        &self,
        identity: &CertificateIdentity,
    ) -> Result<Option<CertificateHolder>, CloudError> {
        self.identity(&identity.name()).await?.as_ref().map(read_holder).transpose()
    }

    /// Whose certificates these are, a hundred a call; those that are no registered device's are left out.
    ///
    /// # Errors
    /// As [`Identities::holder_of_key`].
    pub async fn holders_of_certificates(
        &self,
        identities: &[CertificateIdentity],
    ) -> Result<Vec<(CertificateIdentity, CertificateHolder)>, CloudError> {
        let mut found = Vec::new();
        for chunk in identities.chunks(BATCH) {
            let mut keys: Vec<Item> =
                chunk.iter().map(|identity| Item::from([("identity".to_owned(), s(identity.name()))])).collect();
            let mut backoff = Backoff::new();
            while !keys.is_empty() {
                let asked = KeysAndAttributes::builder()
                    .set_keys(Some(keys))
                    .consistent_read(true)
                    .build()
                    .map_err(|error| CloudError::damaged("a request for identities", error))?;
                let asked = self.client.batch_get_item().request_items(&self.identities_table, asked).send().await;
                let mut answer = asked.map_err(|error| CloudError::service(SERVICE, "BatchGetItem", error))?;
                let items = answer.responses.as_mut().and_then(|tables| tables.remove(&self.identities_table));
                for item in items.unwrap_or_default() {
                    let identity = Reader::new("a certificate's identity", &item).parsed("identity")?;
                    found.push((identity, read_holder(&item)?));
                }
                let rest = answer.unprocessed_keys.as_mut().and_then(|tables| tables.remove(&self.identities_table));
                keys = rest.map(|rest| rest.keys).unwrap_or_default();
                if !keys.is_empty() {
                    backoff.wait(SERVICE, "BatchGetItem").await?;
                }
            }
        }
        Ok(found)
    }

    /// Everybody whose certificate a key signed, in no order. Reads the index: what was written a moment ago may be missing.
    ///
    /// # Errors
    /// As [`Identities::holder_of_key`].
    pub async fn under_issuer(&self, issuer_key: Hash) -> Result<Vec<CertificateHolder>, CloudError> {
        let mut holders = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.identities_table)
            .index_name("issuer")
            .key_condition_expression("issuer = :issuer")
            .expression_attribute_values(":issuer", s(issuer_key))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                holders.push(read_holder(item)?);
            }
        }
        Ok(holders)
    }

    /// Registers a device with its key and its certificate, all or nothing. The same device with the same key again is no error: a
    /// certificate that is new is added to those that it has, the rest of its entry stays as it is.
    ///
    /// # Errors
    /// [`CloudError::Exists`] if another device holds the key or the certificate, or this one is there with another key, and says
    /// which; [`CloudError::Damaged`] if it has no sensor table or a key off the curve; [`CloudError::Refused`] if it is retired;
    /// [`CloudError::Contended`] if others kept changing it.
    pub async fn register(&self, device: &Device, certificate: &NewCertificate) -> Result<Registration, CloudError> {
        device.sensor_table().map_err(|error| CloudError::damaged(format!("the device {}", device.id), error))?;
        Registered::new(device.clone())?;
        for _ in 0..ROUNDS {
            let Some(known) = self.devices.get(&device.id).await? else {
                let mut entry = device.clone();
                if certificate.origin == Origin::Announced {
                    entry.admitting.insert(certificate.id.clone());
                }
                let item = write_entry(&entry)?;
                match self.transact(self.put_entry(item), device, certificate).await? {
                    Transacted::Done => return Ok(Registration::New),
                    Transacted::Refused => {
                        self.explain(device, certificate).await?;
                        continue;
                    }
                }
            };
            if known.public_key != device.public_key {
                return Err(CloudError::Exists(format!("the device {} with another key", device.id)));
            }
            if known.status == Status::Retired {
                return Err(CloudError::Refused(format!("the device {} is retired", device.id)));
            }
            let is_known = known.certificate_ids.contains(&certificate.id)
                && self.holder_of_key(&device.public_key).await?.as_ref() == Some(&device.id)
                && self.holder_of_certificate(&certificate.identity).await?.is_some_and(|h| h.device == device.id);
            if is_known {
                return Ok(Registration::Known);
            }
            match self.transact(self.add_certificate(&known, certificate), device, certificate).await? {
                Transacted::Done => return Ok(Registration::Renewed),
                Transacted::Refused => self.explain(device, certificate).await?,
            }
        }
        Err(CloudError::Contended(format!("the device {}", device.id)))
    }

    /// Who was there first, if anybody was: if nobody was, it is worth another try.
    async fn explain(&self, device: &Device, certificate: &NewCertificate) -> Result<(), CloudError> {
        if let Some(holder) = self.holder_of_key(&device.public_key).await?.filter(|holder| *holder != device.id) {
            return Err(CloudError::Exists(format!("the key of {}, held by {holder},", device.id)));
        }
        match self.holder_of_certificate(&certificate.identity).await? {
            Some(holder) if holder.device != device.id || holder.certificate_id != certificate.id => {
                let CertificateHolder { device: holder, certificate_id } = holder;
                Err(CloudError::Exists(format!("{}, as {certificate_id} of {holder},", certificate.identity.name())))
            }
            _ => Ok(()),
        }
    }

    fn put_entry(&self, item: Item) -> Result<TransactWriteItem, BuildError> {
        let put = Put::builder()
            .table_name(&self.devices_table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(device)")
            .build()?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The newest certificate stands beside the set of all that may connect.
    fn add_certificate(&self, known: &Device, certificate: &NewCertificate) -> Result<TransactWriteItem, BuildError> {
        let is_there = known.certificate_ids.contains(&certificate.id);
        let is_newest = !is_there && certificate.is_newest_of(known);
        let is_admitted = is_there || certificate.origin != Origin::Announced;
        let newest = if is_newest { "SET certificate = :pem, certificate_id = :id " } else { "" };
        let admitting = if is_admitted { "" } else { ", admitting :new" };
        let mut update = Update::builder()
            .table_name(&self.devices_table)
            .key("device", s(&known.id))
            .update_expression(format!("{newest}ADD certificate_ids :ids{admitting}"))
            // As it was read: a certificate that another adds meanwhile must not be lost.
            .condition_expression("public_key = :key AND certificate_id = :known AND #status <> :retired")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":key", AttributeValue::B(known.public_key.as_bytes().to_vec().into()))
            .expression_attribute_values(":known", s(&known.certificate_id))
            .expression_attribute_values(":retired", s(Status::Retired.as_str()))
            .expression_attribute_values(":ids", ss([&known.certificate_id, &certificate.id]));
        if !is_admitted {
            update = update.expression_attribute_values(":new", ss([&certificate.id]));
        }
        if is_newest {
            update = update
                .expression_attribute_values(":pem", s(&certificate.pem))
                .expression_attribute_values(":id", s(&certificate.id));
        }
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }

    async fn transact(
        &self,
        entry: Result<TransactWriteItem, BuildError>,
        device: &Device,
        certificate: &NewCertificate,
    ) -> Result<Transacted, CloudError> {
        let built = |error: BuildError| CloudError::damaged("a transaction", error);
        let owner = ("device".to_owned(), s(&device.id));
        let key = Item::from([("identity".to_owned(), s(key_name(&device.public_key))), owner.clone()]);
        let issued = Item::from([
            ("identity".to_owned(), s(certificate.identity.name())),
            owner,
            ("certificate_id".to_owned(), s(&certificate.id)),
            ("issuer".to_owned(), s(certificate.identity.issuer_key)),
        ]);
        let mut items = vec![entry.map_err(built)?];
        for (item, condition) in [(key, "device = :device"), (issued, "(device = :device AND certificate_id = :id)")] {
            let mut put = Put::builder()
                .table_name(&self.identities_table)
                .set_item(Some(item))
                .condition_expression(format!("attribute_not_exists(#identity) OR {condition}"))
                // A reserved word.
                .expression_attribute_names("#identity", "identity")
                .expression_attribute_values(":device", s(&device.id));
            if condition.contains(":id") {
                put = put.expression_attribute_values(":id", s(&certificate.id));
            }
            items.push(TransactWriteItem::builder().put(put.build().map_err(built)?).build());
        }
        match self.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(Transacted::Done),
            Err(error) => match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
                    if codes().any(|code| code == "ConditionalCheckFailed") {
                        Ok(Transacted::Refused)
                    } else {
                        // Another transaction, or a throttled table: the same call may succeed later.
                        Err(CloudError::service(SERVICE, "TransactWriteItems", error))
                    }
                }
                _ => Err(CloudError::service(SERVICE, "TransactWriteItems", error)),
            },
        }
    }

    async fn identity(&self, name: &str) -> Result<Option<Item>, CloudError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.identities_table)
            .key("identity", s(name))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "GetItem", error))?;
        Ok(found.item)
    }
}

fn read_holder(item: &Item) -> Result<CertificateHolder, CloudError> {
    let r = Reader::new("a certificate's identity", item);
    Ok(CertificateHolder { device: r.parsed("device")?, certificate_id: r.text("certificate_id")?.to_owned() })
}

#[cfg(test)]
mod tests {
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    #[test]
    fn identities_have_one_name() {
        let issuer = Hash([0xab; 32]);
        let of = |serial: &[u8]| CertificateIdentity::new(issuer, Serial::from_bytes(serial).unwrap());
        assert_eq!(of(&[0, 0x80, 1]).name(), format!("certificate/{issuer}/8001"));
        assert_eq!(of(&[0x80, 1]), of(&[0, 0, 0x80, 1]));
        assert_ne!(of(&[1]), of(&[0x10]));
        assert_eq!(of(&[0x80, 1]).name().parse(), Ok(of(&[0x80, 1])));
        for bad in ["certificate/x/80".to_owned(), format!("certificate/{issuer}/"), format!("key/{issuer}")] {
            assert!(bad.parse::<CertificateIdentity>().is_err(), "{bad}");
        }
        let key = SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key();
        assert_eq!(key_name(&key).len(), "key/".len() + 64);
    }
}
