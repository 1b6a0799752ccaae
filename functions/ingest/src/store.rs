//! What ingest reads and writes, behind a trait: AWS here, memory in tests.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use aws_config::SdkConfig;
use vitro_cloud::archive::S3Archive;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::data_keys::{DataKeySource, KnownKeys, SecretDataKeys};
use vitro_cloud::days::{DayStore, DynamoDays};
use vitro_cloud::devices::{Device, Devices, Mark, Suspension, suspend_by_rule};
use vitro_cloud::parked::{Parked, ParkedTable};
use vitro_cloud::quarantine::Quarantine;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::{Reading, Readings};
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::{CloudError, aws};
use vitro_proof::{DeviceId, LocalDay, SequenceNumber, UnixMillis};

use crate::archived::{self, Archived};
use crate::config::Config;
use crate::evidence::Newest;

/// Where an object lies: bucket and key.
pub type Place = (String, String);

/// Registry entries by device; one that is damaged has its own error.
pub type Entries = BTreeMap<DeviceId, Result<Device, CloudError>>;

/// What ingest reads and writes. Every write may be made again with the same effect.
pub trait Store {
    /// Registry entries as they are now; who is not registered is not in the answer.
    fn devices(&self, ids: &[DeviceId]) -> impl Future<Output = Result<Entries, CloudError>>;
    /// The data-proxy keys, those of these ids among them if there are any.
    fn data_keys(&self, ids: &BTreeSet<String>) -> impl Future<Output = Result<KnownKeys, CloudError>>;
    /// What is stored under the numbers from `first` to `last`, both included.
    fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> impl Future<Output = Result<Vec<Reading>, CloudError>>;
    /// What the archive of closed days holds under these numbers.
    fn archived(
        &self,
        device: &DeviceId,
        numbers: &BTreeSet<u64>,
    ) -> impl Future<Output = Result<BTreeMap<u64, Vec<Archived>>, CloudError>>;
    /// Stores readings, no two under the same key, and answers for each in order.
    fn write(&self, readings: &[Reading]) -> impl Future<Output = Vec<Result<(), CloudError>>>;
    /// Widens a day's range of numbers.
    fn note_seen(
        &self,
        device: &DeviceId,
        day: LocalDay,
        low: u64,
        high: u64,
    ) -> impl Future<Output = Result<(), CloudError>>;
    /// Moves the mark, never back; gives the mark that is there afterwards.
    fn move_mark(&self, device: &DeviceId, mark: Mark) -> impl Future<Output = Result<Option<Mark>, CloudError>>;
    /// Keeps a refused message and says where.
    fn quarantine(
        &self,
        event: &RuleEvent,
        reason: &str,
        detail: &str,
        stands_for: u64,
    ) -> impl Future<Output = Result<Place, CloudError>>;
    /// Parks a row, unless it is there.
    fn park(&self, parked: &Parked) -> impl Future<Output = Result<(), CloudError>>;
    /// What a device has stored last.
    fn newest(&self, device: &DeviceId) -> impl Future<Output = Result<Newest, CloudError>>;
    /// Notes failed signatures by their events' ids, and gives all that are noted; nothing if the device is not active.
    fn note_failures(
        &self,
        device: &DeviceId,
        events: &BTreeSet<String>,
    ) -> impl Future<Output = Result<Option<BTreeSet<String>>, CloudError>>;
    /// Takes notes of failed signatures back.
    fn forget_failures(
        &self,
        device: &DeviceId,
        events: &BTreeSet<String>,
    ) -> impl Future<Output = Result<(), CloudError>>;
    /// Suspends a device for evidence that was received at `evidence`, unless an operator has judged that, and has the change applied.
    /// Says whether it counts.
    fn suspend(
        &self,
        device: &DeviceId,
        suspension: &Suspension,
        evidence: UnixMillis,
    ) -> impl Future<Output = Result<bool, CloudError>>;
}

/// So many readings with the highest numbers tell when a device was heard last: numbers and times go together but for a few.
const NEWEST: u8 = 16;

/// DynamoDB, S3, SQS and Secrets Manager.
#[derive(Debug)]
pub struct AwsStore {
    readings: Readings,
    devices: Devices,
    data_keys: SecretDataKeys<SystemClock>,
    days: DynamoDays,
    parked: ParkedTable,
    quarantine: Quarantine,
    archive: S3Archive,
    outbox: SqsOutbox,
}

impl AwsStore {
    /// The stack's tables and its quarantine bucket.
    #[must_use]
    pub fn new(sdk: &SdkConfig, config: &Config) -> Self {
        let dynamo = aws_sdk_dynamodb::Client::new(sdk);
        Self {
            readings: Readings::new(dynamo.clone(), &config.readings_table),
            devices: Devices::new(dynamo.clone(), &config.devices_table),
            data_keys: SecretDataKeys::new(
                &aws_sdk_secretsmanager::Client::new(sdk),
                std::slice::from_ref(&config.data_keys_secret),
                SystemClock,
            ),
            days: DynamoDays::new(dynamo.clone(), &config.days_table),
            parked: ParkedTable::new(dynamo, &config.parked_table),
            quarantine: Quarantine::new(aws::s3(sdk), &config.quarantine_bucket),
            archive: S3Archive::new(aws::s3(sdk), &config.archive_bucket),
            outbox: SqsOutbox::new(
                aws_sdk_sqs::Client::new(sdk),
                QueueUrls { status: Some(config.status_queue_url.clone()), ..QueueUrls::default() },
            ),
        }
    }
}

impl Store for AwsStore {
    async fn devices(&self, ids: &[DeviceId]) -> Result<Entries, CloudError> {
        self.devices.get_many(ids).await
    }

    async fn data_keys(&self, ids: &BTreeSet<String>) -> Result<KnownKeys, CloudError> {
        self.data_keys.keys(ids).await
    }

    async fn range(
        &self,
        device: &DeviceId,
        first: SequenceNumber,
        last: SequenceNumber,
    ) -> Result<Vec<Reading>, CloudError> {
        self.readings.range(device, first, last).await
    }

    async fn archived(
        &self,
        device: &DeviceId,
        numbers: &BTreeSet<u64>,
    ) -> Result<BTreeMap<u64, Vec<Archived>>, CloudError> {
        archived::read(&self.days, &self.archive, device, numbers).await
    }

    async fn write(&self, readings: &[Reading]) -> Vec<Result<(), CloudError>> {
        self.readings.write(readings).await
    }

    async fn note_seen(&self, device: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<(), CloudError> {
        self.days.note_seen(device, day, low, high).await
    }

    async fn move_mark(&self, device: &DeviceId, mark: Mark) -> Result<Option<Mark>, CloudError> {
        self.devices.move_mark(device, mark).await
    }

    async fn quarantine(
        &self,
        event: &RuleEvent,
        reason: &str,
        detail: &str,
        stands_for: u64,
    ) -> Result<Place, CloudError> {
        let key = self.quarantine.put(event, reason, detail, stands_for).await?;
        Ok((self.quarantine.bucket().to_owned(), key))
    }

    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        self.parked.park(parked).await
    }

    async fn newest(&self, device: &DeviceId) -> Result<Newest, CloudError> {
        let found = self.readings.highest(device, NEWEST).await?;
        let number = found.first().map(Reading::number);
        Ok(Newest { number, received: found.iter().map(|reading| reading.received).max() })
    }

    async fn note_failures(
        &self,
        device: &DeviceId,
        events: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, CloudError> {
        self.devices.note_failures(device, events).await
    }

    async fn forget_failures(&self, device: &DeviceId, events: &BTreeSet<String>) -> Result<(), CloudError> {
        self.devices.forget_failures(device, events).await
    }

    async fn suspend(
        &self,
        device: &DeviceId,
        suspension: &Suspension,
        evidence: UnixMillis,
    ) -> Result<bool, CloudError> {
        suspend_by_rule(&self.devices, &self.outbox, device, suspension, evidence).await
    }
}
