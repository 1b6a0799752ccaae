//! The adapters of DynamoDB against a scripted server: what is sent, what is tried again, what becomes of refusals.

// Helpers of tests: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

mod identities;
mod server;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use serde_json::{Value, json};
use vitro_cloud::CloudError;
use vitro_cloud::days::{DayStore, DynamoDays};
use vitro_cloud::devices::{Ask, Cause, Devices, Mark, SealStore, Status, StatusStore, Turn};
use vitro_cloud::parked::{Decision, Parked, ParkedState, ParkedTable};
use vitro_cloud::readings::{Reading, ReadingKey, Readings};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{DeviceId, Leaf, SequenceNumber, Signer, UnixMillis};

use server::{Answer, Server};

/// A client without retries of its own, so that every request is one that our code made.
fn client(server: &Server) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url(&server.endpoint)
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn thing() -> DeviceId {
    "dev-1".parse().unwrap()
}

fn reading(number: u64) -> Reading {
    Reading {
        device: thing(),
        key: ReadingKey::new(SequenceNumber(number), &Leaf([7; 32])),
        envelope: vec![1, 2, 3],
        time: None,
        received: UnixMillis(5),
        flags: BTreeSet::new(),
        expires: None,
    }
}

/// What BatchWriteItem leaves undone of a request: the puts at these places.
fn undone(places: &'static [usize]) -> server::Answer {
    Box::new(move |request| {
        let puts = request["RequestItems"]["t"].as_array().cloned().unwrap_or_default();
        let left: Vec<&Value> = places.iter().filter_map(|place| puts.get(*place)).collect();
        let left = if left.is_empty() { json!({}) } else { json!({ "t": left }) };
        (200, json!({ "UnprocessedItems": left }))
    })
}

fn throttled() -> server::Answer {
    let name = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
    Box::new(move |_| (400, json!({ "__type": name, "message": "slow down" })))
}

fn refused(item: Value) -> server::Answer {
    let name = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    Box::new(move |_| (400, json!({ "__type": name, "message": "no", "Item": item })))
}

fn done(answer: Value) -> server::Answer {
    Box::new(move |_| (200, answer.clone()))
}

#[tokio::test]
async fn what_is_left_undone_is_sent_again_and_nothing_else() {
    let server = Server::start(vec![undone(&[1, 3]), undone(&[1]), undone(&[])]);
    let readings: Vec<Reading> = (0..5).map(reading).collect();
    let results = Readings::new(client(&server), "t").write(&readings).await;
    assert!(results.iter().all(Result::is_ok));
    let puts = |request: &Value| request["RequestItems"]["t"].as_array().map_or(0, Vec::len);
    assert_eq!(server.requests().iter().map(puts).collect::<Vec<_>>(), [5, 2, 1]);
}

#[tokio::test]
async fn what_stays_undone_fails_alone() {
    let server = Server::start((0..5).map(|round| undone(if round == 0 { &[2] } else { &[0] })).collect());
    let readings: Vec<Reading> = (0..4).map(reading).collect();
    let results = Readings::new(client(&server), "t").write(&readings).await;
    let failed: Vec<usize> = (0..4).filter(|index| results[*index].is_err()).collect();
    assert_eq!(failed, [2]);
    assert!(results[2].as_ref().is_err_and(CloudError::retryable));
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_throttled_batch_fails_without_the_others() {
    let server = Server::start(vec![throttled(), undone(&[])]);
    let readings: Vec<Reading> = (0..30).map(reading).collect();
    let results = Readings::new(client(&server), "t").write(&readings).await;
    let failed: Vec<bool> = results.iter().map(Result::is_err).collect();
    // Two batches, 25 and 5, at once: one of them was throttled.
    assert!(failed[..25].iter().all(|f| *f == failed[0]) && failed[25..].iter().all(|f| *f != failed[0]));
    let error = results.into_iter().find_map(Result::err).unwrap();
    assert!(error.retryable() && error.to_string().contains("BatchWriteItem"), "{error}");
}

fn item(number: u8, received: u8) -> Value {
    let key = base64(&ReadingKey::new(SequenceNumber(number.into()), &Leaf([received; 32])).0);
    json!({ "device": { "S": "dev-1" }, "key": { "B": key }, "envelope": { "B": "AQ==" },
        "received": { "N": received.to_string() } })
}

#[tokio::test]
async fn a_page_goes_by_readings_and_not_by_numbers() {
    let more = json!({ "device": { "S": "dev-1" }, "key": { "B": "AA==" } });
    let server = Server::start(vec![
        done(json!({ "Items": [item(1, 9)], "Count": 1, "LastEvaluatedKey": more })),
        done(json!({ "Items": [item(2, 5), item(200, 6)], "Count": 2, "LastEvaluatedKey": more })),
    ]);
    let from = ReadingKey::first_of(SequenceNumber(1));
    let found = Readings::new(client(&server), "t").page(&thing(), from, 2).await.unwrap();
    assert_eq!(found.iter().map(|r| r.number().0).collect::<Vec<_>>(), [1, 2]);
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "no page is read that is not needed");
    assert_eq!((&requests[0]["Limit"], &requests[0]["ConsistentRead"]), (&json!(2), &json!(true)));
    assert_eq!(requests[0]["ExpressionAttributeValues"][":from"]["B"], base64(&from.0));
    assert_eq!(requests[1]["ExclusiveStartKey"], more);
}

#[tokio::test]
async fn the_highest_numbers_are_read_from_the_end() {
    let server = Server::start(vec![done(json!({ "Items": [item(9, 1), item(3, 7)], "Count": 2 }))]);
    let found = Readings::new(client(&server), "t").highest(&thing(), 16).await.unwrap();
    assert_eq!(found.iter().map(|r| (r.number().0, r.received.0)).collect::<Vec<_>>(), [(9, 1), (3, 7)]);
    let requests = server.requests();
    assert_eq!((&requests[0]["Limit"], &requests[0]["ScanIndexForward"]), (&json!(16), &json!(false)));
}

#[tokio::test]
async fn a_range_is_read_page_by_page_in_order() {
    let more = json!({ "device": { "S": "dev-1" }, "key": { "B": "AA==" } });
    let server = Server::start(vec![
        done(json!({ "Items": [item(1, 9), item(1, 4)], "Count": 2, "LastEvaluatedKey": more })),
        done(json!({ "Items": [item(2, 5)], "Count": 1 })),
    ]);
    let found =
        Readings::new(client(&server), "t").range(&thing(), SequenceNumber(1), SequenceNumber(2)).await.unwrap();
    let order: Vec<_> = found.iter().map(|r| (r.number().0, r.received.0)).collect();
    assert_eq!(order, [(1, 4), (1, 9), (2, 5)]);
    let requests = server.requests();
    assert_eq!(requests[0]["ConsistentRead"], true);
    assert_eq!(
        requests[0]["ExpressionAttributeValues"][":to"]["B"],
        base64(&[vec![0; 7], vec![2], vec![255; 8]].concat())
    );
    assert_eq!(requests[1]["ExclusiveStartKey"], more);
}

#[tokio::test]
async fn a_mark_that_others_moved_is_merged() {
    let known = json!({ "status": { "S": "active" }, "mark_number": { "N": "90" }, "mark_received": { "N": "10" } });
    let server = Server::start(vec![refused(known), done(json!({}))]);
    let mark = Mark { number: SequenceNumber(70), received: UnixMillis(20), time: None };
    let moved = Devices::new(client(&server), "t").move_mark(&thing(), mark).await.unwrap().unwrap();
    assert_eq!((moved.number.0, moved.received.0), (90, 20));
    let values = &server.requests()[1]["ExpressionAttributeValues"];
    assert_eq!((&values[":number"]["N"], &values[":received"]["N"]), (&json!("90"), &json!("20")));
}

#[tokio::test]
async fn a_mark_further_on_and_one_of_a_suspended_device_stay() {
    let item = |status: &str| json!({ "status": { "S": status }, "mark_number": { "N": "90" }, "mark_received": { "N": "30" } });
    let mark = Mark { number: SequenceNumber(70), received: UnixMillis(20), time: None };
    let server = Server::start(vec![refused(item("active")), refused(item("suspended"))]);
    let devices = Devices::new(client(&server), "t");
    assert_eq!(devices.move_mark(&thing(), mark).await.unwrap().map(|mark| mark.number.0), Some(90));
    assert_eq!(devices.move_mark(&thing(), mark).await.unwrap(), None);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn many_entries_are_read_until_none_is_left() {
    let ids: Vec<DeviceId> = (0..3).map(|i| format!("dev-{i}").parse().unwrap()).collect();
    let left = json!({ "t": { "Keys": [{ "device": { "S": "dev-2" } }] } });
    let server = Server::start(vec![
        done(json!({ "Responses": { "t": [{ "device": { "S": "dev-0" } }] }, "UnprocessedKeys": left })),
        done(json!({ "Responses": { "t": [] }, "UnprocessedKeys": {} })),
    ]);
    let found = Devices::new(client(&server), "t").get_many(&ids).await.unwrap();
    assert_eq!(found.len(), 1, "who is not registered is not in the answer");
    let damaged = found[&ids[0]].as_ref().unwrap_err();
    assert!(!damaged.retryable() && damaged.to_string().contains("sensor_tables"), "{damaged}");
    let asked = |request: &Value| request["RequestItems"]["t"]["Keys"].as_array().map_or(0, Vec::len);
    assert_eq!(server.requests().iter().map(asked).collect::<Vec<_>>(), [3, 1]);
}

/// A whole registry entry of a status and revision.
fn entry(status: &str, revision: u64) -> Value {
    let key = SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key();
    let tables = r#"[{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}]"#;
    let mut entry = json!({
        "device": { "S": "dev-1" }, "status": { "S": status }, "public_key": { "B": base64(key.as_bytes()) },
        "certificate": { "S": "PEM" }, "certificate_id": { "S": "ab12" }, "metering_point": { "S": "mp-1" },
        "zone": { "S": "Etc/UTC" }, "shard": { "S": "north" }, "sensor_tables": { "S": tables },
    });
    if revision > 0 {
        entry["status_revision"] = json!({ "N": revision.to_string() });
    }
    json!({ "Item": entry })
}

#[tokio::test]
async fn status_changes_need_the_device() {
    let server = Server::start(vec![done(json!({}))]);
    let error =
        Devices::new(client(&server), "t").suspend(&thing(), UnixMillis(1), None, Cause::Operator).await.unwrap_err();
    assert!(matches!(error, CloudError::NotFound(_)), "{error}");
}

#[tokio::test]
async fn an_old_certificate_is_forgotten_and_the_newest_is_not() {
    let item = entry("active", 0)["Item"].clone();
    let server = Server::start(vec![done(json!({})), refused(item), refused(json!({}))]);
    let devices = Devices::new(client(&server), "t");
    devices.forget_certificate(&thing(), "cd34").await.unwrap();
    let newest = devices.forget_certificate(&thing(), "ab12").await.unwrap_err();
    assert!(matches!(newest, CloudError::Refused(_)), "{newest}");
    let nobody = devices.forget_certificate(&thing(), "cd34").await.unwrap_err();
    assert!(matches!(nobody, CloudError::NotFound(_)), "{nobody}");
    let request = &server.requests()[0];
    assert_eq!(request["UpdateExpression"], "DELETE certificate_ids :gone, admitting :gone");
    assert_eq!(request["ExpressionAttributeValues"][":gone"], json!({ "SS": ["cd34"] }));
}

#[tokio::test]
async fn a_status_is_written_over_the_one_that_was_read() {
    let server = Server::start(vec![
        done(entry("active", 0)),
        refused(json!({})),
        done(entry("active", 2)),
        done(json!({})),
        done(entry("suspended", 3)),
        done(json!({})),
        done(entry("suspended", 3)),
        done(json!({})),
        refused(json!({})),
    ]);
    let devices = Devices::new(client(&server), "t");
    let good = Some(SequenceNumber(7));
    let change = devices.suspend(&thing(), UnixMillis(1), good, Cause::Equivocation).await.unwrap();
    assert!(change.changed && change.device.status == Status::Suspended && change.device.status_revision == 3);
    assert!(devices.activate(&thing(), None).await.unwrap().changed);
    assert!(devices.retire(&thing(), UnixMillis(2), None, Cause::Operator).await.unwrap().changed);
    devices.note_applied(&thing(), 3).await.unwrap();

    let requests = server.requests();
    let text = |at: usize, name: &str| requests[at][name].as_str().unwrap_or_default().to_owned();
    let value = |at: usize, name: &str| requests[at]["ExpressionAttributeValues"][name].clone();
    for (at, revision) in [(1, "0"), (3, "2"), (5, "3"), (7, "3")] {
        assert_eq!(value(at, ":seen"), json!({ "N": revision }));
        assert!(text(at, "ConditionExpression").contains("#status = :was AND"));
        assert!(text(at, "UpdateExpression").contains("REMOVE live_shard"));
    }
    assert!(text(1, "ConditionExpression").contains("attribute_not_exists(status_revision)"));
    assert_eq!((value(3, ":cause"), value(3, ":good")), (json!({ "S": "equivocation" }), json!({ "N": "7" })));
    assert_eq!((value(3, ":revision"), value(3, ":at")), (json!({ "N": "3" }), json!({ "N": "1" })));
    assert!(text(5, "UpdateExpression").ends_with("suspended_at, last_good, cause, revoked_certificates, gap_since"));
    assert_eq!(value(7, ":status"), json!({ "S": "retired" }));
    assert!(text(8, "ConditionExpression").contains("status_applied < :revision"), "it never goes back");
}

#[tokio::test]
async fn a_status_that_others_keep_changing_comes_again() {
    let answers = (0..4).flat_map(|_| [done(entry("active", 1)), refused(json!({}))]).collect();
    let server = Server::start(answers);
    let error = Devices::new(client(&server), "t").suspend(&thing(), UnixMillis(1), None, Cause::Operator).await;
    assert!(error.is_err_and(|error| error.retryable()));
}

#[tokio::test]
async fn an_ask_takes_its_turn_on_a_condition() {
    let last = |at: i64, ask: &str| json!({ "seal_asked": { "N": at.to_string() }, "seal_ask": { "S": ask } });
    let server = Server::start(vec![
        done(json!({})),
        refused(json!({ "seal_asked": { "N": "100" } })),
        refused(last(100, "other")),
        refused(json!({ "seal_asked": { "N": "90" } })),
        refused(json!({})),
        done(json!({})),
        refused(last(100, "other")),
    ]);
    let devices = Devices::new(client(&server), "t");
    let ask = Ask { id: "a", asked: UnixMillis(100), now: UnixMillis(101), interval: 20 };
    let thing = thing();
    assert_eq!(devices.take_turn(&thing, &ask).await.unwrap(), Turn::Now);
    assert_eq!(devices.take_turn(&thing, &ask).await.unwrap(), Turn::Covered);
    assert_eq!(devices.take_turn(&thing, &ask).await.unwrap(), Turn::After(UnixMillis(5_100)), "not sent yet");
    assert_eq!(devices.take_turn(&thing, &ask).await.unwrap(), Turn::After(UnixMillis(110)));
    let unknown = devices.take_turn(&thing, &ask).await;
    assert!(matches!(unknown, Err(CloudError::NotFound(_))), "{unknown:?}");
    // Whoever sent it says so; if another ask has the turn by now, nothing is to be said.
    devices.end_turn(&thing, "a").await.unwrap();
    devices.end_turn(&thing, "a").await.unwrap();
    let requests = server.requests();
    let values = &requests[0]["ExpressionAttributeValues"];
    assert_eq!((&values[":decided"], &values[":free"]), (&json!({ "N": "101" }), &json!({ "N": "81" })));
    assert_eq!(values[":stale"], json!({ "N": "-4899" }));
    let condition = requests[0]["ConditionExpression"].as_str().unwrap();
    assert!(condition.contains("seal_asked <= :free") && condition.contains("attribute_exists(device)"));
    assert!(condition.contains("(attribute_exists(seal_ask) AND seal_asked <= :stale)"));
    assert_eq!(requests[5]["ConditionExpression"], "seal_ask = :id");
}

#[tokio::test]
async fn the_highest_number_before_an_instant_is_looked_up() {
    let item = |number: u64, received: i64| {
        let key = base64(&ReadingKey::first_of(SequenceNumber(number)).0);
        json!({ "key": { "B": key }, "received": { "N": received.to_string() } })
    };
    let more = json!({ "device": { "S": "dev-1" }, "key": { "B": base64(&[0; 16]) } });
    let server = Server::start(vec![
        done(json!({ "Items": [item(9, 30), item(8, 20)], "LastEvaluatedKey": more })),
        done(json!({ "Items": [item(7, 20), item(6, 19), item(5, 10)] })),
        done(json!({ "Items": [item(9, 30)] })),
    ]);
    let readings = Readings::new(client(&server), "t");
    assert_eq!(readings.highest_before(&thing(), UnixMillis(20)).await.unwrap(), Some(SequenceNumber(6)));
    assert_eq!(readings.highest_before(&thing(), UnixMillis(20)).await.unwrap(), None);
    let requests = server.requests();
    assert_eq!((&requests[0]["ScanIndexForward"], &requests[1]["ExclusiveStartKey"]), (&json!(false), &more));
}

#[tokio::test]
async fn a_range_of_numbers_is_noted_at_once_or_end_by_end() {
    let server = Server::start(vec![done(json!({})), refused(json!({})), refused(json!({})), done(json!({}))]);
    let days = DynamoDays::new(client(&server), "t");
    let day = "2026-11-20".parse().unwrap();
    days.note_seen(&thing(), day, 0, 63).await.unwrap();
    days.note_seen(&thing(), day, 64, 127).await.unwrap();
    let requests = server.requests();
    let set: Vec<&str> = requests.iter().filter_map(|request| request["UpdateExpression"].as_str()).collect();
    assert_eq!(set.len(), 4);
    assert!(set[0].contains(":low") && set[0].contains(":high") && set[0] == set[1]);
    assert_eq!(
        (&requests[2]["ExpressionAttributeNames"]["#n"], &requests[3]["ExpressionAttributeNames"]["#n"]),
        (&json!("low"), &json!("high"))
    );
}

#[tokio::test]
async fn what_is_parked_stays_as_it_is() {
    let server = Server::start(vec![refused(json!({})), throttled()]);
    let row = Parked {
        reason: "late".into(),
        id: "1".into(),
        state: ParkedState::Open,
        device: Some(thing()),
        object: None,
        detail: String::new(),
        received: UnixMillis(1),
    };
    let parked = ParkedTable::new(client(&server), "t");
    parked.park(&row).await.unwrap();
    assert!(parked.park(&row).await.is_err_and(|error| error.retryable()));
    let request = &server.requests()[0];
    assert_eq!(request["Key"], json!({ "reason": { "S": "late" }, "id": { "S": "1" } }));
    assert_eq!(request["ConditionExpression"], "attribute_not_exists(id) OR #state IN (:replaying, :replayed)");
    let mut named: Vec<&str> =
        request["ExpressionAttributeNames"].as_object().unwrap().values().filter_map(Value::as_str).collect();
    named.sort_unstable();
    assert_eq!(named, ["device", "received", "state", "state"], "what an operator decided is not overwritten");
}

#[tokio::test]
async fn a_replay_is_noted_before_and_after_and_a_drop_says_why() {
    let done: fn() -> Answer = || Box::new(|_| (200, json!({})));
    let server = Server::start(vec![done(), refused(json!({})), done(), refused(json!({}))]);
    let parked = ParkedTable::new(client(&server), "t");
    let decision = Decision { by: "arn".into(), at: UnixMillis(7), why: "noise".into() };
    assert!(parked.begin_replay("late", "1", &decision).await.unwrap());
    assert!(!parked.end_replay("late", "1").await.unwrap(), "it was refused again meanwhile");
    assert!(parked.drop_row("late", "1", &decision).await.unwrap());
    assert!(!parked.drop_row("late", "1", &decision).await.unwrap(), "it was dropped before");
    let requests = server.requests();
    let values = |at: usize| requests[at]["ExpressionAttributeValues"].clone();
    assert_eq!((&values(0)[":state"]["S"], &values(0)[":by"]["S"]), (&json!("replaying"), &json!("arn")));
    assert_eq!(requests[1]["ConditionExpression"], "#state = :replaying");
    assert_eq!((&values(2)[":state"]["S"], &values(2)[":why"]["S"]), (&json!("dropped"), &json!("noise")));
    assert_eq!(requests[2]["ConditionExpression"], "#state IN (:open, :replaying)");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
