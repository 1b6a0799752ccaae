use aws_sdk_managedblockchain::config::retry::RetryConfig;
use aws_sdk_managedblockchain::config::{BehaviorVersion, Credentials, Region};
use serde_json::{Value, json};

use super::*;
use crate::authority::stub::{Answer, Stub};

const NETWORK: &str = "n-MWY63ZJZU5HGNCMBQER7IN6OIU";
const MEMBER: &str = "m-K46ICRRXJRCGRNNS4ES4XUUS5A";
const NODE: &str = "nd-6EAJ5VA43JGGNPXOUZP7Y47E4Y";

/// The answers as the API's reference shows them.
fn network(change: Value) -> Value {
    let mut network = json!({
        "Id": NETWORK, "Name": "MyTestNetwork", "Framework": "HYPERLEDGER_FABRIC", "FrameworkVersion": "2.2",
        "FrameworkAttributes": { "Fabric": {
            "Edition": "STANDARD",
            "OrderingServiceEndpoint": "orderer.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30001",
        } },
        "VpcEndpointServiceName": "com.amazonaws.us-east-1.managedblockchain.n-mwy63",
        "VotingPolicy": { "ApprovalThresholdPolicy": {
            "ThresholdPercentage": 50, "ProposalDurationInHours": 24, "ThresholdComparator": "GREATER_THAN",
        } },
        "Status": "AVAILABLE", "CreationDate": "2019-04-08T23:40:20.628Z",
    });
    merge(&mut network, change);
    json!({ "Network": network })
}

fn members() -> Value {
    json!({ "Members": [
        { "Id": MEMBER, "Name": "org1", "Status": "AVAILABLE", "CreationDate": "2019-04-08T23:40:20.628Z", "IsOwned": true },
    ], "NextToken": "more" })
}

fn more_members() -> Value {
    json!({ "Members": [{ "Id": "m-OTHER", "Name": "org2", "Status": "AVAILABLE", "IsOwned": false }] })
}

fn member(change: Value) -> Value {
    let mut member = json!({
        "NetworkId": NETWORK, "Id": MEMBER, "Name": "org1", "Status": "AVAILABLE",
        "FrameworkAttributes": { "Fabric": {
            "AdminUsername": "admin", "CaEndpoint": "ca.m-k46.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30002",
        } },
    });
    merge(&mut member, change);
    json!({ "Member": member })
}

fn nodes(statuses: &[&str]) -> Value {
    let nodes: Vec<_> =
        statuses.iter().map(|status| json!({ "Id": NODE, "Status": status, "InstanceType": "bc.t3.small" })).collect();
    json!({ "Nodes": nodes })
}

fn node(status: &str, fabric: Value) -> Value {
    json!({ "Node": {
        "NetworkId": NETWORK, "MemberId": MEMBER, "Id": NODE, "Status": status,
        "FrameworkAttributes": { "Fabric": fabric },
    } })
}

fn endpoints() -> Value {
    json!({
        "PeerEndpoint": "nd-6eaj.m-k46.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30003",
        "PeerEventEndpoint": "nd-6eaj.m-k46.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30004",
    })
}

fn merge(value: &mut Value, change: Value) {
    if let (Some(value), Value::Object(change)) = (value.as_object_mut(), change) {
        value.extend(change);
    }
}

async fn ask(answers: Vec<(u16, Value)>, members: &[&str]) -> (Result<Discovered, CliError>, Vec<String>) {
    let stub = Stub::serve(answers.into_iter().map(|(status, body)| Answer::json(status, body.to_string())).collect());
    let stub = stub.await;
    let config = aws_sdk_managedblockchain::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(stub.url())
        .build();
    let members: Vec<String> = members.iter().map(|id| (*id).to_owned()).collect();
    let found = discover(&Client::from_conf(config), NETWORK, &members, "CHAIN").await;
    (found, stub.asked().into_iter().map(|asked| asked.line).collect())
}

fn ok(values: Vec<Value>) -> Vec<(u16, Value)> {
    values.into_iter().map(|value| (200, value)).collect()
}

#[tokio::test]
async fn a_network_is_found_with_everything_that_a_profile_needs() {
    let answers = vec![
        network(json!({})),
        members(),
        more_members(),
        member(json!({})),
        nodes(&["AVAILABLE", "DELETED", "CREATING"]),
        node("AVAILABLE", endpoints()),
        node("CREATING", json!({})),
    ];
    let (found, asked) = ask(ok(answers), &[]).await;
    let found = found.unwrap();
    let part = &found.part;
    assert_eq!(part.network, NETWORK);
    assert_eq!(part.orderers[0].address, "https://orderer.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30001");
    assert_eq!((part.peers.len(), part.peers[0].msp.as_str()), (1, MEMBER));
    assert_eq!(part.peers[0].address, "https://nd-6eaj.m-k46.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30003");
    assert_eq!(part.peers[0].tls_ca_pem, "CHAIN");
    assert_eq!(part.authorities[0].address, "https://ca.m-k46.n-mwy63.managedblockchain.us-east-1.amazonaws.com:30002");
    assert_eq!(found.nodes[0].event_address.as_deref().unwrap_or_default().rsplit(':').next(), Some("30004"));
    assert_eq!((found.nodes[1].status.as_str(), &found.nodes[1].address), ("CREATING", &None));
    assert_eq!(found.members.iter().map(|member| member.owned).collect::<Vec<_>>(), [true, false]);
    assert_eq!(found.fabric, "2.2");
    let lines: Vec<_> = asked.iter().map(|line| line.trim_end_matches(" HTTP/1.1")).collect();
    let path = format!("GET /networks/{NETWORK}");
    assert_eq!(lines[0], path);
    assert_eq!(lines[2], format!("{path}/members?nextToken=more"));
    assert_eq!(lines[4], format!("{path}/nodes?memberId={MEMBER}"));
    assert_eq!(lines[5], format!("{path}/nodes/{NODE}?memberId={MEMBER}"));
}

/// What went wrong, and the exit code by which a script knows whether to try again.
async fn fails(answers: Vec<(u16, Value)>, members: &[&str]) -> (u8, String) {
    let (found, _) = ask(answers, members).await;
    let error = found.unwrap_err();
    (error.exit_code(), error.to_string())
}

fn refusal(status: u16, code: &str) -> Vec<(u16, Value)> {
    vec![(status, json!({ "__type": code, "Message": "said AWS" }))]
}

#[tokio::test]
async fn a_network_that_cannot_be_used_is_told_as_what_it_is() {
    for (change, code, expected) in [
        (json!({ "Status": "CREATING" }), 75, "being made"),
        (json!({ "Status": "CREATE_FAILED" }), 1, "CREATE_FAILED"),
        (json!({ "Status": "DELETED" }), 1, "DELETED"),
        (json!({ "Framework": "ETHEREUM" }), 1, "its framework is ETHEREUM"),
        (json!({ "VpcEndpointServiceName": null }), 1, "no VPC endpoint service"),
        (json!({ "FrameworkAttributes": null }), 1, "the ordering service"),
        (json!({ "FrameworkAttributes": { "Fabric": { "OrderingServiceEndpoint": "somewhere" } } }), 1, "host:port"),
    ] {
        let (exit, text) = fails(ok(vec![network(change)]), &[]).await;
        assert_eq!(exit, code, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    for (status, code, exit, expected) in [
        (404, "ResourceNotFoundException", 3, "there is no network n-MWY63"),
        (403, "AccessDeniedException", 1, "managedblockchain:GetNetwork"),
        (400, "InvalidRequestException", 1, "said AWS"),
        (429, "ThrottlingException", 75, "Throttling"),
        (500, "InternalServiceErrorException", 75, "InternalServiceError"),
    ] {
        let (found, text) = fails(refusal(status, code), &[]).await;
        assert_eq!(found, exit, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test]
async fn a_member_without_a_peer_is_told_as_what_it_is() {
    let start = || ok(vec![network(json!({})), members(), more_members()]);
    let with = |rest: Vec<(u16, Value)>| start().into_iter().chain(rest).collect::<Vec<_>>();
    for (rest, members, exit, expected) in [
        (ok(vec![member(json!({})), nodes(&[])]), &[][..], 1, "has no peer node"),
        (ok(vec![member(json!({})), nodes(&["DELETING"])]), &[], 1, "has no peer node"),
        (ok(vec![member(json!({})), nodes(&["FAILED"]), node("FAILED", json!({}))]), &[], 1, "has no peer node"),
        (ok(vec![member(json!({})), nodes(&["CREATING"]), node("CREATING", json!({}))]), &[], 75, "being made"),
        (ok(vec![member(json!({})), nodes(&["AVAILABLE"]), node("AVAILABLE", json!({}))]), &[], 1, "host:port"),
        (ok(vec![member(json!({ "Status": "CREATING" }))]), &[], 75, "being made"),
        (ok(vec![member(json!({ "Status": "INACCESSIBLE_ENCRYPTION_KEY" }))]), &[], 1, "INACCESSIBLE"),
        (refusal(404, "ResourceNotFoundException"), &["m-NONE"], 3, "has no member m-NONE"),
        (refusal(403, "AccessDeniedException"), &[MEMBER], 1, "of the caller's own account"),
        (Vec::new(), &["m-OTHER"], 1, "belongs to another account"),
    ] {
        let (found, text) = fails(with(rest), members).await;
        assert_eq!(found, exit, "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let none = ok(vec![network(json!({})), more_members()]);
    assert!(fails(none, &[]).await.1.contains("owns no member"));
}

#[tokio::test]
async fn a_node_that_is_unhealthy_now_stays_in_the_profile() {
    let rest = vec![member(json!({})), nodes(&["UNHEALTHY"]), node("UNHEALTHY", endpoints())];
    let answers: Vec<_> = [network(json!({})), members(), more_members()].into_iter().chain(rest).collect();
    assert_eq!(ask(ok(answers), &[]).await.0.unwrap().part.peers.len(), 1);
}
