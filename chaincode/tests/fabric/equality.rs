//! The read-write sets that real peers endorse are those of the native run, to the byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fabric_shim_protos::common::{ChannelHeader, Header};
use fabric_shim_protos::peer::{ChaincodeAction, Proposal, ProposalResponsePayload};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vitro_contract::{Context, Creator, OuRole, Role};
use vitro_ledger::proto::rwset::{
    KvRead, KvRwSet, KvWrite, QueryReads, RangeQueryInfo, TxReadWriteSet, Version, range_query_info::ReadsInfo,
};
use vitro_ledger::{Ledger, LedgerError, PemSigner, Signer};
use vitro_proof::Hash;

use crate::ledger::{Stage, client, signer};
use crate::network::Network;
use crate::support::native::{self, Committed, ReadWriteSet};
use crate::support::sequences::{Call, Step, Who, World, steps};

/// Worlds that run at once. They share no key but the roles, if they leave out what reads the agreements of all.
const AT_ONCE: usize = 24;

/// What reads every agreement that is active, those of the other worlds, too.
const READS_ALL: [&str; 4] = ["audit:day", "data:history", "agreement:in_force", "registry:exchange"];

/// Worlds that run one after the other, each on what those before it left, with every function. So few have no more than the 50 active agreements
/// of which a peer notes the keys.
const IN_TURN: usize = 15;

/// A peer that lags endorses an older state for a moment.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    who: Who,
    ledger: Ledger,
    signer: PemSigner,
    creator: Creator,
}

#[derive(Default)]
struct Tally {
    calls: AtomicU32,
    written: AtomicU32,
}

/// Compares `count` sequences, many at once, and a few more one after the other; each kind on a chaincode that was not called before.
pub(crate) async fn compared(network: &Network, at_once: &str, in_turn: &str, count: usize) {
    let (members, base) = settled(network, at_once).await;
    let base = Arc::new(base);
    let tally = Arc::new(Tally::default());
    let mut runner = TestRunner::default();
    let strategy = steps(4..16);
    let mut next = || strategy.new_tree(&mut runner).unwrap().current();
    let began = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        let (members, base, tally) = (Arc::clone(&members), Arc::clone(&base), Arc::clone(&tally));
        let (chaincode, sequence) = (at_once.to_owned(), next());
        running.spawn(async move {
            let mut state = Committed::clone(&base);
            world(number, &sequence, &READS_ALL, &members, &chaincode, &mut state, &tally).await;
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    tally.told(count, "many at once", began);

    let (members, mut state) = settled(network, in_turn).await;
    let (tally, began) = (Tally::default(), Instant::now());
    for number in 0..IN_TURN {
        world(number, &next(), &[], &members, in_turn, &mut state, &tally).await;
    }
    tally.told(IN_TURN, "in turn, with nothing left out", began);
}

/// The members, and the state after they agreed on their roles.
async fn settled(network: &Network, chaincode: &str) -> (Arc<Vec<Member>>, Committed) {
    let mut members = Vec::new();
    for role in Role::ALL {
        for ou in [OuRole::Client, OuRole::Admin] {
            let profile = network.stage(chaincode).profile(role, ou);
            let identity = &profile.identity;
            let (_, pem) = x509_parser::pem::parse_x509_pem(identity.certificate_pem.as_bytes()).unwrap();
            let certificate_hash = Hash(Sha256::digest(&pem.contents).into());
            members.push(Member {
                who: Who(role, ou),
                signer: signer(&profile),
                creator: Creator { msp: identity.msp.clone(), role: ou, certificate_hash },
                ledger: client(&network.stage(chaincode), role, ou),
            });
        }
    }
    let mut base = Committed::new();
    let configure = vitro_contract::calls::configure(&vitro_contract::testing::roles().unwrap());
    for role in Role::ALL {
        let (function, args) = (configure.function.to_owned(), configure.args.clone());
        assert!(same(&Call { who: Who(role, OuRole::Admin), function, args }, &members, chaincode, &mut base).await);
    }
    (Arc::new(members), base)
}

impl Tally {
    fn told(&self, count: usize, how: &str, began: Instant) {
        let (calls, written) = (self.calls.load(Ordering::SeqCst), self.written.load(Ordering::SeqCst));
        println!(
            "{count} sequences {how}, {calls} calls, {written} committed, in {:?}: equal to the byte",
            began.elapsed()
        );
        assert!(written * 4 > calls, "too few calls write to show anything");
    }
}
async fn world(
    number: usize,
    sequence: &[Step],
    without: &[&str],
    members: &[Member],
    chaincode: &str,
    state: &mut Committed,
    tally: &Tally,
) {
    let mut world = World::new(&format!("w{number}"));
    let mut planned = world.opening(number);
    planned.extend(sequence.iter().map(|step| world.call(step)));
    planned.retain(|call| !without.contains(&call.function.as_str()));
    for mut call in planned {
        // Peers and orderers are refused by the peer before the chaincode is asked.
        if call.who.1 != OuRole::Admin {
            call.who.1 = OuRole::Client;
        }
        tally.calls.fetch_add(1, Ordering::SeqCst);
        if same(&call, members, chaincode, state).await {
            tally.written.fetch_add(1, Ordering::SeqCst);
        }
    }
    for call in World::closing(state) {
        same(&call, members, chaincode, state).await;
    }
}

/// Runs a call both ways, and commits it if it writes.
async fn same(call: &Call, members: &[Member], chaincode: &str, state: &mut Committed) -> bool {
    let member = members.iter().find(|member| member.who == call.who).unwrap();
    let until = Instant::now() + PATIENCE;
    let (endorsed, set) = loop {
        let ledger = &member.ledger;
        let proposal = ledger.propose(ledger.creator(), &call.function, &call.args).unwrap();
        let signed = proposal.signed(member.signer.sign_digest(&proposal.digest()).unwrap());
        let context = Context {
            tx_id: proposal.tx_id.clone(),
            timestamp: timestamp(&proposal.bytes),
            channel: "mychannel".to_owned(),
            creator: member.creator.clone(),
        };
        let (expected, set) = native::run(state, &context, &call.function, &call.args);
        let difference = match (ledger.endorse(&proposal.tx_id, &signed).await, expected) {
            (Ok(endorsed), Ok(expected)) => {
                let action = ProposalResponsePayload::decode(endorsed.result()).unwrap();
                let action = ChaincodeAction::decode(&action.extension[..]).unwrap();
                let event = fabric_shim_protos::peer::ChaincodeEvent::decode(&action.events[..]).unwrap();
                let event = (!action.events.is_empty()).then_some((event.event_name, event.payload));
                let wanted = expected.event.map(|event| (event.name, event.payload));
                let (got, native) = (namespace(&action.results, chaincode), bytes(&set));
                if got == native && endorsed.payload == expected.payload && event == wanted {
                    break (endorsed, set);
                }
                format!("{:?}\n{:?}", KvRwSet::decode(&got[..]), KvRwSet::decode(&native[..]))
            }
            (Err(LedgerError::Refused { message, .. }), Err(error)) if message == error.to_string() => return false,
            (got, expected) => format!("{:?}, natively {expected:?}", got.map(|endorsed| endorsed.by)),
        };
        assert!(Instant::now() < until, "{call:?}\n{difference}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if set.writes.is_empty() {
        return false;
    }
    let transaction = endorsed.transaction().unwrap();
    let signature = member.signer.sign_digest(&transaction.digest()).unwrap();
    let done =
        member.ledger.commit(&transaction.signed(signature)).await.unwrap_or_else(|error| panic!("{call:?}: {error}"));
    // Another peer may be asked than the one that told of the commit, and it may be behind.
    let until = Instant::now() + PATIENCE;
    let block = loop {
        match member.ledger.block(done.block_number).await {
            Ok(block) => break block,
            Err(error) => assert!(Instant::now() < until, "{call:?}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let place = block.transactions.iter().position(|transaction| transaction.tx_id == done.tx_id).unwrap();
    for (key, value) in set.writes {
        state.insert(key, ((done.block_number, place as u64), value));
    }
    true
}

fn timestamp(proposal: &[u8]) -> i64 {
    let proposal = Proposal::decode(proposal).unwrap();
    let header = Header::decode(&proposal.header[..]).unwrap();
    ChannelHeader::decode(&header.channel_header[..]).unwrap().timestamp.unwrap().seconds
}

/// The read-write set of the chaincode's namespace; others are Fabric's own.
fn namespace(results: &[u8], chaincode: &str) -> Vec<u8> {
    let results = TxReadWriteSet::decode(results).unwrap();
    let own = results.ns_rwset.into_iter().find(|set| set.namespace == chaincode);
    own.map(|set| set.rwset).unwrap_or_default()
}

/// A read-write set as peers write it: keys in order, each once; ranges in the order in which they were asked for.
fn bytes(set: &ReadWriteSet) -> Vec<u8> {
    let version = |&(block_num, tx_num): &(u64, u64)| Version { block_num, tx_num };
    let reads = set.reads.iter().map(|(key, at)| KvRead { key: key.clone(), version: at.as_ref().map(version) });
    let mut ranges: Vec<RangeQueryInfo> = Vec::new();
    for (start, end, found) in &set.ranges {
        let kv_reads = found.iter().map(|(key, at)| KvRead { key: key.clone(), version: Some(version(at)) });
        // Of a range that held nothing, peers note nothing.
        let reads = (!found.is_empty()).then(|| ReadsInfo::RawReads(QueryReads { kv_reads: kv_reads.collect() }));
        let range =
            RangeQueryInfo { start_key: start.clone(), end_key: end.clone(), itr_exhausted: true, reads_info: reads };
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    let writes =
        set.writes.iter().map(|(key, value)| KvWrite { key: key.clone(), is_delete: false, value: value.clone() });
    KvRwSet { reads: reads.collect(), range_queries_info: ranges, writes: writes.collect() }.encode_to_vec()
}
