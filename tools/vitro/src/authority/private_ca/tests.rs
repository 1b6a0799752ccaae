//! Against recorded answers: the local stack has no Private CA, and nobody here has an account.

use aws_sdk_acmpca::config::{BehaviorVersion, Credentials, Region};
use base64::Engine as _;
use serde_json::{Value, json};

use super::*;
use crate::authority::LocalAuthority;
use crate::authority::stub::{Answer, Asked, Stub};

const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };
const ARN: &str =
    "arn:aws:acm-pca:eu-central-1:123456789012:certificate-authority/11223344-1234-1122-2233-112233445566";
const ISSUED: &str = "/certificate/286535153982981100925020015808220737245";

/// Two local authorities play what AWS holds.
struct World {
    _folder: tempfile::TempDir,
    root: LocalAuthority,
    below: LocalAuthority,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = LocalAuthority::create(&folder.path().join("root"), "Root", VALIDITY, 1).unwrap();
        let below = root.create_below(&folder.path().join("below"), "Below", VALIDITY, None).unwrap();
        Self { _folder: folder, root, below }
    }

    /// What AWS says when the authority is opened, and then these answers.
    async fn open(&self, crl: Value, answers: Vec<Answer>) -> (Stub, Result<PrivateCa, CliError>) {
        let chain = json!({
            "Certificate": self.below.certificate().trim_end(),
            "CertificateChain": self.root.certificate().trim_end(),
        });
        let described = json!({ "CertificateAuthority": {
            "Arn": ARN,
            "Status": "ACTIVE",
            "RevocationConfiguration": { "CrlConfiguration": crl },
        } });
        let mut all = vec![Answer::aws(200, chain.to_string()), Answer::aws(200, described.to_string())];
        all.extend(answers);
        let stub = Stub::serve(all).await;
        let config = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(aws_sdk_acmpca::config::SharedCredentialsProvider::new(Credentials::for_tests()))
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .endpoint_url(stub.url())
            .build();
        let settings = PrivateCaSettings { arn: ARN.into(), template: None, wait_seconds: 20 };
        let opened = PrivateCa::open(&settings, &config).await;
        (stub, opened)
    }

    async fn leaf(&self, thing: &DeviceId) -> (String, String) {
        let request = pki::request(thing, &pki::new_key().unwrap()).unwrap();
        let leaf = self.below.issue(&request, thing, VALIDITY).await.unwrap();
        (request, leaf)
    }
}

fn operation(asked: &Asked) -> String {
    asked.header("x-amz-target").unwrap().rsplit('.').next().unwrap().to_owned()
}

fn fault(status: u16, code: &str) -> Answer {
    Answer::aws(status, json!({ "__type": code, "message": "said so" }).to_string())
}

#[tokio::test]
async fn a_certificate_is_asked_for_and_waited_for() {
    let world = World::new();
    let thing: DeviceId = "dev-1".parse().unwrap();
    let (request, leaf) = world.leaf(&thing).await;
    let answers = vec![
        Answer::aws(200, json!({ "CertificateArn": format!("{ARN}{ISSUED}") }).to_string()),
        fault(400, "RequestInProgressException"),
        Answer::aws(200, json!({ "Certificate": leaf.trim_end(), "CertificateChain": "" }).to_string()),
    ];
    let (stub, authority) = world.open(json!({ "Enabled": false }), answers).await;
    let authority = authority.unwrap();
    assert_eq!(authority.facts(), world.below.facts());
    assert_eq!(authority.issuers(), world.below.issuers(), "the root is left out");
    assert_eq!(authority.crl_location(), None);
    assert_eq!(authority.issue(&request, &thing, VALIDITY).await.unwrap(), leaf);

    let asked = stub.asked();
    let operations: Vec<String> = asked.iter().map(operation).collect();
    let opened = ["GetCertificateAuthorityCertificate", "DescribeCertificateAuthority"];
    assert_eq!(operations[..2], opened);
    assert_eq!(operations[2..], ["IssueCertificate", "GetCertificate", "GetCertificate"]);
    let issue: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!(issue["TemplateArn"], "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1");
    assert_eq!(issue["SigningAlgorithm"], "SHA256WITHECDSA");
    assert_eq!(issue["Validity"], json!({ "Type": "ABSOLUTE", "Value": VALIDITY.not_after }));
    assert_eq!(issue["ValidityNotBefore"], json!({ "Type": "ABSOLUTE", "Value": VALIDITY.not_before }));
    assert_eq!(issue["IdempotencyToken"].as_str().unwrap().len(), 32);
    let csr = base64::engine::general_purpose::STANDARD.decode(issue["Csr"].as_str().unwrap()).unwrap();
    assert_eq!(csr, request.as_bytes());
    // The ARN's region is asked, not that of the installation.
    assert!(asked[2].header("authorization").unwrap().contains("/eu-central-1/acm-pca/"));
}

#[tokio::test]
async fn what_is_not_for_the_device_is_not_taken() {
    let world = World::new();
    let (one, two): (DeviceId, DeviceId) = ("dev-1".parse().unwrap(), "dev-2".parse().unwrap());
    let (request, _) = world.leaf(&one).await;
    let (_, other) = world.leaf(&two).await;
    let issued = || Answer::aws(200, json!({ "CertificateArn": format!("{ARN}{ISSUED}") }).to_string());
    let given = |pem: &str| Answer::aws(200, json!({ "Certificate": pem }).to_string());
    let stranger = World::new();
    let strange = stranger.below.issue(&request, &one, VALIDITY).await.unwrap();
    let answers = vec![issued(), given(&other), issued(), given(&strange), issued(), given("")];
    let (_stub, authority) = world.open(json!({ "Enabled": false }), answers).await;
    let authority = authority.unwrap();
    for _ in 0..2 {
        assert!(matches!(authority.issue(&request, &one, VALIDITY).await, Err(CliError::Refused(_))));
    }
    assert!(matches!(authority.issue(&request, &one, VALIDITY).await, Err(CliError::Malformed { .. })));
    assert!(matches!(authority.issue(&request, &two, VALIDITY).await, Err(CliError::Refused(_))), "never asked");
}

#[tokio::test]
async fn faults_are_told_apart() {
    let world = World::new();
    let thing: DeviceId = "dev-1".parse().unwrap();
    let (request, _) = world.leaf(&thing).await;
    let answers = vec![
        fault(400, "LimitExceededException"),
        fault(400, "InvalidStateException"),
        fault(500, "InternalFailure"),
        Answer::aws(200, json!({ "CertificateArn": format!("{ARN}{ISSUED}") }).to_string()),
        fault(400, "RequestFailedException"),
    ];
    let (_stub, authority) = world.open(json!({ "Enabled": false }), answers).await;
    let authority = authority.unwrap();
    for (code, retryable) in
        [("LimitExceededException", true), ("InvalidStateException", false), ("InternalFailure", true)]
    {
        let error = authority.issue(&request, &thing, VALIDITY).await.unwrap_err();
        assert_eq!((error.aws_code(), error.retryable()), (Some(code), retryable));
    }
    let error = authority.issue(&request, &thing, VALIDITY).await.unwrap_err();
    assert_eq!((error.aws_code(), error.retryable()), (Some("RequestFailedException"), false));
    let settings = PrivateCaSettings { arn: "arn:aws:iot:x:1:y/z".into(), template: None, wait_seconds: 1 };
    let config = aws_config::SdkConfig::builder().build();
    assert!(matches!(PrivateCa::open(&settings, &config).await, Err(CliError::Usage(_))));
}

#[tokio::test]
async fn a_certificate_is_revoked_by_its_number() {
    let world = World::new();
    let answers = vec![
        Answer::aws(200, ""),
        fault(400, "RequestAlreadyProcessedException"),
        fault(400, "ResourceNotFoundException"),
    ];
    let crl = json!({ "Enabled": true, "S3BucketName": "acme-crl" });
    let (stub, authority) = world.open(crl, answers).await;
    let authority = authority.unwrap();
    let wanted = "http://acme-crl.s3.eu-central-1.amazonaws.com/crl/11223344-1234-1122-2233-112233445566.crl";
    assert_eq!(authority.crl_location(), Some(wanted));
    let serials: Vec<Serial> = ["0a0b".parse().unwrap(), "0c".parse().unwrap(), "0d".parse().unwrap()].into();
    let revoked = authority.revoke(&serials, RevocationReason::CaCompromise, 0).await;
    assert!(matches!(revoked, Err(CliError::NotFound(_))), "the third");
    assert!(authority.revoke(&serials, RevocationReason::CertificateHold, 0).await.is_err());
    let asked = stub.asked();
    assert_eq!(asked.len(), 5);
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!(operation(&asked[2]), "RevokeCertificate");
    assert_eq!(body["CertificateSerial"], "0a:0b");
    assert_eq!(body["RevocationReason"], "CERTIFICATE_AUTHORITY_COMPROMISE");
}

#[test]
fn a_list_lies_where_the_authority_puts_it() {
    let list = || CrlConfiguration::builder().enabled(true).s3_bucket_name("b");
    let at = |crl: CrlConfiguration| location(&crl, "id", "eu-central-1");
    let named = list().custom_cname("crl.example").custom_path("lists").build().unwrap();
    assert_eq!(at(named).as_deref(), Some("http://crl.example/lists/id.crl"));
    assert_eq!(at(list().crl_type(CrlType::Partitioned).build().unwrap()), None);
    assert_eq!(at(list().enabled(false).build().unwrap()), None);
}
