//! Finds a Fabric network on Amazon Managed Blockchain: the ordering service from the network, the CA from each member, the peers from
//! its nodes.
//!
//! An account sees addresses of its own members' nodes alone; of the others it only knows that they are there. What is found becomes a
//! [`NetworkPart`], and that is the last place where the service is known. A member's MSP id is its member id.

use aws_sdk_managedblockchain::Client;
use aws_sdk_managedblockchain::types::{
    Framework, Member, MemberStatus, MemberSummary, Network, NetworkStatus, Node, NodeStatus,
};
use serde::Serialize;
use vitro_ledger::NodeEndpoint;

use crate::error::CliError;
use crate::network::{AuthorityEndpoint, NetworkPart};

/// What was found.
#[derive(Debug, Serialize)]
pub struct Discovered {
    /// The network's name.
    pub name: String,
    /// Fabric's version.
    pub fabric: String,
    /// The service that an interface endpoint in the client's VPC must be for, or nothing of this is reached.
    pub vpc_endpoint_service: String,
    /// Every member of the network.
    pub members: Vec<FoundMember>,
    /// The nodes of the members that were asked for.
    pub nodes: Vec<FoundNode>,
    /// What goes into a connection profile.
    pub part: NetworkPart,
}

/// A member of the network.
#[derive(Debug, Serialize)]
pub struct FoundMember {
    /// Its id, which is its MSP id, too.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the service says of it.
    pub status: String,
    /// Whether it belongs to the account that asked.
    pub owned: bool,
}

/// A node, whether it goes into the profile or not.
#[derive(Debug, Serialize)]
pub struct FoundNode {
    /// Its id.
    pub id: String,
    /// Its member.
    pub member: String,
    /// What the service says of it.
    pub status: String,
    /// Its address; none while it is being made.
    pub address: Option<String>,
    /// The address of its former event service. Since Fabric 1.3 events come from the peer's own address.
    pub event_address: Option<String>,
}

/// Asks for a network and some of its members; without names, for all that the account owns.
///
/// # Errors
/// [`CliError::NotFound`] for ids that the service does not know; [`CliError::NotYet`] for what is being made; [`CliError::Refused`] for
/// what will not be there, belongs to another account or is no Fabric network; [`CliError::Aws`].
pub async fn discover(client: &Client, id: &str, asked: &[String], tls_ca: &str) -> Result<Discovered, CliError> {
    let found = client.get_network().network_id(id).send().await;
    let found = found.map_err(|e| {
        let missing = || CliError::NotFound(format!("there is no network {id} in this region (an id begins with n-)"));
        explain(CliError::aws("GetNetwork", &e), missing, "managedblockchain:GetNetwork")
    })?;
    let network = found.network.ok_or_else(|| CliError::malformed("GetNetwork", "it holds no network"))?;
    check_network(id, &network)?;
    let fabric = network.framework_attributes().and_then(|attributes| attributes.fabric());
    let orderer = address("the ordering service", fabric.and_then(|fabric| fabric.ordering_service_endpoint()))?;
    let service = network.vpc_endpoint_service_name().unwrap_or_default().to_owned();
    if service.is_empty() {
        return Err(CliError::Refused(format!(
            "{id} names no VPC endpoint service to this account: without one nothing of the network can be reached"
        )));
    }

    let members = list_members(client, id).await?;
    let mut found = Discovered {
        name: network.name().unwrap_or_default().to_owned(),
        fabric: network.framework_version().unwrap_or_default().to_owned(),
        vpc_endpoint_service: service,
        members,
        nodes: Vec::new(),
        part: NetworkPart {
            network: id.to_owned(),
            orderers: vec![NodeEndpoint {
                name: "orderer".into(),
                // The service does not tell the orderers' MSP; the client shows this and does not use it.
                msp: id.to_owned(),
                address: orderer,
                tls_ca_pem: tls_ca.to_owned(),
                server_name: None,
            }],
            ..NetworkPart::default()
        },
    };
    let owned = || found.members.iter().filter(|member| member.owned).map(|member| member.id.clone()).collect();
    let wanted: Vec<String> = if asked.is_empty() { owned() } else { asked.to_vec() };
    if wanted.is_empty() {
        return Err(CliError::Refused(format!("this account owns no member of {id}")));
    }
    for member in wanted {
        add_member(client, id, &member, tls_ca, &mut found).await?;
    }
    Ok(found)
}

/// Makes of what AWS said what a person can act on.
fn explain(error: CliError, missing: impl FnOnce() -> CliError, action: &str) -> CliError {
    match error.aws_code() {
        Some("ResourceNotFoundException") => missing(),
        Some("AccessDeniedException") => CliError::Refused(format!(
            "{error}: it takes the right to {action}, and a member of the caller's own account"
        )),
        _ => error,
    }
}

fn check_network(id: &str, network: &Network) -> Result<(), CliError> {
    match network.framework() {
        Some(Framework::HyperledgerFabric) => {}
        other => {
            let framework = other.map_or("none", Framework::as_str);
            return Err(CliError::Refused(format!(
                "{id} is not a Hyperledger Fabric network, its framework is {framework}"
            )));
        }
    }
    match network.status() {
        Some(NetworkStatus::Available) => Ok(()),
        Some(NetworkStatus::Creating) => Err(CliError::NotYet(format!("{id} is being made; try again later"))),
        other => {
            let status = other.map_or("unknown", NetworkStatus::as_str);
            Err(CliError::Refused(format!("{id} is not available, its status is {status}")))
        }
    }
}

async fn list_members(client: &Client, network: &str) -> Result<Vec<FoundMember>, CliError> {
    let mut pages = client.list_members().network_id(network).into_paginator().send();
    let mut members = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| CliError::aws("ListMembers", &e))?;
        members.extend(page.members().iter().map(member_of));
    }
    Ok(members)
}

fn member_of(summary: &MemberSummary) -> FoundMember {
    FoundMember {
        id: summary.id().unwrap_or_default().to_owned(),
        name: summary.name().unwrap_or_default().to_owned(),
        status: summary.status().map_or("", MemberStatus::as_str).to_owned(),
        owned: summary.is_owned().unwrap_or_default(),
    }
}

async fn add_member(
    client: &Client,
    network: &str,
    id: &str,
    tls_ca: &str,
    found: &mut Discovered,
) -> Result<(), CliError> {
    if found.members.iter().any(|member| member.id == id && !member.owned) {
        return Err(CliError::Refused(format!(
            "{id} belongs to another account: its owner runs this command there and hands over the file"
        )));
    }
    let answer = client.get_member().network_id(network).member_id(id).send().await;
    let answer = answer.map_err(|e| {
        let missing = || CliError::NotFound(format!("{network} has no member {id} (an id begins with m-)"));
        explain(CliError::aws("GetMember", &e), missing, "managedblockchain:GetMember")
    })?;
    let member = answer.member.ok_or_else(|| CliError::malformed("GetMember", "it holds no member"))?;
    check_member(id, &member)?;
    let fabric = member.framework_attributes().and_then(|attributes| attributes.fabric());
    if let Some(endpoint) = fabric.and_then(|fabric| fabric.ca_endpoint()) {
        found.part.authorities.push(AuthorityEndpoint {
            msp: id.to_owned(),
            address: address("the CA", Some(endpoint))?,
            tls_ca_pem: tls_ca.to_owned(),
        });
    }

    let nodes = nodes(client, network, id).await?;
    let name = member.name().unwrap_or(id);
    let (mut usable, mut coming) = (0, 0);
    for node in nodes {
        let (is_usable, node) = node_of(id, &node)?;
        if let (true, Some(address)) = (is_usable, &node.address) {
            usable += 1;
            found.part.peers.push(NodeEndpoint {
                name: format!("{name}/{}", node.id),
                msp: id.to_owned(),
                address: address.clone(),
                tls_ca_pem: tls_ca.to_owned(),
                server_name: None,
            });
        }
        coming += usize::from(node.status == NodeStatus::Creating.as_str());
        found.nodes.push(node);
    }
    match (usable, coming) {
        (0, 0) => Err(CliError::Refused(format!("{id} has no peer node: make one first"))),
        (0, _) => Err(CliError::NotYet(format!("the peer node of {id} is being made; try again later"))),
        _ => Ok(()),
    }
}

fn check_member(id: &str, member: &Member) -> Result<(), CliError> {
    match member.status() {
        Some(MemberStatus::Available | MemberStatus::Updating) => Ok(()),
        Some(MemberStatus::Creating) => Err(CliError::NotYet(format!("{id} is being made; try again later"))),
        other => {
            let status = other.map_or("unknown", MemberStatus::as_str);
            Err(CliError::Refused(format!("{id} is not available, its status is {status}")))
        }
    }
}

async fn nodes(client: &Client, network: &str, member: &str) -> Result<Vec<Node>, CliError> {
    let mut pages = client.list_nodes().network_id(network).member_id(member).into_paginator().send();
    let mut nodes = Vec::new();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| {
            let missing = || CliError::NotFound(format!("{network} has no member {member}"));
            explain(CliError::aws("ListNodes", &e), missing, "managedblockchain:ListNodes")
        })?;
        for summary in page.nodes() {
            // One that is gone is listed for a while.
            if matches!(summary.status(), Some(NodeStatus::Deleted | NodeStatus::Deleting)) {
                continue;
            }
            let id = summary.id().unwrap_or_default();
            let answer = client.get_node().network_id(network).member_id(member).node_id(id).send().await;
            let answer = answer.map_err(|e| {
                let missing = || CliError::NotFound(format!("{member} has no node {id}"));
                explain(CliError::aws("GetNode", &e), missing, "managedblockchain:GetNode")
            })?;
            nodes.push(answer.node.ok_or_else(|| CliError::malformed("GetNode", "it holds no node"))?);
        }
    }
    Ok(nodes)
}

/// A node, and whether it goes into the profile. One that is unhealthy now does: the client asks another peer while it is away.
fn node_of(member: &str, node: &Node) -> Result<(bool, FoundNode), CliError> {
    let id = node.id().unwrap_or_default();
    let usable = matches!(node.status(), Some(NodeStatus::Available | NodeStatus::Unhealthy | NodeStatus::Updating));
    let fabric = node.framework_attributes().and_then(|attributes| attributes.fabric());
    let endpoint = fabric.and_then(|fabric| fabric.peer_endpoint());
    let event = fabric.and_then(|fabric| fabric.peer_event_endpoint()).filter(|text| !text.is_empty());
    let what = format!("node {id}");
    let found = FoundNode {
        id: id.to_owned(),
        member: member.to_owned(),
        status: node.status().map_or("", NodeStatus::as_str).to_owned(),
        address: if usable { Some(address(&what, endpoint)?) } else { None },
        event_address: event.map(|event| address(&what, Some(event))).transpose()?,
    };
    Ok((usable, found))
}

/// An endpoint as the service writes it, `host:port`, as an address.
fn address(what: &str, endpoint: Option<&str>) -> Result<String, CliError> {
    let endpoint = endpoint.unwrap_or_default();
    let bare = endpoint.split_once("://").map_or(endpoint, |(_, bare)| bare);
    match bare.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(format!("https://{bare}")),
        _ => Err(CliError::malformed(what, format!("its endpoint is `{endpoint}`, not host:port"))),
    }
}

#[cfg(test)]
mod tests;
