//! The trust function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::{Environment, StackName};
use vitro_cloud::identities::Identities;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_cloud::trust::TrustTable;
use vitro_cloud::{Clock, aws, logging};
use vitro_trust::aws::AwsCertificates;
use vitro_trust::fetch::Network;
use vitro_trust::ports::Ports;
use vitro_trust::{Look, Looked};

fn main() -> Result<(), Error> {
    logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let env = Environment::process();
    let stack = env.stack()?;
    let ports = ports(&env).await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Look>| {
        let (ports, stack) = (&ports, &stack);
        async move { look(ports, stack, event.payload).await }
    }))
    .await
}

async fn look(ports: &Ports, stack: &StackName, event: Look) -> Result<Looked, Error> {
    let mut metrics = Metrics::new(stack);
    let looked = ports.look(event.now.unwrap_or_else(|| SystemClock.now()), &mut metrics).await;
    metrics.emit(SystemClock.now());
    Ok(looked?)
}

async fn ports(env: &Environment) -> Result<Ports, Error> {
    let sdk = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&sdk);
    let s3 = aws::s3(&sdk);
    let urls = QueueUrls { status: Some(env.required("VITRO_STATUS_QUEUE_URL")?), ..QueueUrls::default() };
    let devices = env.required("VITRO_DEVICES_TABLE")?;
    Ok(Ports {
        trust: Box::new(TrustTable::new(dynamo.clone(), env.required("VITRO_TRUST_TABLE")?)),
        archive: Box::new(S3Archive::new(s3.clone(), env.required("VITRO_ARCHIVE_BUCKET")?)),
        lists: Box::new(Network::new(s3)),
        registry: Box::new(Identities::new(dynamo.clone(), devices, env.required("VITRO_IDENTITIES_TABLE")?)),
        readings: Box::new(Readings::new(dynamo, env.required("VITRO_READINGS_TABLE")?)),
        certificates: Box::new(AwsCertificates::new(aws_sdk_iot::Client::new(&sdk))),
        outbox: Box::new(SqsOutbox::new(aws_sdk_sqs::Client::new(&sdk), urls)),
    })
}
