//! How we speak to AWS: one shared configuration, bounded retries and timeouts, one thread.
//!
//! `AWS_ENDPOINT_URL` and its variants for single services are honoured by the SDK itself.

use std::future::Future;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};

/// Attempts of one call, the first included. What still fails goes back to its queue, which tries again later.
pub const ATTEMPTS: u32 = 3;

/// Loads region, credentials and endpoint from the environment, with our retries and timeouts.
pub async fn shared_config() -> SdkConfig {
    bounded(aws_config::defaults(BehaviorVersion::latest())).load().await
}

/// Our retries and timeouts, for a configuration that is loaded some other way.
#[must_use]
pub fn bounded(loader: ConfigLoader) -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(12))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(100))
        .with_max_backoff(Duration::from_secs(1));
    loader.retry_config(retries).timeout_config(timeouts)
}

/// A client of S3. Against another endpoint than AWS's own, the bucket stands in the path: a local server has no name a bucket.
#[must_use]
pub fn s3(config: &SdkConfig) -> aws_sdk_s3::Client {
    let elsewhere = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    aws_sdk_s3::Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(elsewhere).build())
}

/// Runs a function's main on one thread: more of them only cost CPU where a function has a fraction of a processor.
///
/// # Errors
/// [`std::io::Error`] if the operating system gives no event queue.
pub fn block_on<F: Future>(future: F) -> std::io::Result<F::Output> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}
