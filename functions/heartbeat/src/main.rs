//! The heartbeat function.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::Serialize;
use vitro_cloud::Clock;
use vitro_cloud::archive::S3Archive;
use vitro_cloud::aws;
use vitro_cloud::clock::SystemClock;
use vitro_cloud::config::{Environment, StackName};
use vitro_cloud::devices::Devices;
use vitro_cloud::hours::DynamoHours;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::queue::{QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_heartbeat::hours::{Hours, LOOK_BACK, Looked};
use vitro_heartbeat::pulse::{Pulse, Pulsed, look};
use vitro_heartbeat::watch::AwsWatch;
use vitro_proof::UnixMillis;

fn main() -> Result<(), Error> {
    vitro_cloud::logging::init();
    aws::block_on(run())?
}

/// Either answer.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Pulsed(Pulsed),
    Hours(Looked),
}

struct Function {
    stack: StackName,
    limit_minutes: u32,
    watch: AwsWatch,
    hours: Hours,
}

async fn run() -> Result<(), Error> {
    let env = Environment::process();
    let config = aws::shared_config().await;
    let dynamo = aws_sdk_dynamodb::Client::new(&config);
    let devices = Devices::new(dynamo.clone(), env.required("VITRO_DEVICES_TABLE")?);
    let readings = Readings::new(dynamo.clone(), env.required("VITRO_READINGS_TABLE")?);
    let urls = QueueUrls { publish: Some(env.required("VITRO_PUBLISH_QUEUE_URL")?), ..QueueUrls::default() };
    let function = Function {
        stack: env.stack()?,
        limit_minutes: env.parsed("VITRO_LIVENESS_MINUTES", 60)?,
        watch: AwsWatch { devices: devices.clone(), readings: readings.clone() },
        hours: Hours {
            devices: Box::new(devices),
            readings: Box::new(readings),
            hours: Box::new(DynamoHours::new(dynamo, env.required("VITRO_HOURS_TABLE")?)),
            archive: Box::new(S3Archive::new(aws::s3(&config), env.required("VITRO_ARCHIVE_BUCKET")?)),
            outbox: Box::new(SqsOutbox::new(aws_sdk_sqs::Client::new(&config), urls)),
            clock: Box::new(SystemClock),
        },
    };
    lambda_runtime::run(service_fn(|event: LambdaEvent<Pulse>| {
        let function = &function;
        async move {
            let deadline = UnixMillis(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
            function.handle(event.payload, deadline).await
        }
    }))
    .await
}

impl Function {
    /// How many hours are unsaid is told whatever happens. A look at the hours fails if what went wrong may go better: Lambda tries it again.
    async fn handle(&self, event: Pulse, deadline: UnixMillis) -> Result<Answer, Error> {
        let now = event.now.unwrap_or_else(|| SystemClock.now());
        let mut metrics = Metrics::new(&self.stack);
        let answer = if event.hours {
            let looked = self.hours.look(now, event.back.unwrap_or(LOOK_BACK), deadline).await;
            // Without a registry nothing is known of any hour, and that is not none.
            metrics.gauge("HoursUnsaid", looked.as_ref().map_or(1, |looked| looked.unsaid));
            looked.map_err(Error::from).and_then(|looked| match looked.is_to_come_again() {
                true => Err(format!("{} of the shards' hours failed and may go better", looked.failed.len()).into()),
                false => Ok(Answer::Hours(looked)),
            })
        } else {
            let pulsed = look(&self.watch, now, self.limit_minutes).await?;
            metrics.gauge("GapsLive", pulsed.gaps.len() as u64);
            Ok(Answer::Pulsed(pulsed))
        };
        metrics.emit(SystemClock.now());
        answer
    }
}
