//! The reconcile function.

use std::sync::Mutex;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::aws;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::chain::DynamoChains;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::command_key::KmsKey;
use vitro_cloud::commands::{IotDelivery, SignedCommands, iot_client};
use vitro_cloud::config::Environment;
use vitro_cloud::data_keys::SecretDataKeys;
use vitro_cloud::days::DynamoDays;
use vitro_cloud::devices::Devices;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::quarantine::Quarantine;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_reconcile::ports::{Ports, Settings};
use vitro_reconcile::refusal::AwsRefusals;

fn main() -> Result<(), Error> {
    vitro_cloud::logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let ports = ports().await?;
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| {
        let ports = &ports;
        async move {
            let response = ports.handle(event.payload).await;
            ports.emit_metrics();
            Ok::<_, Error>(response)
        }
    }))
    .await
}

async fn ports() -> Result<Ports, Error> {
    let env = Environment::process();
    let stack = env.stack()?;
    let config = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&config);
    let s3 = aws::s3(&config);
    let devices_table = env.required("VITRO_DEVICES_TABLE")?;
    let chains = DynamoChains::new(dynamo.clone(), &devices_table);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let data_keys = SecretDataKeys::new(
        &secrets,
        &[env.required("VITRO_DATA_KEYS_SECRET")?, env.required("VITRO_RETIRED_KEYS_SECRET")?],
        SystemClock,
    );
    let key = KmsKey::new(aws_sdk_kms::Client::new(&config), env.required("VITRO_COMMAND_KEY")?, SystemClock);
    let iot = iot_client(&config, env.optional("VITRO_IOT_ENDPOINT").as_deref());
    let delivery = IotDelivery::new(iot, stack.customer().clone());
    let urls = QueueUrls {
        summarize: Some(env.required("VITRO_SUMMARIZE_QUEUE_URL")?),
        publish: Some(env.required("VITRO_PUBLISH_QUEUE_URL")?),
        status: Some(env.required("VITRO_STATUS_QUEUE_URL")?),
        asks: Some(env.required("VITRO_ASKS_QUEUE_URL")?),
        ..QueueUrls::default()
    };
    Ok(Ports {
        devices: Box::new(Devices::new(dynamo.clone(), &devices_table)),
        status: Box::new(Devices::new(dynamo.clone(), &devices_table)),
        seals: Box::new(Devices::new(dynamo.clone(), devices_table)),
        readings: Box::new(Readings::new(dynamo.clone(), env.required("VITRO_READINGS_TABLE")?)),
        days: Box::new(DynamoDays::new(dynamo.clone(), env.required("VITRO_DAYS_TABLE")?)),
        chains: Box::new(chains.clone()),
        archive: Box::new(S3Archive::new(s3.clone(), env.required("VITRO_ARCHIVE_BUCKET")?)),
        data_keys: Box::new(data_keys),
        outbox: Box::new(SqsOutbox::new(aws_sdk_sqs::Client::new(&config), urls)),
        commands: Box::new(SignedCommands::new(key, chains, delivery, SystemClock)),
        refusals: Box::new(AwsRefusals::new(
            Quarantine::new(s3, env.required("VITRO_QUARANTINE_BUCKET")?),
            ParkedTable::new(dynamo, env.required("VITRO_PARKED_TABLE")?),
        )),
        clock: Box::new(SystemClock),
        metrics: Mutex::new(Metrics::new(&stack)),
        stack: stack.to_string(),
        settings: Settings {
            settle_seconds: env.parsed("VITRO_SETTLE_SECONDS", 120)?,
            backfill_attempts: env.parsed("VITRO_BACKFILL_ATTEMPTS", 3)?,
            seal_seconds: env.parsed("VITRO_SEAL_SECONDS", 20)?,
        },
    })
}
