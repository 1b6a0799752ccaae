//! The chaincode on a real Fabric network, by the project's own client: `make test-fabric FABRIC_BIN=... FABRIC_CONFIG=...`.
//!
//! One test, since there is one network and its ports are fixed: it is brought up, each way to run the chaincode that this release of
//! Fabric has is deployed and taken through the ledger's tests (`tests/ledger`), and it is taken down. `FABRIC_WAYS` may name the ways (`ccaas
//! binary node`); `FABRIC_SEQUENCES` says how many random sequences of calls are compared with the native run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod deployment;
#[path = "../../../tests/ledger/disagreement.rs"]
mod disagreement;
mod equality;
mod killed;
#[path = "../../../tests/ledger/mod.rs"]
mod ledger;
mod network;
mod service;
#[path = "../support/mod.rs"]
mod support;

use ledger::{faults, flow};
use network::Network;
use service::Service;
use tokio::runtime::Runtime;
use vitro_contract::Role;

/// Who runs another chaincode than the others where organizations disagree.
const CONTRARY: Role = Role::Dv;

#[test]
#[ignore = "needs Fabric's binaries: make test-fabric"]
fn the_chaincode_runs_on_real_fabric_in_every_way() {
    let network = Network::up();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("Fabric {}", network.version());
    let own = Service::new(&network, service::program(), "127.0.0.1:9990");
    let contrary = Service::new(&network, service::contrary(), "127.0.0.1:9991");
    let wanted = std::env::var("FABRIC_WAYS").unwrap_or_else(|_| "ccaas binary node".to_owned());
    for way in wanted.split_whitespace() {
        match way {
            "ccaas" if !network.takes_services() => println!("this release knows no chaincode as a service"),
            "node" if !network::has_npm() => println!("NOT RUN: the Node package, since there is no npm"),
            _ => goes(way, &network, &own, &contrary, &runtime),
        }
    }
    let sequences = std::env::var("FABRIC_SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(50);
    if sequences > 0 {
        for name in ["vitro-equal", "vitro-in-turn"] {
            runtime.block_on(deployment::deploy(&network.stage(name), &own.package("binary"), &[]));
        }
        runtime.block_on(equality::compared(&network, "vitro-equal", "vitro-in-turn", sequences));
    }
}

/// Everything, the chaincode being run in one way.
fn goes(way: &str, network: &Network, own: &Service, contrary: &Service, runtime: &Runtime) {
    let as_service = way == "ccaas";
    let name = format!("vitro-{way}");
    let stage = network.stage(&name);
    let id = runtime.block_on(deployment::deploy(&stage, &own.package(way), &[]));
    println!("{way}: {id}");
    println!("  installed, approved and committed by the client");
    let mut running = as_service.then(|| own.start(&id));
    runtime.block_on(flow::whole(&stage));
    println!("  from roles to a published day: the operator alone is refused, a party's peer is away");
    runtime.block_on(faults::conflicts(&stage));
    println!("  conflicts");
    runtime.block_on(faults::oversized(&stage));
    println!("  an oversized transaction");
    runtime.block_on(faults::orderer_killed(&stage));
    println!("  the orderer killed between acknowledgement and commit");
    runtime.block_on(killed::killed(&stage, |network| match &mut running {
        Some(service) => {
            service.kill();
            *service = own.start(&id);
        }
        None => network.kill_chaincodes(),
    }));
    println!("  the chaincode killed in mid-transaction");

    let name = format!("vitro-{way}-disputed");
    // A service knows one package id; the next one takes its place.
    drop(running);
    let stage = network.stage(&name);
    let id = runtime.block_on(deployment::deploy(&stage, &own.package(way), &[(CONTRARY, &contrary.package(way))]));
    let mut services = Vec::new();
    if as_service {
        services.push(own.start(&id));
        services.push(contrary.start(&network::package_id(&contrary.package(way))));
    }
    runtime.block_on(disagreement::disagreement(&stage, CONTRARY));
    println!("  organizations that disagree");
}
