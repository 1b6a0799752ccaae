//! The bill function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_bill::{Biller, FabricLedger, Request};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::clock::{Clock, SystemClock};
use vitro_cloud::config::Environment;
use vitro_cloud::{aws, logging};

fn main() -> Result<(), Error> {
    logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let env = Environment::process();
    let config = aws::shared_config().await;
    let secrets = aws_sdk_secretsmanager::Client::new(&config);
    let biller = Biller {
        ledger: Box::new(FabricLedger::new(secrets, env.required("VITRO_FABRIC_SECRET")?)),
        archive: Box::new(S3Archive::new(aws::s3(&config), env.required("VITRO_ARCHIVE_BUCKET")?)),
        clock: Box::new(SystemClock),
        stack: env.stack()?.to_string(),
    };
    lambda_runtime::run(service_fn(|event: LambdaEvent<Request>| {
        let biller = &biller;
        async move {
            let (answer, metrics) = biller.handle(event.payload).await;
            metrics.emit(SystemClock.now());
            answer.map_err(Error::from)
        }
    }))
    .await
}
