//! The bill function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use vitro_bill::{Bill, Config, Input};
use vitro_client::SecretLedger;
use vitro_cloud::archive::S3Archive;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::{Clock, aws, logging};
use vitro_proof::UnixMillis;

fn main() -> Result<(), Error> {
    logging::init();
    let config = Config::read(&Environment::process())?;
    aws::block_on(async {
        let sdk = aws::shared_config().await;
        let secrets = aws_sdk_secretsmanager::Client::new(&sdk);
        let archive = S3Archive::new(aws::s3(&sdk), &config.archive_bucket);
        let ledger = SecretLedger::new(secrets, &config.fabric_secret, SystemClock);
        let bill = Bill::new(ledger, archive, SystemClock, &config.stack);
        let bill = &bill;
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Input>| async move {
            let deadline = UnixMillis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
            let (answer, metrics) = bill.handle(&event.payload, deadline).await;
            metrics.emit(SystemClock.now());
            answer.map_err(|error| {
                let error_message = vitro_cloud::batch::chain(&error);
                tracing::error!(error = %error_message, code = error.code(), "nothing was closed, or not everything");
                Diagnostic { error_type: error.code().to_owned(), error_message }
            })
        }))
        .await
    })?
}
