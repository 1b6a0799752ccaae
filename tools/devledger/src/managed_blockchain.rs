//! The calls of Amazon Managed Blockchain by which a client finds a Fabric network: GetNetwork, ListMembers, GetMember, ListNodes, GetNode,
//! as the service's model of 2018-09-24 has them, over plain HTTP.
//!
//! A member's id is its MSP id, as there. An account is told by the access key that signed the request: `operator`, `rc`, `dv` and `sp`
//! each own the member of that name and nothing else, any other key owns all four. Signatures are not verified. Left out are ARNs,
//! dates, tags and CA endpoints, since there is no CA here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::error::DevledgerError;
use crate::material::Material;
use crate::orderer::stopped;
use crate::organizations::PARTIES;
use crate::profiles::Addresses;

/// The most that a page holds: MemberListMaxResults and NodeListMaxResults of the model.
const PAGE: usize = 20;

/// The longest id: ResourceIdString of the model.
const ID_LENGTH: usize = 32;

/// What the calls answer from.
pub(crate) struct Directory {
    network: String,
    orderer: SocketAddr,
    members: Vec<Member>,
}

struct Member {
    /// The MSP id.
    id: &'static str,
    name: &'static str,
    node: String,
    peer: SocketAddr,
}

impl Directory {
    /// A directory of the ledger's organizations. Ids are made from certificates, so they stay over restarts.
    pub(crate) fn new(addresses: &Addresses, orderer: &Material, parties: &[Material]) -> Self {
        let members = PARTIES.iter().zip(parties).zip(addresses.peers).map(|((party, material), peer)| Member {
            id: party.msp,
            name: party.name,
            node: identifier("nd-", &material.node.certificate),
            peer,
        });
        Self { network: identifier("n-", &orderer.ca), orderer: addresses.orderer, members: members.collect() }
    }

    /// The network's id.
    pub(crate) fn network(&self) -> &str {
        &self.network
    }

    /// Answers until the ledger stops.
    ///
    /// # Errors
    /// [`DevledgerError::Server`].
    pub(crate) async fn serve(
        self,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), DevledgerError> {
        let routes = Router::new()
            .route("/networks/{network}", get(get_network))
            .route("/networks/{network}/members", get(list_members))
            .route("/networks/{network}/members/{member}", get(get_member))
            .route("/networks/{network}/nodes", get(list_nodes))
            .route("/networks/{network}/nodes/{node}", get(get_node))
            .fallback(|| async { Fault::new(404, "UnknownOperationException", "the ledger does not serve this call") })
            .with_state(Arc::new(self));
        let end = async move { stopped(&mut stop).await };
        axum::serve(listener, routes)
            .with_graceful_shutdown(end)
            .await
            .map_err(|error| DevledgerError::Server(error.to_string()))
    }

    fn check(&self, caller: &Caller, network: &str) -> Result<(), Fault> {
        known_length("NetworkId", network)?;
        if network != self.network {
            return Err(not_found("Network", network));
        }
        tracing::debug!(account = %caller.account, "a discovery call");
        Ok(())
    }

    /// A member that the caller's account owns.
    fn owned(&self, caller: &Caller, member: &str) -> Result<&Member, Fault> {
        known_length("MemberId", member)?;
        let found = self.members.iter().find(|one| one.id == member).ok_or_else(|| not_found("Member", member))?;
        if caller.owns(found) {
            return Ok(found);
        }
        Err(Fault::new(403, "AccessDeniedException", &format!("Member {member} belongs to another account.")))
    }
}

/// An id as Managed Blockchain's look: 26 letters and digits of base 32 behind a prefix.
fn identifier(prefix: &str, of: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(of);
    let letters = hash.iter().take(26).map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    prefix.chars().chain(letters).collect()
}

/// Whose request it is: the access key and the region that it was signed for.
struct Caller {
    account: String,
    region: String,
}

impl Caller {
    /// Reads `Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
    fn of(headers: &HeaderMap) -> Result<Self, Fault> {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scope = text.split_once("Credential=").map_or("", |(_, rest)| rest.split(',').next().unwrap_or_default());
        match scope.split('/').collect::<Vec<_>>()[..] {
            [key, _, region, "managedblockchain", "aws4_request"] => {
                Ok(Self { account: key.to_owned(), region: region.to_owned() })
            }
            _ => Err(Fault::new(403, "MissingAuthenticationTokenException", "The request is not signed.")),
        }
    }

    fn owns(&self, member: &Member) -> bool {
        self.account == member.name || PARTIES.iter().all(|party| party.name != self.account)
    }
}

/// An error as the service tells it.
struct Fault {
    status: u16,
    code: &'static str,
    message: String,
}

impl Fault {
    fn new(status: u16, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            [("x-amzn-errortype", self.code)],
            axum::body::Body::from(json!({ "Message": self.message }).to_string()),
        )
            .into_response()
    }
}

fn invalid(message: &str) -> Fault {
    Fault::new(400, "InvalidRequestException", message)
}

fn not_found(what: &str, id: &str) -> Fault {
    Fault::new(404, "ResourceNotFoundException", &format!("{what} {id} not found."))
}

fn known_length(what: &str, id: &str) -> Result<(), Fault> {
    if (1..=ID_LENGTH).contains(&id.len()) {
        return Ok(());
    }
    Err(invalid(&format!("{what} must have 1 to {ID_LENGTH} characters.")))
}

/// An answer in JSON.
struct Answer(Value);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

type Parameters = Query<HashMap<String, String>>;
type Shared = State<Arc<Directory>>;

/// A page of a list: `maxResults` and `nextToken`, where the token is the number of what came before.
fn page(all: Vec<Value>, name: &str, query: &HashMap<String, String>) -> Result<Answer, Fault> {
    let size = match query.get("maxResults").map(|text| text.parse()) {
        None => PAGE,
        Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
        Some(_) => return Err(invalid(&format!("maxResults must be a number from 1 to {PAGE}."))),
    };
    let start = match query.get("nextToken").map(|text| text.parse()) {
        None => 0,
        Some(Ok(start)) if start < all.len() => start,
        Some(_) => return Err(invalid("nextToken is not one that was given.")),
    };
    let end = all.len().min(start + size);
    let mut answer = json!({ name: all[start..end] });
    if end < all.len() {
        answer["NextToken"] = json!(end.to_string());
    }
    Ok(Answer(answer))
}

/// Whether a list's filter lets `value` through.
fn wanted(query: &HashMap<String, String>, name: &str, value: &str) -> bool {
    query.get(name).is_none_or(|text| text == value)
}

async fn get_network(directory: Shared, Path(id): Path<String>, headers: HeaderMap) -> Result<Answer, Fault> {
    let caller = Caller::of(&headers)?;
    directory.check(&caller, &id)?;
    Ok(Answer(json!({ "Network": {
        "Id": id,
        "Name": "vitro-devledger",
        "Description": "The development ledger",
        "Framework": "HYPERLEDGER_FABRIC",
        "FrameworkVersion": "2.2",
        "FrameworkAttributes": { "Fabric": {
            "OrderingServiceEndpoint": directory.orderer.to_string(),
            "Edition": "STANDARD",
        } },
        "VpcEndpointServiceName": format!("com.amazonaws.{}.managedblockchain.{}", caller.region, id.to_lowercase()),
        "VotingPolicy": { "ApprovalThresholdPolicy": {
            "ThresholdPercentage": 50, "ProposalDurationInHours": 24, "ThresholdComparator": "GREATER_THAN",
        } },
        "Status": "AVAILABLE",
    } })))
}

async fn list_members(
    directory: Shared,
    Path(network): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Fault> {
    let caller = Caller::of(&headers)?;
    directory.check(&caller, &network)?;
    let listed = directory.members.iter().filter_map(|member| {
        let owned = caller.owns(member);
        let passes = wanted(&query, "name", member.name)
            && wanted(&query, "status", "AVAILABLE")
            && wanted(&query, "isOwned", if owned { "true" } else { "false" });
        passes.then(|| json!({ "Id": member.id, "Name": member.name, "Status": "AVAILABLE", "IsOwned": owned }))
    });
    page(listed.collect(), "Members", &query)
}

async fn get_member(
    directory: Shared,
    Path((network, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Answer, Fault> {
    let caller = Caller::of(&headers)?;
    directory.check(&caller, &network)?;
    let member = directory.owned(&caller, &id)?;
    Ok(Answer(json!({ "Member": {
        "NetworkId": network,
        "Id": member.id,
        "Name": member.name,
        "FrameworkAttributes": { "Fabric": { "AdminUsername": "admin" } },
        "Status": "AVAILABLE",
    } })))
}

async fn list_nodes(
    directory: Shared,
    Path(network): Path<String>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Fault> {
    let caller = Caller::of(&headers)?;
    directory.check(&caller, &network)?;
    let member = directory.owned(&caller, member_of(&query)?)?;
    let node = json!({
        "Id": member.node, "Status": "AVAILABLE", "AvailabilityZone": zone(&caller), "InstanceType": "bc.t3.small",
    });
    let listed = if wanted(&query, "status", "AVAILABLE") { vec![node] } else { Vec::new() };
    page(listed, "Nodes", &query)
}

async fn get_node(
    directory: Shared,
    Path((network, id)): Path<(String, String)>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Result<Answer, Fault> {
    let caller = Caller::of(&headers)?;
    directory.check(&caller, &network)?;
    let member = directory.owned(&caller, member_of(&query)?)?;
    known_length("NodeId", &id)?;
    if member.node != id {
        return Err(not_found("Node", &id));
    }
    let address = member.peer.to_string();
    Ok(Answer(json!({ "Node": {
        "NetworkId": network,
        "MemberId": member.id,
        "Id": member.node,
        "InstanceType": "bc.t3.small",
        "AvailabilityZone": zone(&caller),
        "FrameworkAttributes": { "Fabric": { "PeerEndpoint": address, "PeerEventEndpoint": address } },
        "StateDB": "LevelDB",
        "Status": "AVAILABLE",
    } })))
}

/// On a Fabric network the service wants to know whose nodes are meant.
fn member_of(query: &HashMap<String, String>) -> Result<&str, Fault> {
    query.get("memberId").map(String::as_str).ok_or_else(|| invalid("memberId is required for Hyperledger Fabric."))
}

fn zone(caller: &Caller) -> String {
    format!("{}a", caller.region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_the_services_and_fit_its_model() {
        let id = identifier("nd-", "a certificate");
        assert_eq!(id, identifier("nd-", "a certificate"));
        assert_ne!(id, identifier("nd-", "another"));
        assert!(
            id.len() <= ID_LENGTH && id[3..].bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        );
    }

    #[test]
    fn lists_come_in_pages() {
        let all: Vec<Value> = (0..5).map(|number| json!(number)).collect();
        let ask = |pairs: &[(&str, &str)]| {
            let query = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            page(all.clone(), "L", &query).map(|answer| answer.0).map_err(|fault| fault.code)
        };
        assert_eq!(ask(&[]), Ok(json!({ "L": [0, 1, 2, 3, 4] })));
        assert_eq!(ask(&[("maxResults", "2")]), Ok(json!({ "L": [0, 1], "NextToken": "2" })));
        assert_eq!(ask(&[("maxResults", "2"), ("nextToken", "4")]), Ok(json!({ "L": [4] })));
        for (name, value) in [("maxResults", "0"), ("maxResults", "21"), ("maxResults", "x"), ("nextToken", "5")] {
            assert_eq!(ask(&[(name, value)]), Err("InvalidRequestException"), "{name}={value}");
        }
    }
}
