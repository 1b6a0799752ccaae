//! The way of a device from its announcement to the ledger.

use std::sync::Mutex;

use vitro_client::{Channel, Client};
use vitro_cloud::batch::{BatchResponse, SqsEvent, SqsRecord, each};
use vitro_cloud::config::StackName;
use vitro_cloud::devices::{Device, LastGood, NewDevice, Status};
use vitro_cloud::identities::{CertificateIdentity, NewCertificate, Origin};
use vitro_cloud::manifest::Expected;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::queue::Outbox;
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::trust::certificate_der;
use vitro_cloud::verified::Chains;
use vitro_cloud::{Clock, CloudError};
use vitro_proof::chain::{Certificate, ChainFault, VerifiedChain};
use vitro_proof::{DeviceId, Reason, UnixMillis};

use crate::announced::Announced;
use crate::decide::{Facts, Plan, attributes_of, decide};
use crate::ledger::{self, NotYet};
use crate::ports::{CertificateState, Iot, IotCertificate, Keep, ManifestSource, Ports, Registry};
use crate::refusal::Refusal;
use crate::revoked::speaks_of_key;

/// Whose devices these are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The installation.
    pub stack: StackName,
    /// The IoT policy of its devices.
    pub policy: String,
}

/// Why a registration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The device is not taken in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is taken in; the ledger alone refuses it for good.
    #[error("{detail}")]
    Ledger { thing: DeviceId, code: String, detail: String },
    /// It comes again.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// It comes again: the ledger is away.
    #[error(transparent)]
    Away(#[from] vitro_client::ClientError),
}

impl From<ChainFault> for Failure {
    fn from(fault: ChainFault) -> Self {
        Self::Refused(fault.into())
    }
}

/// What became of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It is a device now.
    Registered,
    /// It has another certificate now.
    Renewed,
    /// It was and had.
    Known,
}

/// The function.
pub struct Register<L> {
    settings: Settings,
    iot: Box<dyn Iot>,
    pub(crate) registry: Box<dyn Registry>,
    manifest: Box<dyn ManifestSource>,
    pub(crate) readings: Box<dyn LastGood>,
    pub(crate) outbox: Box<dyn Outbox>,
    keep: Box<dyn Keep>,
    pub(crate) clock: Box<dyn Clock>,
    chains: Chains,
    ledger: Client<L>,
    metrics: Mutex<Metrics>,
}

impl<L: Channel> Register<L> {
    /// The function over what it stands on.
    pub fn new(settings: Settings, ports: Ports, ledger: L) -> Self {
        let metrics = Mutex::new(Metrics::new(&settings.stack));
        Self {
            iot: ports.iot,
            registry: ports.registry,
            manifest: ports.manifest,
            readings: ports.readings,
            outbox: ports.outbox,
            keep: ports.keep,
            clock: ports.clock,
            chains: Chains::new(ports.trust, ports.archive),
            ledger: Client::new(ledger),
            metrics,
            settings,
        }
    }

    /// Handles a batch; what fails comes again alone.
    pub async fn handle(&self, event: SqsEvent) -> (BatchResponse, Metrics) {
        let response = each(event, |record| self.handle_one(record)).await;
        let fresh = Metrics::new(&self.settings.stack);
        (response, self.with_metrics(|metrics| std::mem::replace(metrics, fresh)))
    }

    fn with_metrics<T>(&self, work: impl FnOnce(&mut Metrics) -> T) -> T {
        work(&mut self.metrics.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn handle_one(&self, record: SqsRecord) -> Result<(), Failure> {
        let event = RuleEvent::parse(record.body)?;
        let announced = Announced::of(&event)?;
        match self.take_in(&announced).await {
            Ok(done) => {
                match done {
                    Done::Registered => self.with_metrics(|metrics| metrics.count("DevicesRegistered", 1)),
                    Done::Renewed => self.with_metrics(|metrics| metrics.count("CertificatesRenewed", 1)),
                    Done::Known => {}
                }
                Ok(())
            }
            Err(Failure::Refused(refusal)) => Ok(self.refuse(&event, &announced, &refusal).await?),
            Err(Failure::Ledger { thing, code, detail }) => {
                self.keep.refuse(&event, Some(&thing), &code, &detail).await?;
                self.count_refused(&code);
                Ok(())
            }
            Err(again) => {
                self.with_metrics(|metrics| metrics.count("RegistrationsRetried", 1));
                Err(again)
            }
        }
    }

    /// Leaves the certificate inactive and keeps the event with the reason.
    async fn refuse(&self, event: &RuleEvent, announced: &Announced, refusal: &Refusal) -> Result<(), CloudError> {
        let certificate = self.iot.certificate(&announced.certificate_id).await?;
        let name = certificate_der(&certificate.pem).ok().and_then(|der| {
            let certificate = Certificate::read(&der).ok()?;
            certificate.common_name()?.parse::<DeviceId>().ok()
        });
        // First the evidence, then the change that keeps AWS IoT from announcing it again.
        self.keep.refuse(event, name.as_ref(), refusal.reason(), &refusal.to_string()).await?;
        // One that is active was let in by somebody, perhaps by another installation of the account: it is not ours to end.
        if certificate.state == CertificateState::Pending {
            self.iot.set_active(&announced.certificate_id, false).await?;
        }
        self.count_refused(refusal.reason());
        tracing::warn!(certificate = announced.certificate_id, reason = refusal.reason(), %refusal, "not taken in");
        Ok(())
    }

    fn count_refused(&self, reason: &str) {
        self.with_metrics(|metrics| metrics.count_reason("RegistrationsRefused", reason, 1));
    }

    async fn take_in(&self, announced: &Announced) -> Result<Done, Failure> {
        let id = announced.certificate_id.as_str();
        let certificate = self.iot.certificate(id).await?;
        let leaf = certificate_der(&certificate.pem)?;
        match certificate.state {
            CertificateState::Revoked => return Err(Refusal::Revoked.into()),
            CertificateState::Active => {
                if let Some(device) = self.holder(id, &leaf).await?.filter(|device| device.status == Status::Active) {
                    if device.admitting.contains(id) {
                        self.registry.note_admitted(&device.id, id).await?;
                    }
                    // It was taken in: whatever its chain is worth by now, that is for the trust function to say.
                    let is_new = self.to_ledger(&device).await?;
                    let issuer = self.issuer(&announced.ca_certificate_id).await?;
                    self.certify(&device, &leaf, issuer.as_deref()).await?;
                    return Ok(if is_new { Done::Registered } else { Done::Known });
                }
            }
            CertificateState::Pending | CertificateState::Inactive => {}
        }
        let issuer = self.issuer(&announced.ca_certificate_id).await?;
        let chain = match self.chains.verify(&leaf, issuer.as_deref(), self.clock.now()).await? {
            Ok(chain) => chain,
            Err(fault) => {
                // A registration that was cut short may have left it to a device; and what is said of a key holds for whoever has it,
                // even if this certificate was never shown before.
                let device = match self.holder(id, &leaf).await? {
                    None if speaks_of_key(&fault) => self.holder_of_key(&leaf).await?,
                    found => found,
                };
                if let Some(device) = device {
                    self.is_out(&device, id, &fault).await?;
                }
                return Err(fault.into());
            }
        };
        let name = &chain.common_name;
        let thing: DeviceId = name.parse().map_err(|_| Refusal::NotInManifest(name.chars().take(80).collect()))?;
        let expected = self.manifest.expected(&thing).await?;
        let replaced = match expected.as_ref().and_then(|expected| expected.replaces.as_ref()) {
            Some(old) => self.registry.device(old).await?,
            None => None,
        };
        let facts = Facts {
            thing: &thing,
            chain: &chain,
            registered: self.registry.device(&thing).await?,
            holder: self.registry.holder_of_key(&chain.public_key).await?,
            attributes: self.iot.thing(&thing).await?,
            expected,
            replaced,
        };
        let identity = CertificateIdentity::new(chain.issuer_key, chain.serial.clone());
        self.was_it_ended(&thing, id, certificate.state, &identity, facts.registered.as_ref()).await?;
        let plan = decide(facts, &self.settings.stack)?;
        let origin = if matches!(plan, Plan::Held(_)) { Origin::Held } else { Origin::Announced };
        let new = NewCertificate { identity, id: id.to_owned(), pem: certificate.pem.clone(), origin };
        let (device, done) = match plan {
            Plan::New(expected) => (self.device(*expected, &chain, &new), Done::Registered),
            Plan::Renewal(device) => (*device, Done::Renewed),
            Plan::Held(device) => {
                self.bind(&device.id, &certificate).await?;
                self.registry.register(&device, &new).await?;
                if device.admitting.contains(id) {
                    self.registry.note_admitted(&device.id, id).await?;
                }
                return Err(Refusal::DeviceSuspended(device.id).into());
            }
        };
        self.bind(&thing, &certificate).await?;
        self.registry.register(&device, &new).await?;
        // A list that came while the identity was being written did not find it: one of the two looks sees the other. It is a list's
        // word that counts here; for all else the first look was good.
        let verdict = self.chains.verify(&leaf, issuer.as_deref(), self.clock.now()).await?;
        let device =
            self.registry.device(&thing).await?.ok_or_else(|| CloudError::NotFound(format!("the device {thing}")))?;
        if let Err(fault) = verdict
            && self.is_out(&device, id, &fault).await?
        {
            return Err(fault.into());
        }
        match device.status {
            Status::Active => {}
            Status::Suspended => {
                // From here on it is for whoever reinstates the device.
                self.registry.note_admitted(&thing, id).await?;
                return Err(Refusal::DeviceSuspended(thing).into());
            }
            Status::Retired => return Err(Refusal::DeviceRetired(thing).into()),
        }
        self.iot.set_active(id, true).await?;
        self.registry.note_admitted(&thing, id).await?;
        tracing::info!(%thing, certificate = id, renewed = done == Done::Renewed, "taken in");
        self.to_ledger(&device).await?;
        self.certify(&device, &leaf, issuer.as_deref()).await?;
        Ok(done)
    }

    /// The authority that AWS IoT knows a certificate by.
    async fn issuer(&self, id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let issuer = self.iot.authority(id).await?;
        Ok(issuer.as_deref().map(certificate_der).transpose()?)
    }

    /// Puts the chain of a device that was taken in on the ledger.
    async fn certify(&self, device: &Device, leaf: &[u8], issuer: Option<&[u8]>) -> Result<(), Failure> {
        match self.chains.complete(leaf, issuer).await? {
            Ok(chain) => Ok(ledger::certify(&self.ledger, device, &chain).await?),
            // Its authority was taken out of the trust store meanwhile.
            Err(fault) => {
                tracing::warn!(thing = %device.id, %fault, "no chain for the ledger");
                Ok(())
            }
        }
    }

    /// Whether a certificate was taken in before and ended since, so that the same announcement, delivered again, does not revive it.
    ///
    /// A registration that was cut short leaves its certificate among those that are being taken in, and one that was refused leaves
    /// nothing in the registry at all. As long as a change of status is not applied, it may be what holds the certificate back.
    async fn was_it_ended(
        &self,
        thing: &DeviceId,
        id: &str,
        state: CertificateState,
        identity: &CertificateIdentity,
        registered: Option<&Device>,
    ) -> Result<(), Failure> {
        let ended = || Err(Refusal::Withdrawn(thing.clone()).into());
        let Some(device) = registered else { return Ok(()) };
        if device.certificate_ids.contains(id) {
            let by_hand = state == CertificateState::Inactive
                && device.status == Status::Active
                && device.is_status_applied()
                && !device.admitting.contains(id);
            return if by_hand { ended() } else { Ok(()) };
        }
        let holder = self.registry.holder_of_certificate(identity).await?;
        if holder.is_some_and(|holder| holder.device == *thing && holder.certificate_id == id) {
            ended()
        } else {
            Ok(())
        }
    }

    /// The device that has this certificate already.
    async fn holder(&self, id: &str, leaf: &[u8]) -> Result<Option<Device>, Failure> {
        let name = Certificate::read(leaf).ok().and_then(|leaf| leaf.common_name()?.parse::<DeviceId>().ok());
        let Some(name) = name else { return Ok(None) };
        let device = self.registry.device(&name).await?;
        Ok(device.filter(|device| device.certificate_ids.contains(id)))
    }

    /// The device that has a certificate's key.
    async fn holder_of_key(&self, leaf: &[u8]) -> Result<Option<Device>, Failure> {
        let Some(key) = Certificate::read(leaf).ok().and_then(|leaf| leaf.public_key()) else { return Ok(None) };
        match self.registry.holder_of_key(&key).await? {
            Some(thing) => Ok(self.registry.device(&thing).await?),
            None => Ok(None),
        }
    }

    async fn bind(&self, thing: &DeviceId, certificate: &IotCertificate) -> Result<(), Failure> {
        self.iot.create_thing(thing, &attributes_of(&self.settings.stack)).await?;
        Ok(self.iot.attach(thing, &certificate.arn, &self.settings.policy).await?)
    }

    async fn to_ledger(&self, device: &Device) -> Result<bool, Failure> {
        match ledger::register(&self.ledger, device).await {
            Ok(new) => Ok(new),
            Err(NotYet::Again(error)) => Err(error.into()),
            Err(NotYet::Entry(error)) => Err(error.into()),
            Err(NotYet::Refused { code, detail }) => Err(Failure::Ledger { thing: device.id.clone(), code, detail }),
        }
    }

    /// The registry entry of a device that the manifest expected.
    fn device(&self, expected: Expected, chain: &VerifiedChain, new: &NewCertificate) -> Device {
        NewDevice {
            id: expected.thing,
            replaces: expected.replaces,
            public_key: chain.public_key,
            certificate: new.pem.clone(),
            certificate_id: new.id.clone(),
            enrolled_at: Some(UnixMillis(chain.not_before.0.min(self.clock.now().0))),
            metering_point: expected.metering_point,
            zone: expected.zone,
            shard: expected.shard,
            confidential: expected.confidential,
            sensor_tables: vec![expected.sensor_table],
        }
        .into()
    }
}
