//! The status function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_client::SecretLedger;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::devices::Devices;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::{Clock, aws, logging};
use vitro_status::certificates::AwsCertificates;
use vitro_status::{Config, StatusFunction, Stores};

fn main() -> Result<(), Error> {
    logging::init();
    let config = Config::read(&Environment::process())?;
    aws::block_on(async {
        let sdk = aws::shared_config().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&sdk);
        let stores = Stores {
            registry: Devices::new(dynamodb.clone(), &config.devices_table),
            certificates: AwsCertificates::new(aws_sdk_iot::Client::new(&sdk)),
            parked: ParkedTable::new(dynamodb, &config.parked_table),
        };
        let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
        let ledger = SecretLedger::new(secrets, &config.fabric_secret, SystemClock);
        let status = StatusFunction::new(ledger, stores, SystemClock, &config);
        let status = &status;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
            let (response, metrics) = status.handle(event.payload).await;
            metrics.emit(SystemClock.now());
            Ok::<_, Error>(response)
        }))
        .await
    })?
}
