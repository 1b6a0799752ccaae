//! The heartbeat function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use vitro_cloud::Clock;
use vitro_cloud::aws;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::{Environment, StackName};
use vitro_cloud::devices::Devices;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::readings::Readings;
use vitro_heartbeat::pulse::{Pulse, Pulsed, look};
use vitro_heartbeat::watch::AwsWatch;

fn main() -> Result<(), Error> {
    vitro_cloud::logging::init();
    aws::block_on(run())?
}

async fn run() -> Result<(), Error> {
    let env = Environment::process();
    let stack = env.stack()?;
    let limit_minutes = env.parsed("VITRO_LIVENESS_MINUTES", 60)?;
    let config = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&config);
    let watch = AwsWatch {
        devices: Devices::new(dynamo.clone(), env.required("VITRO_DEVICES_TABLE")?),
        readings: Readings::new(dynamo, env.required("VITRO_READINGS_TABLE")?),
    };
    lambda_runtime::run(service_fn(|event: LambdaEvent<Pulse>| {
        let (watch, stack) = (&watch, &stack);
        async move { pulse(watch, stack, event.payload, limit_minutes).await }
    }))
    .await
}

async fn pulse(watch: &AwsWatch, stack: &StackName, event: Pulse, limit_minutes: u32) -> Result<Pulsed, Error> {
    let clock = SystemClock;
    let pulsed = look(watch, event.now.unwrap_or_else(|| clock.now()), limit_minutes).await?;
    let mut metrics = Metrics::new(stack);
    metrics.gauge("GapsLive", pulsed.gaps.len() as u64);
    metrics.emit(clock.now());
    Ok(pulsed)
}
