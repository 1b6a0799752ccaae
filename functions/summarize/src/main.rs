//! The summarize function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::aws;
use vitro_cloud::chain::DynamoChains;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::data_keys::SecretDataKeys;
use vitro_cloud::days::DynamoDays;
use vitro_cloud::devices::Devices;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_summarize::handler::Event;
use vitro_summarize::ports::Ports;

fn main() -> Result<(), Error> {
    vitro_cloud::logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let ports = ports().await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<Event>| {
        let ports = &ports;
        async move { ports.handle(event.payload).await.map_err(Error::from) }
    }))
    .await
}

async fn ports() -> Result<Ports, Error> {
    let env = Environment::process();
    let config = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&config);
    let devices_table = env.required("VITRO_DEVICES_TABLE")?;
    let urls = QueueUrls {
        summarize: Some(env.required("VITRO_SUMMARIZE_QUEUE_URL")?),
        reconcile: Some(env.required("VITRO_RECONCILE_QUEUE_URL")?),
        ..QueueUrls::default()
    };
    Ok(Ports {
        devices: Box::new(Devices::new(dynamo.clone(), &devices_table)),
        readings: Box::new(Readings::new(dynamo.clone(), env.required("VITRO_READINGS_TABLE")?)),
        days: Box::new(DynamoDays::new(dynamo.clone(), env.required("VITRO_DAYS_TABLE")?)),
        chains: Box::new(DynamoChains::new(dynamo, devices_table)),
        archive: Box::new(S3Archive::new(aws::s3(&config), env.required("VITRO_ARCHIVE_BUCKET")?)),
        data_keys: Box::new(SecretDataKeys::new(
            &aws_sdk_secretsmanager::Client::new(&config),
            &[env.required("VITRO_DATA_KEYS_SECRET")?, env.required("VITRO_RETIRED_KEYS_SECRET")?],
            SystemClock,
        )),
        outbox: Box::new(SqsOutbox::new(aws_sdk_sqs::Client::new(&config), urls)),
        clock: Box::new(SystemClock),
        deadline_hours: env.parsed("VITRO_DEADLINE_HOURS", 6)?,
    })
}
