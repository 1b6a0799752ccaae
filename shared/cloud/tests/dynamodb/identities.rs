//! Registration: entry and identities in one transaction, and who was there first.

use serde_json::{Value, json};
use vitro_cloud::CloudError;
use vitro_cloud::devices::{Device, NewDevice};
use vitro_cloud::identities::{CertificateIdentity, Identities, NewCertificate, Origin, Registration, key_name};
use vitro_proof::chain::Serial;
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{Hash, Signer, UnixMillis};

use super::server::{Answer, Server};
use super::{client, done, thing};

fn device() -> Device {
    let table = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}]"#;
    NewDevice {
        id: thing(),
        replaces: None,
        public_key: SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key(),
        certificate: "first".into(),
        certificate_id: "c1".into(),
        enrolled_at: Some(UnixMillis(5)),
        metering_point: "mp-1".into(),
        zone: "Etc/UTC".parse().unwrap(),
        shard: "north".into(),
        confidential: false,
        sensor_tables: serde_json::from_str(table).unwrap(),
    }
    .into()
}

fn certificate(number: u8) -> NewCertificate {
    let identity = CertificateIdentity::new(Hash([1; 32]), Serial::from_bytes(&[number]).unwrap());
    NewCertificate { identity, id: format!("c{number}"), pem: "pem".into(), origin: Origin::Operator }
}

fn cancelled(codes: [&str; 3]) -> Answer {
    let name = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    let reasons = codes.map(|code| json!({ "Code": code }));
    Box::new(move |_| (400, json!({ "__type": name, "message": "cancelled", "CancellationReasons": reasons })))
}

fn nothing() -> Answer {
    done(json!({}))
}

fn owner(name: &str, certificate: Option<&str>) -> Answer {
    let mut item = json!({ "identity": { "S": "x" }, "device": { "S": name } });
    if let Some(id) = certificate {
        item["certificate_id"] = json!({ "S": id });
    }
    done(json!({ "Item": item }))
}

fn found(item: &Value) -> Answer {
    done(json!({ "Item": item }))
}

async fn register(script: Vec<Answer>, number: u8) -> (Result<Registration, CloudError>, Vec<Value>) {
    let server = Server::start(script);
    let identities = Identities::new(client(&server), "devices", "identities");
    let result = identities.register(&device(), &certificate(number)).await;
    (result, server.requests())
}

/// The registry's part of the transaction that registers what a device showed.
async fn announced(known: Option<&Value>, origin: Origin) -> Value {
    let server = Server::start(vec![known.map_or_else(nothing, found), nothing()]);
    let identities = Identities::new(client(&server), "devices", "identities");
    let certificate = NewCertificate { origin, ..certificate(if known.is_some() { 2 } else { 1 }) };
    identities.register(&device(), &certificate).await.unwrap();
    server.requests()[1]["TransactItems"][0].clone()
}

#[tokio::test]
async fn what_a_device_shows_is_being_taken_in_until_that_is_noted() {
    let new = announced(None, Origin::Announced).await;
    assert_eq!(new["Put"]["Item"]["admitting"], json!({ "SS": ["c1"] }));
    let known = entry().await;
    assert!(known.get("admitting").is_none());
    let renewed = announced(Some(&known), Origin::Announced).await;
    let expression = "SET certificate = :pem, certificate_id = :id ADD certificate_ids :ids, admitting :new";
    assert_eq!(renewed["Update"]["UpdateExpression"], expression);
    assert_eq!(renewed["Update"]["ExpressionAttributeValues"][":new"], json!({ "SS": ["c2"] }));
    let held = announced(Some(&known), Origin::Held).await;
    let expression = "SET certificate = :pem, certificate_id = :id ADD certificate_ids :ids";
    assert_eq!(held["Update"]["UpdateExpression"], expression);
    let server = Server::start(vec![nothing()]);
    Identities::new(client(&server), "devices", "identities").devices().note_admitted(&thing(), "c2").await.unwrap();
    assert_eq!(server.requests()[0]["UpdateExpression"], "DELETE admitting :done");
}

/// The entry as a registration writes it.
async fn entry() -> Value {
    let (_, requests) = register(vec![nothing(), nothing()], 1).await;
    requests[1]["TransactItems"][0]["Put"]["Item"].clone()
}

#[tokio::test]
async fn entry_key_and_certificate_are_written_together() {
    let (result, requests) = register(vec![nothing(), nothing()], 1).await;
    assert_eq!(result.unwrap(), Registration::New);
    let items = requests[1]["TransactItems"].as_array().unwrap();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0]["Put"]["TableName"], "devices");
    assert_eq!(items[0]["Put"]["ConditionExpression"], "attribute_not_exists(device)");
    assert_eq!(items[0]["Put"]["Item"]["certificate_ids"], json!({ "SS": ["c1"] }));
    assert_eq!(items[0]["Put"]["Item"]["enrolled_at"], json!({ "N": "5" }));
    for (item, name) in [(&items[1], key_name(&device().public_key)), (&items[2], certificate(1).identity.name())] {
        assert_eq!(item["Put"]["Item"]["identity"]["S"], name);
        assert_eq!(item["Put"]["Item"]["device"]["S"], "dev-1");
        let condition = item["Put"]["ConditionExpression"].as_str().unwrap();
        assert!(condition.starts_with("attribute_not_exists(#identity) OR "), "{condition}");
    }
}

#[tokio::test]
async fn who_holds_the_key_or_the_certificate_is_named() {
    let refused = || cancelled(["None", "ConditionalCheckFailed", "None"]);
    let (result, _) = register(vec![nothing(), refused(), owner("dev-9", None)], 1).await;
    let error = result.unwrap_err();
    assert!(matches!(&error, CloudError::Exists(what) if what.contains("dev-9") && what.contains("key")), "{error}");
    assert!(!error.retryable());
    let (result, _) = register(vec![nothing(), refused(), nothing(), owner("dev-8", Some("c7"))], 1).await;
    assert!(matches!(result, Err(CloudError::Exists(what)) if what.contains("dev-8") && what.contains("c7")));
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_a_second_certificate_is_a_renewal() {
    let entry = entry().await;
    let ours = || vec![found(&entry), owner("dev-1", None), owner("dev-1", Some("c1"))];
    let (result, requests) = register(ours(), 1).await;
    assert_eq!((result.unwrap(), requests.len()), (Registration::Known, 3));
    let (result, requests) = register(vec![found(&entry), nothing()], 2).await;
    assert_eq!(result.unwrap(), Registration::Renewed);
    let update = &requests[1]["TransactItems"][0]["Update"];
    assert_eq!(update["UpdateExpression"], "SET certificate = :pem, certificate_id = :id ADD certificate_ids :ids");
    assert_eq!(update["ExpressionAttributeValues"][":ids"], json!({ "SS": ["c1", "c2"] }));
    assert_eq!(update["ExpressionAttributeValues"][":known"], json!({ "S": "c1" }));
    // An entry of before there were identities gets them, and keeps its newest certificate.
    let (result, requests) = register(vec![found(&entry), nothing(), nothing()], 1).await;
    assert_eq!(result.unwrap(), Registration::Renewed);
    assert_eq!(requests[2]["TransactItems"][0]["Update"]["UpdateExpression"], "ADD certificate_ids :ids");
}

#[tokio::test]
async fn another_key_and_a_retired_device_are_refused() {
    let mut entry = entry().await;
    entry["status"] = json!({ "S": "retired" });
    let (result, _) = register(vec![found(&entry)], 2).await;
    assert!(matches!(result, Err(CloudError::Refused(_))));
    let other = SoftwareSigner::from_scalar(&[8; 32]).unwrap().public_key();
    entry["public_key"] = json!({ "B": super::base64(other.as_bytes()) });
    let (result, requests) = register(vec![found(&entry)], 2).await;
    assert!(matches!(result, Err(CloudError::Exists(_))));
    assert_eq!(requests.len(), 1, "nothing was written");
}

#[tokio::test]
async fn what_others_change_meanwhile_is_looked_at_again() {
    let entry = entry().await;
    let refused = || cancelled(["ConditionalCheckFailed", "None", "None"]);
    let script = vec![
        nothing(),
        refused(),
        nothing(),
        nothing(),
        found(&entry),
        owner("dev-1", None),
        owner("dev-1", Some("c1")),
    ];
    let (result, _) = register(script, 1).await;
    assert_eq!(result.unwrap(), Registration::Known, "another one registered the same device at the same time");
    let conflict = cancelled(["TransactionConflict", "None", "None"]);
    let (result, _) = register(vec![nothing(), conflict], 1).await;
    assert!(result.unwrap_err().retryable());
}

#[tokio::test]
async fn certificates_are_looked_up_a_hundred_a_call_and_what_was_left_over_again() {
    let wanted: Vec<CertificateIdentity> = (1..=130).map(|number| certificate(number).identity).collect();
    let item = |number: u8| {
        json!({ "identity": { "S": certificate(number).identity.name() }, "device": { "S": "dev-1" },
            "certificate_id": { "S": format!("c{number}") } })
    };
    let rest = json!({ "identities": { "Keys": [{ "identity": { "S": certificate(2).identity.name() } }] } });
    let server = Server::start(vec![
        done(json!({ "Responses": { "identities": [item(1)] }, "UnprocessedKeys": rest })),
        done(json!({ "Responses": { "identities": [item(2)] } })),
        done(json!({ "Responses": { "identities": [item(130)] } })),
    ]);
    let found =
        Identities::new(client(&server), "devices", "identities").holders_of_certificates(&wanted).await.unwrap();
    let ids: Vec<&str> = found.iter().map(|(_, holder)| holder.certificate_id.as_str()).collect();
    assert_eq!(ids, ["c1", "c2", "c130"]);
    assert!(found.iter().all(|(identity, _)| wanted.contains(identity)));
    let asked: Vec<usize> = server
        .requests()
        .iter()
        .map(|request| request["RequestItems"]["identities"]["Keys"].as_array().unwrap().len())
        .collect();
    assert_eq!(asked, [100, 1, 30]);
}
