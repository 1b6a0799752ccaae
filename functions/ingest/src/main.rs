//! The ingest function: see the library.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::Environment;
use vitro_cloud::{aws, logging};
use vitro_ingest::Ingest;
use vitro_ingest::config::Config;
use vitro_ingest::store::AwsStore;

fn main() -> Result<(), Error> {
    logging::init();
    let config = Config::read(&Environment::process())?;
    aws::block_on(async {
        let store = AwsStore::new(&aws::shared_config().await, &config);
        let ingest = Ingest::new(store, SystemClock, &config);
        lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async {
            let (response, metrics) = ingest.handle(event.payload).await;
            metrics.emit(ingest.now());
            Ok::<_, Error>(response)
        }))
        .await
    })?
}
