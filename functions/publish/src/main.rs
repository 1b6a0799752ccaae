//! The publish function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::{Clock, SystemClock};
use vitro_cloud::config::Environment;
use vitro_cloud::days::DynamoDays;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::{aws, logging};
use vitro_publish::{FabricLedger, Publisher};

fn main() -> Result<(), Error> {
    logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let env = Environment::process();
    let stack = env.stack()?;
    let config = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&config);
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let publisher = Publisher {
        days: Box::new(DynamoDays::new(dynamo.clone(), env.required("VITRO_DAYS_TABLE")?)),
        archive: Box::new(S3Archive::new(aws::s3(&config), env.required("VITRO_ARCHIVE_BUCKET")?)),
        ledger: Box::new(FabricLedger::new(secrets, env.required("VITRO_FABRIC_SECRET")?)),
        parked: Box::new(ParkedTable::new(dynamo, env.required("VITRO_PARKED_TABLE")?)),
        clock: Box::new(SystemClock),
        stack: stack.to_string(),
    };
    lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| {
        let publisher = &publisher;
        async move {
            let (response, metrics) = publisher.handle(event.payload).await;
            metrics.emit(SystemClock.now());
            Ok::<_, Error>(response)
        }
    }))
    .await
}
