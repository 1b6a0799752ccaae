//! The publish function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_client::SecretLedger;
use vitro_cloud::archive::S3Archive;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::days::DynamoDays;
use vitro_cloud::hours::DynamoHours;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::{Clock, aws, logging};
use vitro_proof::UnixMillis;
use vitro_publish::{Config, Publish, Stores};

fn main() -> Result<(), Error> {
    logging::init();
    let config = Config::read(&Environment::process())?;
    aws::block_on(async {
        let sdk = aws::shared_config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&sdk);
        let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
        let stores = Stores {
            days: DynamoDays::new(dynamodb.clone(), &config.days_table),
            hours: Box::new(DynamoHours::new(dynamodb.clone(), &config.hours_table)),
            archive: S3Archive::new(aws::s3(&sdk), &config.archive_bucket),
            parked: ParkedTable::new(dynamodb, &config.parked_table),
        };
        let ledger = SecretLedger::new(secrets, &config.fabric_secret, SystemClock);
        let publish = Publish::new(ledger, stores, SystemClock, &config);
        let publish = &publish;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
            let deadline = UnixMillis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
            let (response, metrics) = publish.handle(event.payload, deadline).await;
            metrics.emit(SystemClock.now());
            Ok::<_, Error>(response)
        }))
        .await
    })?
}
