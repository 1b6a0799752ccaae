//! Against what `fabric-ca-server` 1.5.21 answered (`recorded.json`: a throw-away CA, its secrets and certificates), and against a small
//! CA over TLS that answers in the same form.

mod small_ca;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::CertificateSigningRequestParams;
use rcgen::PublicKeyData;
use serde_json::Value;
use vitro_ledger::SecretPem;

use super::answer::Enrolled;
use super::*;
use crate::authority::stub::{Answer, Stub};
use crate::pki;
use small_ca::{Behaviour, SmallCa};

/// 2026-11-28T12:40:05Z, when the exchange was recorded.
const RECORDED: i64 = 1_795_869_605;
const YEAR: i64 = 365 * 86_400;

fn recorded(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("recorded.json")).unwrap();
    all["exchanges"][name].clone()
}

fn text<'a>(exchange: &'a Value, field: &str) -> &'a str {
    exchange[field].as_str().unwrap()
}

/// The key that a recorded request was made with, and the answer to it.
fn enrolled(name: &str) -> (Vec<u8>, Enrolled) {
    let exchange = recorded(name);
    let body: Value = serde_json::from_str(text(&exchange, "body")).unwrap();
    let request = CertificateSigningRequestParams::from_pem(text(&body, "certificate_request")).unwrap();
    let answer = Zeroizing::new(text(&exchange, "answer").as_bytes().to_vec());
    (request.public_key.der_bytes().to_vec(), answer::read("enroll", 201, answer).unwrap())
}

fn refusal(result: Result<Issued, CliError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, CliError::Refused(_) | CliError::NotTaken { .. }) && error.exit_code() == 1, "{error:?}");
    error.to_string()
}

#[test]
fn a_recorded_certificate_is_taken_for_its_own_key_name_and_time_alone() {
    for name in ["enroll", "reenroll"] {
        let (key, answer) = enrolled(name);
        let issued = Issued::check(&answer, "vitro-1", &key, RECORDED).unwrap();
        assert_eq!((issued.role(), &issued.facts.units[..]), (Some("client"), &["client".to_owned()][..]));
        assert_eq!((issued.facts.issuer.as_str(), issued.chain.len()), ("fabric-ca-server", 1));
        let other_key = enrolled("client_reenroll").0;
        assert!(refusal(Issued::check(&answer, "vitro-1", &other_key, RECORDED)).contains("for another key"));
        assert!(refusal(Issued::check(&answer, "vitro-2", &key, RECORDED)).contains("it is for vitro-1"));
        assert!(refusal(Issued::check(&answer, "vitro-1", &key, RECORDED + YEAR)).contains("it expired"));
        assert!(refusal(Issued::check(&answer, "vitro-1", &key, RECORDED - YEAR)).contains("good only from"));
    }
}

#[test]
fn a_recorded_certificate_comes_from_the_ca_that_answered() {
    let (key, mut answer) = enrolled("enroll");
    let validity = pki::Validity::new(RECORDED - 10, RECORDED + YEAR).unwrap();
    let stranger = pki::root_certificate("fabric-ca-server", &pki::new_key().unwrap(), validity, 1).unwrap();
    let own = answer.server.chain.clone();
    for (chain, expected) in [
        (STANDARD.encode(stranger), "does not come from the CA"),
        (STANDARD.encode("nothing"), "shows no root"),
        ("%".to_owned(), "shows no root"),
    ] {
        answer.server.chain = chain;
        assert!(refusal(Issued::check(&answer, "vitro-1", &key, RECORDED)).contains(expected));
    }
    answer.server.chain = own;
    for certificate in ["%".to_owned(), STANDARD.encode("nothing")] {
        answer.certificate = certificate;
        assert!(refusal(Issued::check(&answer, "vitro-1", &key, RECORDED)).contains("is not taken"));
    }
}

/// Checks a token over a request as the CA does: the signature is by the key of the certificate that it shows.
fn token_holds(token: &str, line: &str, body: &str) -> bool {
    let (method, path) = line.split_once(' ').unwrap();
    let (certificate, signature) = token.split_once('.').unwrap();
    let pem = String::from_utf8(STANDARD.decode(certificate).unwrap()).unwrap();
    let facts = pki::read_certificate(&pem).unwrap();
    let payload = format!("{method}.{}.{}.{certificate}", STANDARD.encode(path), STANDARD.encode(body));
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, facts.public_key.as_bytes())
        .verify(payload.as_bytes(), &STANDARD.decode(signature).unwrap())
        .is_ok()
}

#[test]
fn tokens_are_those_of_fabrics_own_client() {
    // One that `fabric-ca-client` made, one that we made and the CA took, and a new one.
    for name in ["client_reenroll", "reenroll"] {
        let exchange = recorded(name);
        let (token, line, body) = (text(&exchange, "authorization"), text(&exchange, "line"), text(&exchange, "body"));
        assert!(token_holds(token, line, body), "{name}");
        assert!(!token_holds(token, line, &body.replace("ca-rc", "ca-dv")), "{name}");
    }
    let ca = SmallCa::new();
    let holder = ca.member("alice", "client", RECORDED + YEAR);
    let token = token::of(&holder, "POST", "/api/v1/reenroll", b"{}").unwrap();
    assert!(token_holds(&token, "POST /api/v1/reenroll", "{}"));
    assert!(!token_holds(&token, "POST /api/v1/register", "{}"));
    let keyless = IdentityProfile { key_pem: None, ..holder };
    assert!(matches!(token::of(&keyless, "POST", "/", b""), Err(CliError::Refused(_))));
}

#[tokio::test]
async fn requests_are_those_that_the_ca_took() {
    let stub = Stub::serve(vec![
        Answer::json(201, text(&recorded("register"), "answer")),
        Answer::json(201, text(&recorded("enroll"), "answer")),
    ])
    .await;
    let ca = FabricCa::new(&stub.url(), Some("ca-rc".into()), "").unwrap();
    let registrar = SmallCa::new().member("admin", "client", RECORDED + YEAR);
    let registration = Registration {
        id: "vitro-1".into(),
        kind: "client".into(),
        affiliation: String::new(),
        max_enrollments: Some(1),
        attributes: vec!["vitro=yes:ecert".parse().unwrap()],
    };
    let secret = ca.register(&registrar, &registration).await.unwrap();
    let wanted =
        Wanted { hosts: vec!["peer0.example".into()], profile: Some("tls".into()), attributes: vec!["a:opt".into()] };
    // Another key than the recorded one: that is noticed, too.
    let key = pki::new_key().unwrap();
    let error = refusal(ca.enroll("vitro-1", &secret, &wanted, &key, RECORDED).await);
    assert!(error.contains("for another key") && !error.contains(secret.as_str()));

    let asked = stub.asked();
    assert_eq!(asked[0].body, text(&recorded("register"), "body"));
    assert_eq!(asked[0].line, "POST /api/v1/register HTTP/1.1");
    let authorization = asked[0].header("authorization").unwrap();
    assert!(token_holds(&authorization, "POST /api/v1/register", &asked[0].body));
    assert_eq!(asked[1].header("authorization").as_deref(), Some(text(&recorded("enroll"), "authorization")));
    let (ours, theirs): (Value, Value) = (
        serde_json::from_str(&asked[1].body).unwrap(),
        serde_json::from_str(text(&recorded("enroll"), "body")).unwrap(),
    );
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&theirs), ["CAName", "certificate_request"]);
    assert_eq!(names(&ours), ["CAName", "attr_reqs", "certificate_request", "hosts", "profile"]);
    assert_eq!(ours["attr_reqs"], serde_json::json!([{ "name": "a", "optional": true }]));
}

#[test]
fn refusals_are_told_as_what_they_are() {
    for (name, call, expected) in [
        ("used_up", "enroll", "code 20, status 401); the id or its secret is wrong"),
        ("revoked", "reenroll", "code 20, status 401); the certificate has expired, was revoked"),
        ("not_registrar", "register", "code 71, status 403); the identity may not do this"),
        ("registered_before", "register", "Identity 'vitro-1' is already registered (code 74"),
        ("no_such_ca", "enroll", "CA 'nope' does not exist (code 19"),
    ] {
        let exchange = recorded(name);
        let status = exchange["status"].as_u64().unwrap().try_into().unwrap();
        let answer = Zeroizing::new(text(&exchange, "answer").as_bytes().to_vec());
        let error = answer::read::<Enrolled>(call, status, answer).err().unwrap();
        assert!(matches!(error, CliError::Refused(_)), "{error:?}");
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let read = |status, body: &str| answer::read::<answer::Registered>("register", status, Zeroizing::new(body.into()));
    for (status, body, exit) in [
        (502, "<html>", 75),
        (404, "404 page not found\n", 1),
        (500, r#"{"result":"","errors":[{"code":0,"message":"database"}],"success":false}"#, 75),
        (
            500,
            r#"{"result":"","errors":[{"code":0,"message":"The following required attributes are missing: [a]"}],"success":false}"#,
            1,
        ),
        (201, r#"{"result":{"secret":["hidden"]},"errors":[],"success":true}"#, 1),
        (201, r#"{"result":{"secret":"hidden"},"errors":[],"success":false}"#, 1),
        (201, r#"{"success":true}"#, 1),
    ] {
        let error = read(status, body).err().unwrap();
        assert_eq!(error.exit_code(), exit, "{error}");
        assert!(!format!("{error} {error:?}").contains("hidden"));
    }
}

#[tokio::test]
async fn enrols_over_tls_and_again_before_the_certificate_expires() {
    let ca = SmallCa::new();
    let server = ca.serve(Behaviour::Good).await;
    let client = FabricCa::new(&server.url(), Some("ca-rc".into()), &ca.tls_ca).unwrap();
    let key = pki::new_key().unwrap();
    let wanted = Wanted::default();
    let issued = client.enroll("alice", small_ca::SECRET, &wanted, &key, RECORDED).await.unwrap();
    assert_eq!((issued.facts.name.as_str(), issued.role()), ("alice", Some("client")));

    let identity = IdentityProfile {
        msp: "RcMSP".into(),
        certificate_pem: issued.certificate,
        key_pem: Some(SecretPem::new(pki::key_pem(&key).to_string())),
    };
    let next = pki::new_key().unwrap();
    let renewed = client.reenroll(&identity, &wanted, &next, RECORDED).await.unwrap();
    assert_eq!(renewed.facts.public_key, pki::public_key(&next).unwrap());
    assert_ne!(renewed.facts.serial, issued.facts.serial);

    let wrong = refusal(client.enroll("alice", "not it", &wanted, &key, RECORDED).await);
    assert!(wrong.contains("code 20") && !wrong.contains("not it"), "{wrong}");
    let stranger = SmallCa::new().member("alice", "client", RECORDED + YEAR);
    assert!(refusal(client.reenroll(&stranger, &wanted, &next, RECORDED).await).contains("another CA's"));
    let expired = ca.member("alice", "client", RECORDED - 1);
    assert!(refusal(client.reenroll(&expired, &wanted, &next, RECORDED).await).contains("has expired"));
    assert!(matches!(client.enroll("a:b", "s", &wanted, &key, RECORDED).await, Err(CliError::Usage(_))));
}

#[tokio::test]
async fn what_a_ca_gives_is_believed_only_if_it_is_right() {
    let ca = SmallCa::new();
    for (behaviour, expected) in [
        (Behaviour::OtherKey, "for another key"),
        (Behaviour::OtherName, "it is for mallory"),
        (Behaviour::Expired, "it expired"),
        (Behaviour::OtherIssuer, "does not come from the CA"),
    ] {
        let server = ca.serve(behaviour).await;
        let client = FabricCa::new(&server.url(), None, &ca.tls_ca).unwrap();
        let key = pki::new_key().unwrap();
        let error = client.enroll("alice", small_ca::SECRET, &Wanted::default(), &key, RECORDED).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        let CliError::NotTaken { certificate, .. } = error else { panic!("{error:?}") };
        assert!(pki::read_certificate(&certificate).is_ok(), "what came can be kept");
    }
}

#[tokio::test]
async fn a_secret_is_sent_to_no_server_that_is_not_the_cas() {
    let (ca, stranger) = (SmallCa::new(), SmallCa::new());
    let server = ca.serve(Behaviour::Good).await;
    let client = FabricCa::new(&server.url(), None, &stranger.tls_ca).unwrap();
    let key = pki::new_key().unwrap();
    let error = client.enroll("alice", small_ca::SECRET, &Wanted::default(), &key, RECORDED).await.unwrap_err();
    assert!(error.to_string().contains("invalid peer certificate") && !error.retryable(), "{error}");
    assert_eq!(server.asked(), 0);
    assert!(!format!("{error} {error:?} {client:?}").contains(small_ca::SECRET));
    assert!(matches!(FabricCa::new("http://ca.example:7054", None, &ca.tls_ca), Err(CliError::Usage(_))));
    assert!(matches!(FabricCa::new("https://ca.example:7054", None, "nothing"), Err(CliError::Malformed { .. })));
}
