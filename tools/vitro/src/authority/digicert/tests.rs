//! Against recorded answers in the form that DigiCert documents: nobody here has an account.

use super::*;
use crate::authority::LocalAuthority;
use crate::authority::stub::{Answer, Stub};

const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };
const PROFILE: &str = "IOT_502ac648-c826-4e71-991e-5629a23850c1";
const SECRET: &str = "00bb-secret-key";

struct World {
    folder: tempfile::TempDir,
    below: LocalAuthority,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = LocalAuthority::create(&folder.path().join("root"), "Root", VALIDITY, 1).unwrap();
        let below = root.create_below(&folder.path().join("below"), "Below", VALIDITY, None).unwrap();
        let chain = format!("{}{}", below.certificate(), root.certificate());
        std::fs::write(folder.path().join("chain.pem"), chain).unwrap();
        files::write_secret(&folder.path().join("key"), SECRET).unwrap();
        Self { folder, below }
    }

    async fn open(&self, answers: Vec<Answer>) -> (Stub, DigiCert) {
        let stub = Stub::serve(answers).await;
        let settings = DigiCertSettings {
            url: stub.url(),
            enrollment_profile: PROFILE.into(),
            api_key_file: Some("key".into()),
            chain: "chain.pem".into(),
            crl_url: Some("http://crl.example/below.crl".into()),
        };
        let authority = DigiCert::open(self.folder.path(), &settings).unwrap();
        (stub, authority)
    }
}

/// As the service answers a request that needs nobody's approval.
fn approved(pem: &str) -> Answer {
    let body = json!({
        "certificate_request_id": "b1cef6d1-1449-4b7d-9577-a43839f7367c",
        "status": "AUTO_APPROVED",
        "pem": pem.replace('\n', "\r\n"),
    });
    Answer::json(200, body.to_string())
}

#[tokio::test]
async fn a_certificate_is_asked_for() {
    let world = World::new();
    let thing: DeviceId = "dev-1".parse().unwrap();
    let request = pki::request(&thing, &pki::new_key().unwrap()).unwrap();
    let leaf = world.below.issue(&request, &thing, VALIDITY).await.unwrap();
    // With the chain below it, as a profile may be set up.
    let (stub, authority) = world.open(vec![approved(&format!("{leaf}{}", world.below.certificate()))]).await;
    assert_eq!(authority.facts(), world.below.facts());
    assert_eq!(authority.issuers(), world.below.issuers());
    assert_eq!(authority.crl_location(), Some("http://crl.example/below.crl"));
    assert!(authority.decides_validity());
    assert_eq!(authority.issue(&request, &thing, VALIDITY).await.unwrap(), leaf);
    let asked = &stub.asked()[0];
    assert_eq!(asked.line, "POST /iot/api/v1/certificate HTTP/1.1");
    assert_eq!(asked.header("x-api-key").as_deref(), Some(SECRET));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((body["csr"].as_str(), body["enrollment_profile_id"].as_str()), (Some(request.as_str()), Some(PROFILE)));
    assert_eq!(body["device_attributes"][0]["value"], "dev-1");
    assert!(!format!("{authority:?}").contains(SECRET));
}

#[tokio::test]
async fn what_is_not_given_is_told() {
    let world = World::new();
    let thing: DeviceId = "dev-1".parse().unwrap();
    let request = pki::request(&thing, &pki::new_key().unwrap()).unwrap();
    let strange = World::new().below.issue(&request, &thing, VALIDITY).await.unwrap();
    let waiting = json!({ "certificate_request_id": "b1", "status": "PENDING_APPROVAL" });
    let refused = json!({ "errors": [{ "code": "invalid_input", "message": "Enrollment profile does not exist" }] });
    let answers = vec![
        Answer::json(200, waiting.to_string()),
        Answer::json(400, refused.to_string()),
        Answer::json(429, ""),
        approved(&strange),
    ];
    let (_stub, authority) = world.open(answers).await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let error = authority.issue(&request, &thing, VALIDITY).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains(SECRET));
        told.push((error.to_string(), error.exit_code()));
    }
    assert_eq!(told[0].0, "DigiCert gave no certificate for dev-1: the request is PENDING_APPROVAL");
    assert_eq!(told[1].0, "request a certificate: Enrollment profile does not exist (status 400)");
    assert_eq!((told[1].1, told[2].1), (1, 75));
    assert!(told[3].0.contains("is not taken"));
}

#[tokio::test]
async fn a_certificate_is_found_and_revoked() {
    let world = World::new();
    let records = json!({ "total": 1, "records": [
        { "id": "0", "serial_number": "57DB86CA" },
        { "id": "b0484486-a56b-4e37-a5de-b717c59163fa", "serial_number": "0A:0B", "status": "ISSUED" },
    ] });
    let answers = vec![
        Answer::json(200, records.to_string()),
        Answer::json(204, ""),
        Answer::json(200, json!({ "total": 0, "records": [] }).to_string()),
    ];
    let (stub, authority) = world.open(answers).await;
    let serial: Serial = "0a0b".parse().unwrap();
    authority.revoke(std::slice::from_ref(&serial), RevocationReason::KeyCompromise, 0).await.unwrap();
    let missing = authority.revoke(&[serial], RevocationReason::KeyCompromise, 0).await;
    assert!(matches!(missing, Err(CliError::NotFound(_))));
    let asked = stub.asked();
    assert_eq!(asked[0].line, "GET /iot/api/v1/certificate?serial_number=0a0b HTTP/1.1");
    let path = "/iot/api/v1/certificate/b0484486-a56b-4e37-a5de-b717c59163fa/revoke";
    assert_eq!(
        (asked[1].line.clone(), asked[1].body.as_str()),
        (format!("PUT {path} HTTP/1.1"), r#"{"reason":"key_compromise"}"#)
    );
}
