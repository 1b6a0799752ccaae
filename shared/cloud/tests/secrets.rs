//! What is made from a secret, against a server that answers by a script.

// Helpers of tests: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "dynamodb/server.rs"]
mod server;

use std::sync::Arc;

use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use serde_json::json;
use server::{Answer, Server};
use vitro_cloud::CloudError;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::secrets::{FromSecret, KEEP_MILLIS};
use vitro_proof::UnixMillis;

fn holds(text: &'static str) -> Answer {
    Box::new(move |request| {
        assert_eq!(request["SecretId"], "vitro-acme-dev-fabric");
        (200, json!({ "Name": "vitro-acme-dev-fabric", "SecretString": text }))
    })
}

fn refuses(code: &'static str) -> Answer {
    Box::new(move |_| (400, json!({ "__type": code, "Message": "no" })))
}

fn number(server: &Server, clock: Arc<FixedClock>) -> FromSecret<u64, Arc<FixedClock>> {
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&server.endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    let client = aws_sdk_secretsmanager::Client::from_conf(config);
    let make = |text: &str| text.parse().map_err(|_| "it is no number".to_owned());
    FromSecret::new(client, "vitro-acme-dev-fabric", clock, make, "vitro ledger put-secret")
}

#[tokio::test]
async fn a_secret_without_a_value_names_the_command_that_puts_it_there() {
    // AWS does not know the value; the local stack reads it as empty.
    let server = Server::start(vec![refuses("ResourceNotFoundException"), holds(""), holds(" \n"), holds("7")]);
    let secret = number(&server, Arc::new(FixedClock::new(UnixMillis(0))));
    for _ in 0..3 {
        let error = secret.get().await.unwrap_err();
        assert!(matches!(error, CloudError::Unset { .. }) && error.retryable(), "{error:?}");
        assert_eq!(
            error.to_string(),
            "the secret vitro-acme-dev-fabric holds no value yet: `vitro ledger put-secret` puts it there"
        );
    }
    assert_eq!(*secret.get().await.unwrap(), 7);
}

#[tokio::test]
async fn other_faults_stay_what_they_are() {
    let server = Server::start(vec![refuses("AccessDeniedException"), holds("x")]);
    let secret = number(&server, Arc::new(FixedClock::new(UnixMillis(0))));
    let error = secret.get().await.unwrap_err();
    assert!(matches!(&error, CloudError::Service { code, .. } if code == "AccessDeniedException"), "{error:?}");
    let error = secret.get().await.unwrap_err();
    assert_eq!(error.to_string(), "the secret vitro-acme-dev-fabric is damaged: it is no number");
}

#[tokio::test]
async fn a_value_is_kept_for_a_while_and_read_again_when_it_was_refused() {
    let server = Server::start(vec![holds("1"), holds("2"), holds("3")]);
    let clock = Arc::new(FixedClock::new(UnixMillis(0)));
    let secret = number(&server, clock.clone());
    assert_eq!((*secret.get().await.unwrap(), *secret.get().await.unwrap()), (1, 1));
    secret.forget();
    assert_eq!(*secret.get().await.unwrap(), 2);
    clock.set(UnixMillis(KEEP_MILLIS));
    assert_eq!(*secret.get().await.unwrap(), 3);
    assert_eq!(server.requests().len(), 3);
}
