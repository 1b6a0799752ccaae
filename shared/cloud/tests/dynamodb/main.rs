//! The adapters of DynamoDB against a scripted server: what is sent, what is tried again, what becomes of refusals.

// Helpers of tests: a failure there is a failed test.
#![allow(clippy::unwrap_used)]

mod server;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Credentials, Region};
use serde_json::{Value, json};
use vitro_cloud::CloudError;
use vitro_cloud::days::{DayStore, DynamoDays};
use vitro_cloud::devices::{Devices, Mark};
use vitro_cloud::parked::{Parked, ParkedState, ParkedTable};
use vitro_cloud::readings::{Reading, ReadingKey, Readings};
use vitro_proof::{DeviceId, Leaf, SequenceNumber, UnixMillis};

use server::Server;

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

#[tokio::test]
async fn status_changes_need_the_device() {
    let server = Server::start(vec![refused(json!({})), done(json!({})), done(json!({})), done(json!({}))]);
    let devices = Devices::new(client(&server), "t");
    let error = devices.suspend(&thing(), UnixMillis(1), None).await.unwrap_err();
    assert!(matches!(error, CloudError::NotFound(_)), "{error}");
    devices.suspend(&thing(), UnixMillis(1), Some(SequenceNumber(7))).await.unwrap();
    devices.activate(&thing()).await.unwrap();
    devices.retire(&thing()).await.unwrap();
    let update = |at: usize| server.requests()[at]["UpdateExpression"].as_str().unwrap_or_default().to_owned();
    assert!(update(1).contains("last_good") && update(1).contains("REMOVE live_shard"));
    assert!(update(2).contains("REMOVE suspended_at, last_good, gap_since"));
    assert!(update(3).contains("REMOVE live_shard"));
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
    assert_eq!(server.requests()[0]["ConditionExpression"], "attribute_not_exists(id)");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
