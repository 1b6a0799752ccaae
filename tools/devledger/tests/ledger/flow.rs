//! What works, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use vitro_ledger::identity::creator;
use vitro_ledger::{Endorsers, LedgerError, PemSigner, Signer, TxValidationCode};

use crate::support::{Network, args, connect, dead_address};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_committed_and_can_be_seen_from_every_side() {
    let network = Network::start().await;
    let ledger = network.client();
    let before = ledger.chain_info().await.unwrap();
    assert_eq!(before.height, 1);
    let committed = ledger.submit("put", &args(["colour", "green"])).await.unwrap();
    assert_eq!(ledger.query("get", &args(["colour"])).await.unwrap(), b"green");

    let block = ledger.block(committed.block_number).await.unwrap();
    assert!(block.data_hash_matches);
    assert_eq!(hex::encode(&block.previous_hash), before.current_block_hash);
    let found = ledger.transaction(&committed.tx_id).await.unwrap();
    assert_eq!(found.block_number, committed.block_number);
    assert_eq!(found.transaction, block.transactions[0]);
    let transaction = found.transaction;
    assert_eq!(transaction.code, TxValidationCode::Valid);
    assert_eq!(transaction.function, "put");
    assert_eq!(transaction.args, args(["colour", "green"]));
    assert_eq!(transaction.creator_msp, "OperatorMSP");
    assert_eq!(transaction.endorsers, ["DvMSP", "OperatorMSP", "RcMSP"]);
    assert_eq!(transaction.writes, ["colour"]);
    assert_eq!((&transaction.event[..], &transaction.event_payload[..]), ("put", &b"colour"[..]));
    let after = ledger.chain_info().await.unwrap();
    assert_eq!(after.height, 2);
    assert_eq!(after.current_block_hash, hex::encode(&block.hash));

    let error = ledger.block(2).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound(_)), "{error}");
    let error = ledger.transaction("nonsense").await.unwrap_err();
    assert!(matches!(error, LedgerError::NotFound(_)), "{error}");
    assert_eq!(ledger.outcome("nonsense").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_alone_commits_nothing() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    profile.endorsers = Endorsers { required: vec!["OperatorMSP".to_owned()], any_of: vec![] };
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    assert!(error.to_string().contains("ENDORSEMENT_POLICY_FAILURE"), "{error}");
    assert!(!error.retryable());
    let error = network.client().query("get", &args(["a"])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { status: 404, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parties_without_the_operator_commit_nothing() {
    let network = Network::start().await;
    let mut profile = network.profile("rc");
    let three = ["RcMSP", "DvMSP", "SpMSP"].map(str::to_owned).to_vec();
    profile.endorsers = Endorsers { required: three, any_of: vec![] };
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    let LedgerError::Invalid { code, .. } = error else { panic!("{error}") };
    assert_eq!(code, TxValidationCode::EndorsementPolicyFailure);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_away_changes_nothing_and_two_are_named() {
    let network = Network::start().await;
    for away in ["RcMSP", "DvMSP", "SpMSP"] {
        let mut profile = network.profile("operator");
        let peer = profile.peers.iter_mut().find(|peer| peer.msp == away).unwrap();
        peer.address = dead_address().await;
        let ledger = connect(&profile);
        let committed = ledger.submit("put", &args(["away", away])).await.unwrap();
        let found = ledger.transaction(&committed.tx_id).await.unwrap();
        assert_eq!(found.transaction.endorsers.len(), 3);
        assert!(!found.transaction.endorsers.iter().any(|msp| msp == away));
    }
    let mut profile = network.profile("operator");
    for peer in profile.peers.iter_mut().filter(|peer| ["RcMSP", "SpMSP"].contains(&&peer.msp[..])) {
        peer.address = dead_address().await;
    }
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    assert!(error.retryable());
    let LedgerError::NotEndorsed { missing, failures } = error else { panic!("{error}") };
    assert_eq!(missing, "RcMSP or SpMSP");
    let mut nodes: Vec<_> = failures.0.iter().map(|failure| failure.node.as_str()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["peer0.rc", "peer0.sp"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_goes_to_another_peer_when_the_own_one_is_away() {
    let network = Network::start().await;
    let mut profile = network.profile("sp-user");
    let own = profile.peers.iter_mut().find(|peer| peer.msp == "SpMSP").unwrap();
    own.address = dead_address().await;
    let ledger = connect(&profile);
    assert_eq!(ledger.query("whoami", &[]).await.unwrap(), b"SpMSP Client");
    let admin = connect(&network.profile("sp"));
    assert_eq!(admin.query("whoami", &[]).await.unwrap(), b"SpMSP Admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_refuses_for_good_and_organizations_that_disagree_are_named() {
    let network = Network::start().await;
    let ledger = network.client();
    let error = ledger.submit("nothing", &[]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { status: 500, .. }), "{error}");
    assert!(!error.retryable());
    let error = ledger.submit("differ", &[]).await.unwrap_err();
    let LedgerError::Disagree { sides, differs, .. } = &error else { panic!("{error}") };
    assert_eq!((sides.len(), differs.contains("the answer differs")), (4, true), "{error}");
    assert!(error.retryable());
    assert_eq!(ledger.chain_info().await.unwrap().height, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_party_signs_elsewhere() {
    let network = Network::start().await;
    let party = network.profile("sp").identity;
    let key = PemSigner::from_pem(party.key_pem.unwrap().expose()).unwrap();
    let author = creator(&party.msp, &party.certificate_pem);

    let ledger = network.client();
    let proposal = ledger.propose(&author, "put", &args(["by", "sp"])).unwrap();
    let signed = proposal.signed(key.sign_digest(&proposal.digest()).unwrap());
    let endorsed = ledger.endorse(&proposal.tx_id, &signed).await.unwrap();
    let transaction = endorsed.transaction().unwrap();
    let signature = key.sign_digest(&transaction.digest()).unwrap();
    let committed = ledger.commit(&transaction.signed(signature)).await.unwrap();
    let found = ledger.transaction(&committed.tx_id).await.unwrap();
    assert_eq!(found.transaction.creator_msp, "SpMSP");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_without_its_key_gets_nowhere() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    profile.identity.certificate_pem = network.profile("rc").identity.certificate_pem;
    profile.identity.msp = "RcMSP".to_owned();
    let ledger = connect(&profile);
    let error = ledger.submit("put", &args(["a", "1"])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Denied(_)), "{error}");
    assert!(!error.retryable());
    assert!(matches!(ledger.query("get", &args(["a"])).await, Err(LedgerError::Denied(_))));

    // The same with a proposal that was endorsed for its owner: the orderer refuses it.
    let honest = network.client();
    let proposal = honest.propose(honest.creator(), "put", &args(["a", "1"])).unwrap();
    let operator = network.profile("operator").identity.key_pem.unwrap();
    let signer = PemSigner::from_pem(operator.expose()).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    let transaction = honest.endorse(&proposal.tx_id, &signed).await.unwrap().transaction().unwrap();
    let forged = transaction.clone().signed([7; 64]);
    let error = honest.commit(&forged).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotOrdered { status: 403, .. }), "{error}");
    assert!(!error.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_beyond_4_mib_passes_and_a_transaction_beyond_10_mib_does_not() {
    let network = Network::start().await;
    let ledger = network.client();
    let value = |mib: usize| vec![b"big".to_vec(), vec![7; mib << 20]];
    // A value is in the call and in the write set.
    let committed = ledger.submit("put", &value(4)).await.unwrap();
    assert_eq!(ledger.query("get", &args(["big"])).await.unwrap().len(), 4 << 20);
    assert_eq!(ledger.block(committed.block_number).await.unwrap().transactions.len(), 1);
    let error = ledger.submit("put", &value(6)).await.unwrap_err();
    assert!(matches!(error, LedgerError::NotOrdered { status: 400, .. }), "{error}");
    assert!(!error.retryable());
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_calls_go_through_one_client_and_leave_no_stream_behind() {
    const CALLS: usize = 400;
    let network = Network::start().await;
    let ledger = Arc::new(network.client());
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    // More than the 200 streams that a connection may have open at once.
    let workers = [(); 40].map(|()| {
        let (ledger, next) = (Arc::clone(&ledger), Arc::clone(&next));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= CALLS {
                    return;
                }
                ledger.submit("put", &args([&format!("k{number}"), "x"])).await.unwrap();
            }
        })
    });
    for worker in workers {
        worker.await.unwrap();
    }
    println!("{CALLS} transactions in {} ms", began.elapsed().as_millis());
    assert_eq!(ledger.submit("count", &args(["k", "l", "n"])).await.unwrap().payload, b"400");
}
