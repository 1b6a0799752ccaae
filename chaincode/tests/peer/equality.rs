//! What the chaincode answers, reads and writes is what the contract does when it is run natively.

use std::cell::RefCell;
use std::collections::BTreeSet;

use fabric_shim_protos::peer::chaincode_message::Type;
use proptest::test_runner::{Config, TestRunner};
use vitro_chaincode::VitroChaincode;
use vitro_contract::{OuRole, Role};

use crate::fake::{Caller, FakePeer};
use crate::support::native;
use crate::support::sequences::{Call, Step, Who, World, steps};
use crate::ways::Service;

/// Certificates of everybody of every party.
struct Everybody(Vec<(Who, Caller)>);

impl Everybody {
    fn new() -> Self {
        let mut all = Vec::new();
        for role in Role::ALL {
            let msp = vitro_contract::testing::roles().unwrap().msp(role).to_string();
            for ou in [OuRole::Client, OuRole::Admin, OuRole::Peer, OuRole::Orderer] {
                all.push((Who(role, ou), Caller::new(&msp, ou)));
            }
        }
        Self(all)
    }

    fn caller(&self, who: Who) -> &Caller {
        &self.0.iter().find(|(known, _)| *known == who).unwrap().1
    }
}

/// Runs a call both ways, and commits it. Whether it succeeded.
async fn same(peer: &FakePeer, everybody: &Everybody, call: &Call) -> bool {
    let caller = everybody.caller(call.who);
    let context = peer.context(caller);
    let (expected, set) = native::run(&peer.committed(), &context, &call.function, &call.args);
    let got = peer.call(caller, &call.function, &call.args).await;
    assert_eq!(got.set, set, "{call:?}");
    match expected {
        Ok(expected) => {
            assert_eq!((got.response.status, &got.response.payload), (200, &expected.payload), "{call:?}");
            let event = got.event.map(|event| (event.event_name, event.payload));
            assert_eq!(event, expected.event.map(|event| (event.name, event.payload)), "{call:?}");
            peer.commit(&got.set);
            true
        }
        Err(error) => {
            assert_eq!((got.response.status, got.response.message), (500, error.to_string()), "{call:?}");
            assert!(got.event.is_none() && got.set.writes.is_empty() && got.response.payload.is_empty());
            false
        }
    }
}

#[derive(Default)]
struct Tally {
    sequences: u32,
    calls: u32,
    succeeded: u32,
    kinds: BTreeSet<Type>,
}

/// Sequences as many as `PROPTEST_CASES` says. One world each on a ledger of its own; in two of three the parties have agreed before, and in
/// one of these two a closed period is corrected already.
#[test]
fn random_sequences_read_and_write_what_the_native_run_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let everybody = Everybody::new();
    let service = runtime.block_on(Service::start(VitroChaincode::default(), None));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let tally = RefCell::new(Tally::default());
    runner
        .run(&steps(4..16), |sequence: Vec<Step>| {
            runtime.block_on(async {
                let number = tally.borrow().sequences;
                let peer = service.peer().await;
                let mut world = World::new("w");
                let mut first = Vec::new();
                if !number.is_multiple_of(3) {
                    let roles = vitro_contract::testing::roles().unwrap();
                    let call = vitro_contract::calls::configure(&roles);
                    for role in Role::ALL {
                        let (function, args) = (call.function.to_owned(), call.args.clone());
                        first.push(Call { who: Who(role, OuRole::Admin), function, args });
                    }
                    first.extend(world.opening(number as usize));
                }
                for call in &first {
                    assert!(same(&peer, &everybody, call).await, "{call:?}");
                }
                let mut succeeded = 0;
                for step in &sequence {
                    let call = world.call(step);
                    succeeded += u32::from(same(&peer, &everybody, &call).await);
                }
                for call in World::closing(&peer.committed()) {
                    assert!(same(&peer, &everybody, &call).await, "{call:?}");
                }
                let mut tally = tally.borrow_mut();
                tally.sequences += 1;
                tally.calls += u32::try_from(sequence.len()).unwrap();
                tally.succeeded += succeeded;
                tally.kinds.append(&mut peer.kinds());
            });
            Ok(())
        })
        .unwrap();
    let Tally { sequences, calls, succeeded, kinds } = tally.into_inner();
    println!("{sequences} sequences, {calls} calls, {succeeded} of them not refused");
    assert!(succeeded * 5 > calls, "too many calls are refused to show anything: {succeeded} of {calls}");
    // What a 2.2 peer does not know (get-multiple, purge) would be here, too.
    let known = [
        Type::GetState,
        Type::PutState,
        Type::GetStateByRange,
        Type::QueryStateNext,
        Type::QueryStateClose,
        Type::Completed,
    ];
    assert!(kinds.is_subset(&known.into()), "{kinds:?}");
    assert!(kinds.contains(&Type::GetStateByRange) && kinds.contains(&Type::PutState));
}
