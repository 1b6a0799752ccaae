//! What is lost on the way, and what collides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vitro_ledger::{LedgerError, PemSigner, Signer, TxValidationCode};

use crate::support::{Mode, Network, Proxy, args, connect, dead_address};

/// The verdicts of all transactions so far.
async fn verdicts(network: &Network) -> Vec<TxValidationCode> {
    let ledger = network.client();
    let mut found = Vec::new();
    for number in 1..ledger.chain_info().await.unwrap().height {
        let block = ledger.block(number).await.unwrap();
        found.extend(block.transactions.iter().map(|transaction| transaction.code));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_conflict_are_simulated_anew_until_each_has_counted() {
    let network = Network::start().await;
    let ledger = Arc::new(network.client());
    let calls = [(); 4].map(|()| {
        let ledger = Arc::clone(&ledger);
        tokio::spawn(async move { ledger.submit("add", &args(["n"])).await })
    });
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(ledger.query("get", &args(["n"])).await.unwrap(), b"4");
    let verdicts = verdicts(&network).await;
    let count = |code| verdicts.iter().filter(|found| **found == code).count();
    assert_eq!(count(TxValidationCode::Valid), 4);
    assert_eq!(count(TxValidationCode::MvccReadConflict), verdicts.len() - 4);
    assert!(verdicts.len() > 4, "four calls at once never collided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_appears_in_a_range_that_was_read_is_a_phantom() {
    let network = Network::start().await;
    let ledger = network.client();
    ledger.submit("put", &args(["k1", "x"])).await.unwrap();
    let profile = network.profile("operator");
    let signer = PemSigner::from_pem(profile.identity.key_pem.unwrap().expose()).unwrap();
    let sign = |digest: [u8; 32]| signer.sign_digest(&digest).unwrap();
    let proposal = ledger.propose(ledger.creator(), "count", &args(["k", "l", "n"])).unwrap();
    let endorsed = ledger.endorse(&proposal.tx_id, &proposal.signed(sign(proposal.digest()))).await.unwrap();
    assert_eq!(endorsed.payload, b"1");
    ledger.submit("put", &args(["k2", "x"])).await.unwrap();
    let transaction = endorsed.transaction().unwrap();
    let signature = sign(transaction.digest());
    let error = ledger.commit(&transaction.signed(signature)).await.unwrap_err();
    let LedgerError::Invalid { code, .. } = &error else { panic!("{error}") };
    assert_eq!(*code, TxValidationCode::PhantomReadConflict);
    assert!(error.retryable());
    assert_eq!(ledger.submit("count", &args(["k", "l", "n"])).await.unwrap().payload, b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_transaction_counts_once_however_often_it_is_handed_in() {
    let network = Network::start().await;
    let ledger = network.client();
    let profile = network.profile("operator");
    let signer = PemSigner::from_pem(profile.identity.key_pem.unwrap().expose()).unwrap();
    let proposal = ledger.propose(ledger.creator(), "add", &args(["n"])).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    let endorsed = ledger.endorse(&proposal.tx_id, &signed).await.unwrap();
    let transaction = endorsed.transaction().unwrap();
    let signature = signer.sign_digest(&transaction.digest()).unwrap();
    let transaction = transaction.signed(signature);
    let first = ledger.commit(&transaction).await.unwrap();
    // Another block on top, so that the newest one does not show the first verdict.
    ledger.submit("put", &args(["a", "1"])).await.unwrap();
    let second = ledger.commit(&transaction).await.unwrap();
    assert_eq!(first, second);
    let (valid, duplicate) = (TxValidationCode::Valid, TxValidationCode::DuplicateTxid);
    assert_eq!(verdicts(&network).await, [valid, valid, duplicate]);
    assert_eq!(ledger.query("get", &args(["n"])).await.unwrap(), b"1");
    // A peer does not endorse it again either.
    let error = ledger.endorse(&proposal.tx_id, &signed).await.unwrap_err();
    assert!(error.to_string().contains("duplicate transaction"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_and_a_lost_transaction_both_end_in_one_commit() {
    for (mode, handed_in) in [(Mode::LoseAnswer, 1), (Mode::LoseRequest, 2)] {
        let network = Network::start().await;
        let mut profile = network.profile("operator");
        let proxy = Proxy::before(&profile.orderers[0].address).await;
        profile.orderers[0].address.clone_from(&proxy.address);
        let ledger = connect(&profile);
        ledger.submit("add", &args(["n"])).await.unwrap();
        proxy.set(mode);
        ledger.submit("add", &args(["n"])).await.unwrap();
        assert_eq!(proxy.lost.load(Ordering::SeqCst), 1);
        // The connection was lost with it, so that each time it is handed in takes one: what arrived is not handed in again.
        assert_eq!(proxy.opened.load(Ordering::SeqCst), handed_in, "{mode:?}");
        assert_eq!(ledger.query("get", &args(["n"])).await.unwrap(), b"2");
        assert_eq!(verdicts(&network).await, [TxValidationCode::Valid; 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_breaks_goes_on_at_another_peer() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let own = profile.peers.iter_mut().find(|peer| peer.msp == "OperatorMSP").unwrap();
    let proxy = Proxy::before(&own.address).await;
    own.address.clone_from(&proxy.address);
    let ledger = connect(&profile);
    let signer = PemSigner::from_pem(profile.identity.key_pem.as_ref().unwrap().expose()).unwrap();
    let proposal = ledger.propose(ledger.creator(), "add", &args(["n"])).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    let transaction = ledger.endorse(&proposal.tx_id, &signed).await.unwrap().transaction().unwrap();
    let signature = signer.sign_digest(&transaction.digest()).unwrap();
    // The answer that is lost is the first of the delivery or a block: either way another peer tells the verdict.
    proxy.set(Mode::LoseAnswer);
    ledger.commit(&transaction.signed(signature)).await.unwrap();
    assert_eq!(proxy.lost.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_orderer_means_not_submitted_and_the_next_orderer_is_tried() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let alive = profile.orderers[0].clone();
    profile.orderers[0].address = dead_address().await;
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable { .. }), "{error}");
    assert!(error.retryable());
    // The cause is told, in words and once.
    let text = error.to_string();
    assert!(text.contains("tcp connect error: Connection refused"), "{text}");
    assert!(!text.contains("source") && !text.contains("service is currently"), "{text}");
    assert_eq!(network.client().chain_info().await.unwrap().height, 1);
    profile.orderers.push(alive);
    connect(&profile).submit("put", &args(["a", "1"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_that_swallows_everything_costs_one_wait_and_not_one_a_transaction() {
    let network = Network::start().await;
    // It takes connections and never says a word.
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut profile = network.profile("operator");
    let mut silent = profile.orderers[0].clone();
    silent.address = format!("https://{}", hole.local_addr().unwrap());
    profile.orderers.insert(0, silent);
    let ledger = connect(&profile);
    ledger.submit("add", &args(["n"])).await.unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        ledger.submit("add", &args(["n"])).await.unwrap();
    }
    // One wait for the silent orderer alone would be five seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(verdicts(&network).await, [TxValidationCode::Valid; 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_known_says_so_and_can_be_asked_for_later() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let proxy = Proxy::before(&profile.orderers[0].address).await;
    profile.orderers[0].address.clone_from(&proxy.address);
    let ledger = connect(&profile);
    ledger.submit("add", &args(["n"])).await.unwrap();
    proxy.set(Mode::Die);
    let error = ledger.submit("add", &args(["n"])).await.unwrap_err();
    assert!(error.retryable());
    let LedgerError::OutcomeUnknown { tx_id } = error else { panic!("{error}") };
    assert_eq!(ledger.outcome(&tx_id).await.unwrap(), None);
    assert_eq!(network.client().query("get", &args(["n"])).await.unwrap(), b"1");
}
