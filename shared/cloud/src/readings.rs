//! The time series: every well-signed telemetry envelope as it came.
//!
//! The sort key is the number (8 bytes, big-endian) and the first 8 bytes of the leaf. So the same envelope again is the same item,
//! whoever writes it and how often, and another envelope under the same number is another item.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use futures_util::future::join_all;
use vitro_proof::{DeviceId, Envelope, Leaf, SequenceNumber, UnixMillis};

use crate::backoff::Backoff;
use crate::error::CloudError;
use crate::item::{Item, Reader, b, n, s, ss};

const SERVICE: &str = "dynamodb";
/// BatchWriteItem takes so many items.
pub const BATCH: usize = 25;
/// So many are read at once where the first few are likely to be enough.
const FEW: i32 = 64;
/// So many are read at once on the way back to an earlier instant ...
const PAGE_BACK: i32 = 1024;
/// ... and so many in all: two days of a device that sends every five seconds.
pub const READ_BACK: usize = 32_768;

/// The sort key of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadingKey(pub [u8; 16]);

impl ReadingKey {
    /// The key of an envelope.
    #[must_use]
    pub fn new(number: SequenceNumber, leaf: &Leaf) -> Self {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.0.to_be_bytes());
        key[8..].copy_from_slice(&leaf.0[..8]);
        Self(key)
    }

    /// The number in the key.
    #[must_use]
    pub fn number(&self) -> SequenceNumber {
        SequenceNumber(self.0[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The lowest key of a number.
    #[must_use]
    pub fn first_of(number: SequenceNumber) -> Self {
        Self::new(number, &Leaf([0; 32]))
    }

    /// The key after this one; nothing after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        u128::from_be_bytes(self.0).checked_add(1).map(|next| Self(next.to_be_bytes()))
    }
}

/// One stored envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The device.
    pub device: DeviceId,
    /// Number and beginning of the leaf.
    pub key: ReadingKey,
    /// The envelope as it came.
    pub envelope: Vec<u8>,
    /// The newest record's time; nothing if no record could be read.
    pub time: Option<UnixMillis>,
    /// When the rule saw it first.
    pub received: UnixMillis,
    /// Codes of the faults in its content.
    pub flags: BTreeSet<String>,
    /// When DynamoDB may delete it, in Unix seconds; nothing for never.
    pub expires: Option<i64>,
}

impl Reading {
    /// The sequence number.
    #[must_use]
    pub fn number(&self) -> SequenceNumber {
        self.key.number()
    }

    /// The stored envelope, taken apart again.
    ///
    /// # Errors
    /// [`CloudError::Damaged`]: only what parses is stored.
    pub fn parse(&self) -> Result<Envelope<'_>, CloudError> {
        Envelope::parse(&self.envelope)
            .map_err(|fault| CloudError::damaged(format!("reading {} of {}", self.number(), self.device), fault))
    }

    fn write(&self) -> Item {
        let mut item = Item::with_capacity(7);
        item.insert("device".into(), s(&self.device));
        item.insert("key".into(), b(self.key.0.as_slice()));
        item.insert("envelope".into(), b(self.envelope.as_slice()));
        item.insert("received".into(), n(self.received.0));
        if let Some(time) = self.time {
            item.insert("time".into(), n(time.0));
        }
        if !self.flags.is_empty() {
            item.insert("flags".into(), ss(&self.flags));
        }
        if let Some(expires) = self.expires {
            item.insert("expires".into(), n(expires));
        }
        item
    }

    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("a reading", item);
        Ok(Self {
            device: r.parsed("device")?,
            key: key(&r)?,
            envelope: r.bytes("envelope")?.to_vec(),
            time: r.number_opt("time")?.map(UnixMillis),
            received: UnixMillis(r.number("received")?),
            flags: r.texts("flags")?,
            expires: r.number_opt("expires")?,
        })
    }
}

/// Readings in order: by number, then by the time they were received, so that the first of a number comes first.
pub(crate) fn sort(readings: &mut [Reading]) {
    readings.sort_by_key(|reading| (reading.number(), reading.received, reading.key));
}

/// The time series.
#[derive(Clone, Debug)]
pub struct Readings {
    client: Client,
    table: String,
}

impl Readings {
    /// The time series in a table.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Writes readings in batches of 25, and tries again what DynamoDB leaves undone. Answers for each, in order, so that one that
    /// fails takes no other with it. No two may have the same device and key: DynamoDB refuses such a batch.
    pub async fn write(&self, readings: &[Reading]) -> Vec<Result<(), CloudError>> {
        let batches = readings.chunks(BATCH).map(|batch| self.write_batch(batch));
        join_all(batches).await.into_iter().flatten().collect()
    }

    async fn write_batch(&self, readings: &[Reading]) -> Vec<Result<(), CloudError>> {
        let mut pending: Vec<usize> = (0..readings.len()).collect();
        let mut results: Vec<Result<(), CloudError>> = readings.iter().map(|_| Ok(())).collect();
        let mut backoff = Backoff::new();
        loop {
            match self.write_once(readings, &pending).await {
                Ok(left) => pending = left,
                Err(error) => {
                    let mut error = Some(error);
                    for index in pending {
                        // The first carries the error itself, the others a copy of what it says.
                        let own = error.take().unwrap_or_else(|| repeated(&results));
                        results[index] = Err(own);
                    }
                    return results;
                }
            }
            if pending.is_empty() {
                return results;
            }
            if backoff.wait(SERVICE, "BatchWriteItem").await.is_err() {
                for index in pending {
                    results[index] = Err(CloudError::Unprocessed {
                        service: SERVICE,
                        operation: "BatchWriteItem",
                        attempts: crate::backoff::ATTEMPTS,
                    });
                }
                return results;
            }
        }
    }

    /// One call; gives what was left undone.
    async fn write_once(&self, readings: &[Reading], pending: &[usize]) -> Result<Vec<usize>, CloudError> {
        let mut requests = Vec::with_capacity(pending.len());
        for index in pending {
            let put = PutRequest::builder()
                .set_item(Some(readings[*index].write()))
                .build()
                .map_err(|error| CloudError::damaged("a request to store a reading", error))?;
            requests.push(WriteRequest::builder().put_request(put).build());
        }
        let answer = self
            .client
            .batch_write_item()
            .request_items(&self.table, requests)
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "BatchWriteItem", error))?;
        let left = answer.unprocessed_items.unwrap_or_default().remove(&self.table).unwrap_or_default();
        let left: Vec<(&str, &[u8])> = left.iter().filter_map(key_of).collect();
        let is_left = |index: &usize| {
            let reading = &readings[*index];
            left.contains(&(reading.device.as_str(), reading.key.0.as_slice()))
        };
        Ok(pending.iter().copied().filter(is_left).collect())
    }

    /// The readings of the numbers from `first` to `last`, both included, ordered by number and then by received time.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or an item is damaged.
    pub async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError> {
        let (mut from, mut to) = ([0; 16], [0xff; 16]);
        from[..8].copy_from_slice(&first.0.to_be_bytes());
        to[..8].copy_from_slice(&last.0.to_be_bytes());
        let mut readings = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device AND #key BETWEEN :from AND :to")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":device", s(device))
            .expression_attribute_values(":from", b(from.as_slice()))
            .expression_attribute_values(":to", b(to.as_slice()))
            .consistent_read(true)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                readings.push(Reading::read(item)?);
            }
        }
        sort(&mut readings);
        Ok(readings)
    }

    /// What is stored under one number, the first received first.
    ///
    /// # Errors
    /// As [`Readings::range`].
    pub async fn at(&self, device: &DeviceId, number: SequenceNumber) -> Result<Vec<Reading>, CloudError> {
        self.range(device, number, number).await
    }

    /// The readings from the key `from` on, in the order of keys, at most `limit`; fewer only at the end. What it costs is what is read:
    /// numbers that nothing is stored under cost nothing, however many they are.
    ///
    /// # Errors
    /// As [`Readings::range`].
    pub async fn page(&self, device: &DeviceId, from: ReadingKey, limit: usize) -> Result<Vec<Reading>, CloudError> {
        let mut readings = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device AND #key >= :from")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":device", s(device))
            .expression_attribute_values(":from", b(from.0.as_slice()))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .into_paginator()
            .send();
        while readings.len() < limit {
            let Some(page) = pages.next().await else { break };
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                readings.push(Reading::read(item)?);
            }
        }
        readings.truncate(limit);
        Ok(readings)
    }

    /// The readings with the highest numbers, the highest first, at most `limit`.
    ///
    /// # Errors
    /// As [`Readings::range`].
    pub async fn highest(&self, device: &DeviceId, limit: u8) -> Result<Vec<Reading>, CloudError> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device")
            .expression_attribute_values(":device", s(device))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(limit.into())
            .send()
            .await
            .map_err(|error| CloudError::service(SERVICE, "Query", error))?;
        found.items().iter().map(Reading::read).collect()
    }

    /// The readings that were received up to an instant, those with the highest numbers first, at most `limit` of them. It reads what came
    /// since as well, and gives up after [`READ_BACK`] readings: who is asked about an hour soon after it reads little more than it is told.
    /// What was written a moment ago may be missing (eventually consistent).
    ///
    /// # Errors
    /// As [`Readings::range`].
    pub async fn up_to(&self, device: &DeviceId, at: UnixMillis, limit: usize) -> Result<Vec<Reading>, CloudError> {
        let (mut found, mut read, mut start) = (Vec::new(), 0, None);
        loop {
            // Little at first, since that is mostly enough.
            let next = if read == 0 { i32::try_from(limit).unwrap_or(FEW).min(FEW) } else { PAGE_BACK };
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("device = :device")
                .expression_attribute_values(":device", s(device))
                .scan_index_forward(false)
                .limit(next)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            read += page.items().len();
            for item in page.items() {
                let reading = Reading::read(item)?;
                if reading.received <= at {
                    found.push(reading);
                }
                if found.len() == limit {
                    return Ok(found);
                }
            }
            start = page.last_evaluated_key;
            if start.is_none() || read >= READ_BACK {
                return Ok(found);
            }
        }
    }

    /// The highest number that was received before an instant: the last good number of a suspension that nobody gave one. It reads what
    /// came since, and stops at the first that is older.
    ///
    /// # Errors
    /// As [`Readings::range`].
    pub async fn highest_before(
        &self,
        device: &DeviceId,
        at: UnixMillis,
    ) -> Result<Option<SequenceNumber>, CloudError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device")
            .expression_attribute_values(":device", s(device))
            .projection_expression("#key, received")
            .expression_attribute_names("#key", "key")
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(FEW)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                let r = Reader::new("a reading", item);
                if r.number::<i64>("received")? < at.0 {
                    return Ok(Some(key(&r)?.number()));
                }
            }
        }
        Ok(None)
    }
}

fn key(r: &Reader<'_>) -> Result<ReadingKey, CloudError> {
    Ok(ReadingKey(r.bytes("key")?.try_into().map_err(|_| r.bad("key", "it has not 16 bytes"))?))
}

/// An error like the one that the first of a failed batch has.
fn repeated(results: &[Result<(), CloudError>]) -> CloudError {
    match results.iter().find_map(|result| result.as_ref().err()) {
        Some(CloudError::Service { service, operation, code, detail }) => {
            CloudError::Service { service, operation, code: code.clone(), detail: detail.clone() }
        }
        Some(error) => CloudError::damaged("a request to store a reading", error),
        None => CloudError::Unprocessed { service: SERVICE, operation: "BatchWriteItem", attempts: 1 },
    }
}

fn key_of(request: &WriteRequest) -> Option<(&str, &[u8])> {
    let item = &request.put_request()?.item;
    match (item.get("device")?, item.get("key")?) {
        (AttributeValue::S(device), AttributeValue::B(key)) => Some((device, key.as_ref())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(number: u64, leaf: [u8; 32], received: i64) -> Reading {
        Reading {
            device: "dev-1".parse().unwrap(),
            key: ReadingKey::new(SequenceNumber(number), &Leaf(leaf)),
            envelope: vec![1, 2, 3],
            time: None,
            received: UnixMillis(received),
            flags: BTreeSet::new(),
            expires: None,
        }
    }

    #[test]
    fn the_first_received_of_a_number_comes_first() {
        let mut readings = vec![reading(8, [0; 32], 1), reading(7, [9; 32], 5), reading(7, [3; 32], 6)];
        sort(&mut readings);
        let order: Vec<_> = readings.iter().map(|r| (r.number().0, r.received.0)).collect();
        assert_eq!(order, [(7, 5), (7, 6), (8, 1)]);
    }

    #[test]
    fn a_damaged_item_is_told() {
        let mut item = reading(7, [1; 32], 2).write();
        item.insert("key".into(), b([1, 2, 3].as_slice()));
        assert!(Reading::read(&item).unwrap_err().to_string().contains("16 bytes"));
        item.remove("envelope");
        assert!(Reading::read(&item).is_err());
        assert!(reading(7, [1; 32], 2).parse().is_err());
    }

    proptest! {
        #[test]
        fn readings_round_trip(
            number: u64, leaf: [u8; 32], envelope in proptest::collection::vec(any::<u8>(), 1..60),
            time in proptest::option::of(any::<i64>()), received: i64,
            flags in proptest::collection::btree_set("[a-z_]{1,10}", 0..4), expires in proptest::option::of(any::<i64>()),
        ) {
            let reading = Reading { envelope, time: time.map(UnixMillis), flags, expires, ..reading(number, leaf, received) };
            prop_assert_eq!(reading.number(), SequenceNumber(number));
            prop_assert_eq!(Reading::read(&reading.write()).unwrap(), reading);
        }

        #[test]
        fn keys_follow_one_another(number: u64, leaf: [u8; 32]) {
            let key = ReadingKey::new(SequenceNumber(number), &Leaf(leaf));
            prop_assert!(ReadingKey::first_of(SequenceNumber(number)) <= key);
            prop_assert!(key.next().is_none_or(|next| next > key));
            prop_assert_eq!(ReadingKey([0xff; 16]).next(), None);
        }

        #[test]
        fn keys_order_as_numbers_do(a: u64, b: u64, x: [u8; 32], y: [u8; 32]) {
            let (a_key, b_key) = (ReadingKey::new(SequenceNumber(a), &Leaf(x)), ReadingKey::new(SequenceNumber(b), &Leaf(y)));
            if a != b {
                prop_assert_eq!(a < b, a_key < b_key);
            }
        }
    }
}
