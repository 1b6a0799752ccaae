//! One device after another: read, bring into agreement, look again, note.

use vitro_client::{Channel, Client};
use vitro_cloud::batch::{BatchResponse, SqsEvent, SqsRecord, each};
use vitro_cloud::devices::{Device, Status, StatusStore};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::parked::{Park, Parked, ParkedState};
use vitro_cloud::queue::StatusTask;
use vitro_cloud::sources::DeviceSource;
use vitro_cloud::{Clock, CloudError};
use vitro_proof::{DeviceId, Reason};

use crate::certificates::{Certificates, Changed, State};
use crate::config::Config;
use crate::fault::{Fault, Stop};
use crate::ledger;

/// How often a status is applied anew because it changed meanwhile; then the message comes again.
const ROUNDS: usize = 3;

/// What status reads and writes.
pub struct Stores<R, I, P> {
    /// The registry.
    pub registry: R,
    /// The certificates in AWS IoT.
    pub certificates: I,
    /// What is parked.
    pub parked: P,
}

/// The function.
pub struct StatusFunction<L, R, I, P, C> {
    ledger: Client<L>,
    stores: Stores<R, I, P>,
    clock: C,
    stack: String,
    metrics: std::sync::Mutex<Metrics>,
}

impl<L: Channel, R: DeviceSource + StatusStore, I: Certificates, P: Park, C: Clock> StatusFunction<L, R, I, P, C> {
    /// The function over its ledger and stores.
    pub fn new(ledger: L, stores: Stores<R, I, P>, clock: C, config: &Config) -> Self {
        let stack = config.stack.to_string();
        Self { ledger: Client::new(ledger), stores, clock, metrics: Metrics::new(&stack).into(), stack }
    }

    /// Handles a batch of messages; what fails comes again alone.
    pub async fn handle(&self, event: SqsEvent) -> (BatchResponse, Metrics) {
        let response = each(event, |record| self.handle_one(record)).await;
        let mut metrics = self.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (response, std::mem::replace(&mut metrics, Metrics::new(&self.stack)))
    }

    async fn handle_one(&self, record: SqsRecord) -> Result<(), Stop> {
        let task: StatusTask = record.json("status task")?;
        match self.agree(&task.thing).await {
            Err(Stop::Fault(fault)) => Ok(self.park(&task.thing, &fault).await?),
            done => done,
        }
    }

    fn count(&self, name: &'static str, reason: Option<&str>) {
        let mut metrics = self.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match reason {
            Some(reason) => metrics.count_reason(name, reason, 1),
            None => metrics.count(name, 1),
        }
    }

    /// Applies a device's status until it did not change meanwhile. Two of these may run at a time, and the one that read the older status
    /// may write last: then it sees the newer one afterwards, and applies that.
    async fn agree(&self, id: &DeviceId) -> Result<(), Stop> {
        let mut device = self.device(id).await?;
        for _ in 0..ROUNDS {
            self.apply(&device).await?;
            let now = self.device(id).await?;
            if now.status_revision == device.status_revision {
                if !now.is_status_applied() {
                    self.stores.registry.note_applied(id, now.status_revision).await?;
                    self.count("StatusApplied", None);
                    tracing::info!(thing = %id, status = now.status.as_str(), revision = now.status_revision, "applied");
                }
                return Ok(());
            }
            device = now;
        }
        Err(CloudError::Contended(format!("the status of {id}")).into())
    }

    async fn device(&self, id: &DeviceId) -> Result<Device, Stop> {
        Ok(self.stores.registry.device(id).await?.ok_or(Fault::UnknownDevice)?)
    }

    /// Certificates and ledger, each whatever became of the other. What may go better later is told before what will not: the message
    /// comes again, until only that is left.
    async fn apply(&self, device: &Device) -> Result<(), Stop> {
        let certificates = self.apply_certificates(device).await;
        let ledger = ledger::apply(&self.ledger, &self.stores.registry, device).await;
        match (certificates, ledger) {
            (Err(Stop::Fault(fault)), Ok(()) | Err(Stop::Fault(_))) => Err(fault.into()),
            (Ok(()), ledger) | (Err(Stop::Fault(_)), ledger) => ledger,
            (certificates, _) => certificates,
        }
    }

    /// Brings every certificate of the device where it belongs.
    async fn apply_certificates(&self, device: &Device) -> Result<(), Stop> {
        for id in device.all_certificates() {
            let wanted = State::from(device.connection_of(id));
            let must_be = device.status == Status::Active && id == device.certificate_id;
            let changed = match self.stores.certificates.state(id).await? {
                None => Changed::Missing,
                Some(State::Revoked) if must_be && wanted != State::Revoked => {
                    return Err(Fault::CertificateRevoked(id.to_owned()).into());
                }
                // What is revoked stays so, whatever became of its device.
                Some(State::Revoked) => Changed::Done,
                Some(state) if state == wanted => Changed::Done,
                Some(_) => {
                    tracing::info!(thing = %device.id, certificate = id, ?wanted, "a certificate changes");
                    self.stores.certificates.change(id, &wanted).await?
                }
            };
            match changed {
                Changed::Missing if must_be => return Err(Fault::CertificateMissing(id.to_owned()).into()),
                // Nothing that could connect.
                Changed::Missing | Changed::Done => {}
                Changed::Stuck(detail) => return Err(Fault::CertificateStuck { id: id.to_owned(), detail }.into()),
            }
        }
        Ok(())
    }

    /// Sets a status aside that cannot be applied: one row for each revision and reason.
    async fn park(&self, id: &DeviceId, fault: &Fault) -> Result<(), CloudError> {
        let revision = self.stores.registry.device(id).await?.map_or(0, |device| device.status_revision);
        let row = Parked {
            reason: fault.reason().to_owned(),
            id: format!("{id}-{revision:06}"),
            state: ParkedState::Open,
            device: Some(id.clone()),
            object: None,
            detail: format!("the status of {id} cannot be applied: {fault}"),
            received: self.clock.now(),
        };
        self.stores.parked.park(&row).await?;
        self.count("StatusParked", Some(fault.reason()));
        tracing::warn!(thing = %id, reason = fault.reason(), detail = %fault, "parked");
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
