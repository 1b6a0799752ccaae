//! The command key in KMS, against a server that answers by a script.
#![cfg(feature = "commands")]
// Helpers of tests: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

#[path = "dynamodb/server.rs"]
mod server;

use std::sync::Arc;

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use server::{Answer, Server};
use vitro_cloud::CloudError;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::command_key::{CommandSigner, KmsKey, LocalKey};
use vitro_cloud::secrets::KEEP_MILLIS;
use vitro_proof::command::{Action, Command, key_id};
use vitro_proof::crypto::{P256Key, SoftwareSigner};
use vitro_proof::{CommandNumber, Envelope, Signer, UnixMillis};

const ALIAS: &str = "alias/vitro-acme-dev-command-key";
/// A SubjectPublicKeyInfo of P-256 up to the point (RFC 5480).
const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

fn signer(scalar: u8) -> SoftwareSigner {
    SoftwareSigner::from_scalar(&[scalar; 32]).unwrap()
}

fn arn(scalar: u8) -> String {
    format!("arn:aws:kms:eu-central-1:000000000000:key/{scalar}")
}

/// The alias points at this key.
fn points_at(scalar: u8) -> Answer {
    Box::new(move |request| {
        assert_eq!(request, &json!({ "KeyId": ALIAS }));
        let prefix: Vec<u8> =
            (0..SPKI.len()).step_by(2).map(|at| u8::from_str_radix(&SPKI[at..at + 2], 16).unwrap()).collect();
        let spki = STANDARD.encode([&prefix[..], signer(scalar).public_key().as_bytes()].concat());
        (200, json!({ "KeyId": arn(scalar), "PublicKey": spki }))
    })
}

fn number(digits: &[u8]) -> Vec<u8> {
    let start = digits.iter().position(|digit| *digit != 0).unwrap();
    let mut content = digits[start..].to_vec();
    if content[0] & 0x80 != 0 {
        content.insert(0, 0);
    }
    [&[2, u8::try_from(content.len()).unwrap()], &content[..]].concat()
}

/// The key that is asked for signs, by this private key.
fn signs(asked: u8, by: u8) -> Answer {
    Box::new(move |request: &Value| {
        assert_eq!((&request["KeyId"], &request["MessageType"]), (&json!(arn(asked)), &json!("DIGEST")));
        assert_eq!(request["SigningAlgorithm"], "ECDSA_SHA_256");
        let digest: [u8; 32] = STANDARD.decode(request["Message"].as_str().unwrap()).unwrap().try_into().unwrap();
        let raw = signer(by).sign_digest(&digest).unwrap();
        let numbers = [number(&raw[..32]), number(&raw[32..])].concat();
        let der = [&[0x30, u8::try_from(numbers.len()).unwrap()], &numbers[..]].concat();
        (200, json!({ "KeyId": request["KeyId"], "Signature": STANDARD.encode(der) }))
    })
}

fn refuses(code: &'static str) -> Answer {
    Box::new(move |_| (400, json!({ "__type": code, "message": "no" })))
}

fn key(server: &Server, clock: &Arc<FixedClock>) -> KmsKey<Arc<FixedClock>> {
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&server.endpoint)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    KmsKey::new(aws_sdk_kms::Client::from_conf(config), ALIAS, Arc::clone(clock))
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::new(UnixMillis(0)))
}

fn command() -> Command {
    let action = Action::Backfill(vec![(3, 5)]);
    Command { thing: "dev-1".parse().unwrap(), id: [7; 16], expires: 1_700_000_000, action }
}

/// Checks a sealed command as a device does that trusts this key alone.
fn opens_under(scalar: u8, bytes: &[u8]) {
    let envelope = Envelope::parse(bytes).unwrap();
    let public_key = signer(scalar).public_key();
    assert_eq!(envelope.header().kid, key_id(&public_key));
    envelope.verify(&P256Key::new(&public_key).unwrap()).unwrap();
    assert_eq!(Command::decode(envelope.payload()).unwrap(), command());
}

#[tokio::test]
async fn what_kms_signs_is_what_a_device_takes() {
    let server = Server::start(vec![points_at(1), signs(1, 1), signs(1, 1)]);
    let key = key(&server, &clock());
    for number in 0..2 {
        opens_under(1, &key.seal(&command(), CommandNumber(number)).await.unwrap());
    }
    assert_eq!(server.requests().len(), 3, "the public half is kept");
    opens_under(2, &LocalKey::new(signer(2)).seal(&command(), CommandNumber(0)).await.unwrap());
}

#[tokio::test]
async fn a_rotation_is_followed_after_five_minutes_or_when_the_old_key_does_not_sign() {
    let script = vec![points_at(1), signs(1, 1), points_at(2), signs(2, 2), refuses("DisabledException")];
    let server = Server::start([script, vec![points_at(3), signs(3, 3)]].into_iter().flatten().collect());
    let clock = clock();
    let key = key(&server, &clock);
    opens_under(1, &key.seal(&command(), CommandNumber(0)).await.unwrap());
    clock.set(UnixMillis(KEEP_MILLIS));
    opens_under(2, &key.seal(&command(), CommandNumber(1)).await.unwrap());
    opens_under(3, &key.seal(&command(), CommandNumber(2)).await.unwrap());
}

#[tokio::test]
async fn a_signature_of_another_key_is_never_sent() {
    let server = Server::start(vec![points_at(1), signs(1, 2)]);
    let error = key(&server, &clock()).seal(&command(), CommandNumber(0)).await.unwrap_err();
    assert!(matches!(&error, CloudError::Damaged { detail, .. } if detail.contains("does not verify")), "{error:?}");
}

#[tokio::test]
async fn faults_are_told_and_retried_by_the_queue() {
    let server = Server::start(vec![refuses("NotFoundException"), points_at(1), refuses("ThrottlingException")]);
    let key = key(&server, &clock());
    let error = key.seal(&command(), CommandNumber(0)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{ALIAS} in KMS holds no value yet: `vitro command-key new` puts it there"));
    assert!(error.retryable());
    let error = key.seal(&command(), CommandNumber(0)).await.unwrap_err();
    assert!(matches!(&error, CloudError::Service { code, .. } if code == "ThrottlingException"), "{error:?}");
    assert!(error.retryable());
}
