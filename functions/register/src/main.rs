//! The register function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_client::SecretLedger;
use vitro_cloud::archive::S3Archive;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::identities::Identities;
use vitro_cloud::manifest::Manifest;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::quarantine::Quarantine;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_cloud::trust::TrustTable;
use vitro_cloud::{Clock, aws, logging};
use vitro_register::aws::AwsIot;
use vitro_register::ports::{AwsKeep, Ports};
use vitro_register::{Register, Settings};

fn main() -> Result<(), Error> {
    logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let register = register().await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| {
        let register = &register;
        async move {
            let (response, metrics) = register.handle(event.payload).await;
            metrics.emit(SystemClock.now());
            Ok::<_, Error>(response)
        }
    }))
    .await
}

async fn register() -> Result<Register<SecretLedger<SystemClock>>, Error> {
    let env = Environment::process();
    let sdk = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&sdk);
    let s3 = aws::s3(&sdk);
    let devices = env.required("VITRO_DEVICES_TABLE")?;
    let identities = Identities::new(dynamo.clone(), devices, env.required("VITRO_IDENTITIES_TABLE")?);
    let urls = QueueUrls { status: Some(env.required("VITRO_STATUS_QUEUE_URL")?), ..QueueUrls::default() };
    let ports = Ports {
        iot: Box::new(AwsIot::new(aws_sdk_iot::Client::new(&sdk))),
        registry: Box::new(identities),
        manifest: Box::new(Manifest::new(dynamo.clone(), env.required("VITRO_MANIFEST_TABLE")?)),
        trust: Box::new(TrustTable::new(dynamo.clone(), env.required("VITRO_TRUST_TABLE")?)),
        archive: Box::new(S3Archive::new(s3.clone(), env.required("VITRO_ARCHIVE_BUCKET")?)),
        readings: Box::new(Readings::new(dynamo.clone(), env.required("VITRO_READINGS_TABLE")?)),
        outbox: Box::new(SqsOutbox::new(aws_sdk_sqs::Client::new(&sdk), urls)),
        keep: Box::new(AwsKeep {
            quarantine: Quarantine::new(s3, env.required("VITRO_QUARANTINE_BUCKET")?),
            parked: ParkedTable::new(dynamo, env.required("VITRO_PARKED_TABLE")?),
        }),
        clock: Box::new(SystemClock),
    };
    let settings = Settings { stack: env.stack()?, policy: env.required("VITRO_DEVICE_POLICY")? };
    let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
    let ledger = SecretLedger::new(secrets, env.required("VITRO_FABRIC_SECRET")?, SystemClock);
    Ok(Register::new(settings, ports, ledger))
}
