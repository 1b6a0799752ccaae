//! Peers that answer, and wrongly: one organization's stops nobody, and is named.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vitro_ledger::{ConnectionProfile, Ledger, LedgerError, NodeEndpoint, PemSigner, Signer};

use crate::false_peer::{FalsePeer, Lie};
use crate::support::{Network, args, connect, dead_address};

fn peer<'a>(profile: &'a mut ConnectionProfile, msp: &str) -> &'a mut NodeEndpoint {
    profile.peers.iter_mut().find(|peer| peer.msp == msp).unwrap()
}

/// The operator's client of a network where one organization's peer lies.
async fn with_liar(network: &Network, msp: &str, lie: Lie) -> (Ledger, FalsePeer) {
    let mut profile = network.profile("operator");
    let liar = FalsePeer::before(peer(&mut profile, msp), &network.options.data_dir, lie, false).await;
    (connect(&profile), liar)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_organization_that_answers_wrongly_stops_nobody_and_is_asked_last() {
    let network = Network::start().await;
    for lie in [Lie::Differ, Lie::Refuse, Lie::Alter, Lie::Borrow, Lie::Foreign, Lie::Client, Lie::Unsigned] {
        let (ledger, liar) = with_liar(&network, "RcMSP", lie).await;
        for value in ["1", "2"] {
            let height = ledger.chain_info().await.unwrap().height;
            let committed = ledger.submit("put", &args(["a", value])).await.unwrap();
            let found = ledger.transaction(&committed.tx_id).await.unwrap().transaction;
            assert_eq!(found.endorsers, ["DvMSP", "OperatorMSP", "SpMSP"], "{lie:?}");
            assert_eq!(ledger.query("get", &args(["a"])).await.unwrap(), value.as_bytes());
            // At the first attempt, and nothing that was not valid got into a block.
            assert_eq!((committed.block_number, liar.asked.load(Ordering::SeqCst)), (height, 1), "{lie:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_only_stands_between_is_no_liar() {
    let network = Network::start().await;
    let (ledger, between) = with_liar(&network, "RcMSP", Lie::None).await;
    let committed = ledger.submit("put", &args(["a", "1"])).await.unwrap();
    let found = ledger.transaction(&committed.tx_id).await.unwrap().transaction;
    assert_eq!(found.endorsers, ["DvMSP", "OperatorMSP", "RcMSP"]);
    assert_eq!(between.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stood_against_the_others_is_told_to_whoever_endorses() {
    let network = Network::start().await;
    let (ledger, _liar) = with_liar(&network, "DvMSP", Lie::Differ).await;
    let key = network.profile("operator").identity.key_pem.unwrap();
    let signer = PemSigner::from_pem(key.expose()).unwrap();
    let proposal = ledger.propose(ledger.creator(), "put", &args(["a", "1"])).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    let endorsed = ledger.endorse(&proposal.tx_id, &signed).await.unwrap();
    assert_eq!(
        (&endorsed.by[..], &endorsed.against[..]),
        (&["OperatorMSP", "RcMSP", "SpMSP"].map(str::to_owned)[..], &["DvMSP".to_owned()][..],)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_stays_one_although_somebody_endorses_what_is_refused() {
    let network = Network::start().await;
    let (ledger, liar) = with_liar(&network, "RcMSP", Lie::Differ).await;
    let error = ledger.submit("nothing", &[]).await.unwrap_err();
    assert!(matches!(&error, LedgerError::Refused { status: 500, .. }), "{error}");
    assert!(!error.retryable());
    assert_eq!(liar.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_endorsed_without_the_operator_or_by_too_few() {
    let network = Network::start().await;
    let height = network.client().chain_info().await.unwrap().height;
    let (ledger, _liar) = with_liar(&network, "OperatorMSP", Lie::Differ).await;
    let error = ledger.submit("put", &args(["a", "1"])).await.unwrap_err();
    let words = "organizations disagree: DvMSP and RcMSP and SpMSP against OperatorMSP (the answer differs)";
    assert_eq!(error.to_string(), words);

    let mut profile = network.profile("operator");
    let data_dir = &network.options.data_dir;
    let _liar = FalsePeer::before(peer(&mut profile, "RcMSP"), data_dir, Lie::Differ, false).await;
    peer(&mut profile, "SpMSP").address = dead_address().await;
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    let words = error.to_string();
    assert!(words.starts_with("organizations disagree: DvMSP and OperatorMSP against RcMSP"), "{words}");
    assert!(words.contains("peer0.sp: ") && error.retryable(), "{words}");

    let mut profile = network.profile("operator");
    let _liar = FalsePeer::before(peer(&mut profile, "OperatorMSP"), data_dir, Lie::Foreign, false).await;
    let error = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap_err();
    let words =
        "the endorsement of OperatorMSP is missing: peer0.operator: its certificate is not issued by OperatorMSP's CA";
    assert_eq!(error.to_string(), words);
    assert_eq!(network.client().chain_info().await.unwrap().height, height);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_sends_blocks_without_a_pause_is_not_waited_for_beyond_the_limit() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let data_dir = &network.options.data_dir;
    let _flood = FalsePeer::before(peer(&mut profile, "OperatorMSP"), data_dir, Lie::None, true).await;
    let began = Instant::now();
    let committed = connect(&profile).submit("put", &args(["a", "1"])).await.unwrap();
    // The verdict never comes by the delivery: after `Limits::commit`, five seconds here, the transaction is looked up.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(network.client().outcome(&committed.tx_id).await.unwrap().unwrap().block_number, 1);
}
