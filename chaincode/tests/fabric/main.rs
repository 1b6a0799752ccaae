//! The chaincode on a real Fabric network, by the project's own client: `make test-fabric FABRIC_BIN=... FABRIC_CONFIG=...`.
//!
//! One test, since there is one network and its ports are fixed: it is brought up, each way to run the chaincode that this release of
//! Fabric has is deployed and tried, and it is taken down. `FABRIC_SEQUENCES` says how many random sequences of calls are compared with the native run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod equality;
mod flow;
mod network;
mod service;
#[path = "../support/mod.rs"]
mod support;

use network::{Network, POLICY};
use service::Service;

#[test]
#[ignore = "needs Fabric's binaries: make test-fabric"]
fn the_chaincode_runs_on_real_fabric_in_every_way() {
    let network = Network::up();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("Fabric {}", network.version());
    if network.takes_services() {
        let service = Service::new(&network);
        let id = network.deploy("vitro-service", &service.packages().join("vitro_0.0.1.ccaas.tar.gz"), POLICY);
        let mut running = service.start(&id);
        runtime.block_on(flow::whole(&network, "vitro-service"));
        println!("as a service, by mutual TLS: {id}");
        runtime.block_on(flow::killed(&network, "vitro-service", |_| {
            running.kill();
            running = service.start(&id);
        }));
        println!("as a service: killed in mid-transaction");
    }
    let packages = Service::new(&network);
    let package = packages.packages().join("vitro_0.0.1.binary.tar.gz");
    let id = network.deploy("vitro-binary", &package, POLICY);
    runtime.block_on(flow::whole(&network, "vitro-binary"));
    println!("by an external builder: {id}");
    runtime.block_on(flow::killed(&network, "vitro-binary", Network::kill_chaincodes));
    println!("by an external builder: killed in mid-transaction");
    if network::has_npm() {
        let id = network.deploy("vitro-node", &packages.packages().join("vitro_0.0.1.node.tar.gz"), POLICY);
        runtime.block_on(flow::whole(&network, "vitro-node"));
        println!("in a Node package: {id}");
    } else {
        println!("NOT RUN: the Node package, since there is no npm");
    }
    let sequences = std::env::var("FABRIC_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(50);
    network.deploy("vitro-equal", &package, POLICY);
    runtime.block_on(equality::compared(&network, "vitro-equal", sequences));
}
