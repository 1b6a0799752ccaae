//! A device in AWS IoT and in the registry. Every step can be repeated.

use aws_sdk_iot::types::{AttributePayload, CertificateStatus, ThingPrincipalType};
use vitro_cloud::devices::{Device, NewDevice, Status};
use vitro_cloud::identities::{CertificateIdentity, NewCertificate, Origin};
use vitro_contract::{MeteringPoint, Shard};
use vitro_proof::{DeviceId, SensorTable, UnixMillis, ZoneName};

use super::folder::{DeviceCertificate, Endpoint};
use super::{BrokerArgs, NewArgs};
use crate::authority::Authority;
use crate::error::CliError;
use crate::files;
use crate::session::Session;

/// Where the device connects to: as the flags say, else the account's own endpoint.
///
/// # Errors
/// [`CliError::File`] for the authorities' file; [`CliError::Aws`].
pub(super) async fn endpoint(args: &BrokerArgs, session: &Session) -> Result<Endpoint, CliError> {
    if let Some(host) = &args.mqtt_host {
        return endpoint_at(args, host);
    }
    let found = session.iot().describe_endpoint().endpoint_type("iot:Data-ATS").send().await;
    let found = found.map_err(|e| CliError::aws("DescribeEndpoint", &e))?.endpoint_address;
    endpoint_at(args, &found.ok_or_else(|| CliError::malformed("DescribeEndpoint", "it holds no address"))?)
}

/// A broker at a host, otherwise as the flags say.
///
/// # Errors
/// [`CliError::File`] for the authorities' file.
pub(super) fn endpoint_at(args: &BrokerArgs, host: &str) -> Result<Endpoint, CliError> {
    let ca = match &args.mqtt_ca {
        Some(path) => files::read(path)?,
        None => Endpoint::amazon_roots().to_owned(),
    };
    Ok(Endpoint { host: host.to_owned(), port: args.mqtt_port, ca, basic_ingest: !args.no_basic_ingest })
}

/// Where a device meters.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) metering_point: MeteringPoint,
    pub(super) zone: ZoneName,
    pub(super) shard: Shard,
    /// The device whose place it is to take.
    pub(super) replaces: Option<DeviceId>,
    /// Whether the device's telemetry is confidential by agreement.
    pub(super) confidential: bool,
}

/// The site as the flags say, and for what they leave out, that of the device to be replaced.
///
/// # Errors
/// [`CliError::Refused`] if the flags say otherwise than that device's entry, or another one replaced it already.
pub(super) async fn site(args: &NewArgs, session: Option<&Session>) -> Result<Site, CliError> {
    let missing = || CliError::Usage("metering point, zone and shard are needed, or a device to replace".into());
    let Some(old) = &args.replaces else {
        return Ok(Site {
            metering_point: args.metering_point.clone().ok_or_else(missing)?,
            zone: args.zone.clone().ok_or_else(missing)?,
            shard: args.shard.clone().ok_or_else(missing)?,
            replaces: None,
            confidential: args.confidential,
        });
    };
    let session = session.ok_or_else(|| CliError::Usage("--replaces: AWS has to be asked for that device".into()))?;
    let old = session.device(old).await?;
    if let Some(exchange) = old.exchange.as_ref().filter(|exchange| exchange.by != args.thing) {
        return Err(CliError::Refused(format!("{} was exchanged for {} already", old.id, exchange.by)));
    }
    let malformed =
        |error: vitro_contract::ContractError| CliError::malformed(format!("the entry of {}", old.id), error);
    let site = Site {
        metering_point: old.metering_point.parse().map_err(malformed)?,
        zone: old.zone.clone(),
        shard: old.shard.parse().map_err(malformed)?,
        replaces: Some(old.id.clone()),
        confidential: args.confidential,
    };
    let differs = args.metering_point.as_ref().is_some_and(|point| *point != site.metering_point)
        || args.zone.as_ref().is_some_and(|zone| *zone != site.zone)
        || args.shard.as_ref().is_some_and(|shard| *shard != site.shard);
    if differs {
        let Site { metering_point, zone, shard, .. } = &site;
        return Err(CliError::Refused(format!("{} serves {metering_point} in {shard}, {zone}", old.id)));
    }
    Ok(site)
}

/// Makes the thing, registers the certificate under its authority, binds both, puts the registry's entry, and last of all lets the
/// certificate publish: nothing that a device sends can come before the registry knows it.
///
/// # Errors
/// [`CliError::Refused`] if the name or the certificate belongs to somebody else.
pub(super) async fn provision(
    session: &Session,
    thing: &DeviceId,
    site: &Site,
    certificate: &DeviceCertificate,
    authority: &dyn Authority,
    table: &SensorTable,
    now: i64,
) -> Result<(), CliError> {
    let iot = session.iot();
    let registry = session.devices();
    let facts = &certificate.facts;
    let entry: Device = NewDevice {
        id: thing.clone(),
        replaces: site.replaces.clone(),
        public_key: facts.public_key,
        certificate: certificate.pem.clone(),
        certificate_id: facts.id.clone(),
        enrolled_at: Some(UnixMillis(facts.validity.not_before.min(now).saturating_mul(1000))),
        metering_point: site.metering_point.to_string(),
        zone: site.zone.clone(),
        shard: site.shard.to_string(),
        confidential: site.confidential,
        sensor_tables: vec![table.clone()],
    }
    .into();
    // Before anything is changed: a name or a key in use is told at once.
    let known = registry.get(thing).await?;
    if let Some(known) = &known {
        same_device(known, &entry)?;
    }
    if let Some(holder) = session.identities().holder_of_key(&facts.public_key).await?.filter(|holder| holder != thing)
    {
        return Err(CliError::Refused(format!("the key of {thing} is {holder}'s: a key is one device's for ever")));
    }
    create_thing(&iot, session, thing).await?;
    let arn = register_certificate(&iot, certificate, authority.certificate(), CertificateStatus::Active).await?;
    attach_thing(&iot, thing, &arn).await?;
    session.identities().register(&entry, &issued(certificate, authority)?).await?;
    if known.is_some() {
        registry.add_sensor_table(thing, table).await?;
    }
    attach_policy(&iot, session, &arn).await
}

/// Lets a registered device connect with one more certificate, in the order of [`provision`], and gives the certificate's ARN. That
/// of a suspended device is known and inactive: whether it may connect is decided by whoever reinstates it.
///
/// # Errors
/// [`CliError::Refused`] if AWS IoT knows no active authority of it; [`CliError::Aws`]; [`CliError::Cloud`].
pub(super) async fn admit(
    session: &Session,
    device: &Device,
    certificate: &DeviceCertificate,
    authority: &dyn Authority,
) -> Result<String, CliError> {
    let iot = session.iot();
    let active = device.status == Status::Active;
    let status = if active { CertificateStatus::Active } else { CertificateStatus::Inactive };
    let arn = register_certificate(&iot, certificate, authority.certificate(), status).await?;
    attach_thing(&iot, &device.id, &arn).await?;
    session.identities().register(device, &issued(certificate, authority)?).await?;
    attach_policy(&iot, session, &arn).await?;
    Ok(arn)
}

/// Lets a certificate connect, or no longer.
///
/// # Errors
/// [`CliError::Aws`].
pub(super) async fn set_certificate_status(
    session: &Session,
    id: &str,
    status: CertificateStatus,
) -> Result<(), CliError> {
    let sent = session.iot().update_certificate().certificate_id(id).new_status(status).send().await;
    sent.map(|_| ()).map_err(|e| CliError::aws("UpdateCertificate", &e))
}

fn issued(certificate: &DeviceCertificate, authority: &dyn Authority) -> Result<NewCertificate, CliError> {
    Ok(NewCertificate {
        identity: CertificateIdentity::new(authority.facts().key_hash, certificate.facts.serial.parse()?),
        id: certificate.facts.id.clone(),
        pem: certificate.pem.clone(),
        origin: Origin::Operator,
    })
}

async fn attach_thing(iot: &aws_sdk_iot::Client, thing: &DeviceId, arn: &str) -> Result<(), CliError> {
    let sent = iot
        .attach_thing_principal()
        .thing_name(thing.as_str())
        .principal(arn)
        .thing_principal_type(ThingPrincipalType::ExclusiveThing)
        .send()
        .await;
    sent.map(|_| ()).map_err(|e| CliError::aws("AttachThingPrincipal", &e))
}

async fn attach_policy(iot: &aws_sdk_iot::Client, session: &Session, arn: &str) -> Result<(), CliError> {
    let sent = iot.attach_policy().policy_name(session.stack.resource("device")).target(arn).send().await;
    sent.map(|_| ()).map_err(|e| CliError::aws("AttachPolicy", &e))
}

/// A run that is repeated must mean the same device.
fn same_device(known: &Device, wanted: &Device) -> Result<(), CliError> {
    let refused = |what: &str| Err(CliError::Refused(format!("{} is registered with another {what}", known.id)));
    if known.public_key != wanted.public_key {
        return refused("key; a new key is a new device, with a new name at the same metering point");
    }
    if !known.certificate_ids.contains(&wanted.certificate_id) {
        return refused("certificate");
    }
    if known.metering_point != wanted.metering_point {
        return refused("metering point");
    }
    if known.zone != wanted.zone {
        return refused("time zone");
    }
    if known.shard != wanted.shard {
        return refused("shard");
    }
    if known.replaces != wanted.replaces {
        return refused("device to replace");
    }
    if known.confidential != wanted.confidential {
        return refused("agreement on confidentiality, which `vitro device confidential` changes");
    }
    if known.status != Status::Active {
        return Err(CliError::Refused(format!("{} is {}", known.id, known.status.as_str())));
    }
    Ok(())
}

/// Thing names are unique in the account, and a thing carries whose it is: another installation's thing is refused.
async fn create_thing(iot: &aws_sdk_iot::Client, session: &Session, thing: &DeviceId) -> Result<(), CliError> {
    let attributes = AttributePayload::builder()
        .attributes("customer", session.stack.customer().as_str())
        .attributes("stage", session.stack.stage())
        .build();
    match iot.create_thing().thing_name(thing.as_str()).attribute_payload(attributes).send().await {
        Ok(_) => Ok(()),
        Err(error) => match CliError::aws("CreateThing", &error) {
            error if error.aws_code() == Some("ResourceAlreadyExistsException") => {
                Err(CliError::Refused(format!("there is a thing {thing} that is not of {}", session.stack)))
            }
            error => Err(error),
        },
    }
}

/// Registers the certificate under its authority and gives its ARN. AWS checks that the authority signed it.
async fn register_certificate(
    iot: &aws_sdk_iot::Client,
    certificate: &DeviceCertificate,
    authority: &str,
    status: CertificateStatus,
) -> Result<String, CliError> {
    let registered = iot
        .register_certificate()
        .certificate_pem(&certificate.pem)
        .ca_certificate_pem(authority)
        .status(status.clone())
        .send()
        .await;
    let no_arn = || CliError::malformed("AWS IoT", "the certificate has no ARN");
    let error = match registered {
        Ok(registered) => return registered.certificate_arn.ok_or_else(no_arn),
        Err(error) => CliError::aws("RegisterCertificate", &error),
    };
    match error.aws_code() {
        Some("ResourceAlreadyExistsException") => {
            let found = iot.describe_certificate().certificate_id(&certificate.facts.id).send().await;
            let found = found.map_err(|e| CliError::aws("DescribeCertificate", &e))?;
            let found = found.certificate_description.ok_or_else(no_arn)?;
            if found.status.as_ref() != Some(&status) {
                let status = found.status.map_or_else(|| "unknown".to_owned(), |s| s.as_str().to_lowercase());
                return Err(CliError::Refused(format!("the certificate is {status} in AWS IoT")));
            }
            found.certificate_arn.ok_or_else(no_arn)
        }
        Some("CertificateStateException") => Err(CliError::Refused(format!(
            "{error}: AWS IoT knows no active authority of this certificate; register it with `vitro ca register DIR`"
        ))),
        _ => Err(error),
    }
}
