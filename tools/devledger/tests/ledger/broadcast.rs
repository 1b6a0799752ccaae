//! The stream to the orderer that all submissions of a client share: what breaks it, and what comes of those who were on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use vitro_ledger::{Committed, Ledger, LedgerError, Limits, PemSigner, SignedTransaction, Signer, TxValidationCode};

use crate::support::{LIMITS, Mode, Network, Proxy, args, connect, connect_with};

/// Submissions at once.
const MANY: usize = 40;

type Submission = JoinHandle<Result<Committed, LedgerError>>;

fn submit(ledger: &Arc<Ledger>, number: usize) -> Submission {
    let ledger = Arc::clone(ledger);
    tokio::spawn(async move { ledger.submit("put", &args([&format!("k{number}"), "x"])).await })
}

/// How often each transaction of the chain is valid; a transaction that was handed in twice is a duplicate the second time.
async fn valid(network: &Network) -> BTreeMap<String, usize> {
    let ledger = network.client();
    let mut found = BTreeMap::new();
    for number in 1..ledger.chain_info().await.unwrap().height {
        for transaction in ledger.block(number).await.unwrap().transactions {
            let count: &mut usize = found.entry(transaction.tx_id).or_default();
            match transaction.code {
                TxValidationCode::Valid => *count += 1,
                code => assert_eq!(code, TxValidationCode::DuplicateTxid),
            }
        }
    }
    found
}

/// A network, and a client that reaches its orderer through a proxy. A first transaction has opened the stream.
async fn behind_proxy(limits: Limits) -> (Network, Proxy, Arc<Ledger>) {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let proxy = Proxy::before(&profile.orderers[0].address).await;
    profile.orderers[0].address.clone_from(&proxy.address);
    let ledger = connect_with(&profile, limits);
    ledger.submit("put", &args(["first", "x"])).await.unwrap();
    (network, proxy, Arc::new(ledger))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderer_that_goes_with_many_in_flight_leaves_each_committed_once() {
    for mode in [Mode::LoseAnswer, Mode::LoseRequest, Mode::Die] {
        let (network, proxy, ledger) = behind_proxy(LIMITS).await;
        proxy.set(mode);
        let submissions: Vec<_> = (0..MANY).map(|number| submit(&ledger, number)).collect();
        while proxy.lost.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The orderer is back.
        proxy.set(Mode::Pass);
        let mut committed = 0;
        for (number, submission) in submissions.into_iter().enumerate() {
            let key = args([&format!("k{number}")]);
            match submission.await.unwrap() {
                Ok(done) => {
                    committed += 1;
                    assert_eq!(valid(&network).await[&done.tx_id], 1);
                    assert_eq!(ledger.query("get", &key).await.unwrap(), b"x");
                }
                // Who came while nobody listened was never submitted.
                Err(error) => {
                    assert!(matches!(error, LedgerError::Unavailable { .. }), "{error}");
                    let absent = ledger.query("get", &key).await.unwrap_err();
                    assert!(matches!(absent, LedgerError::Refused { status: 404, .. }), "{absent}");
                }
            }
        }
        assert!(committed > 0, "nobody was in flight");
        assert!(valid(&network).await.values().all(|count| *count == 1));
        ledger.submit("put", &args(["last", "x"])).await.unwrap();
    }
}

/// A transaction for a key, with another's signature.
async fn forged(network: &Network, ledger: &Ledger, key: &str) -> SignedTransaction {
    let profile = network.profile("operator");
    let signer = PemSigner::from_pem(profile.identity.key_pem.unwrap().expose()).unwrap();
    let proposal = ledger.propose(ledger.creator(), "put", &args([key, "x"])).unwrap();
    let signed = proposal.signed(signer.sign_digest(&proposal.digest()).unwrap());
    ledger.endorse(&proposal.tx_id, &signed).await.unwrap().transaction().unwrap().signed([7; 64])
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_transactions_among_good_ones_are_refused_and_harm_nobody() {
    const BAD: usize = 8;
    let network = Network::start().await;
    let ledger = Arc::new(network.client());
    let mut bad = Vec::new();
    for number in 0..BAD {
        bad.push(forged(&network, &ledger, &format!("bad{number}")).await);
    }
    let mut refused = Vec::new();
    let mut good = Vec::new();
    for number in 0..MANY {
        good.push(submit(&ledger, number));
        if number % (MANY / BAD) == 0 {
            let (ledger, transaction) = (Arc::clone(&ledger), bad.pop().unwrap());
            refused.push(tokio::spawn(async move { ledger.commit(&transaction).await }));
        }
    }
    for submission in good {
        submission.await.unwrap().unwrap();
    }
    assert_eq!(refused.len(), BAD);
    for refusal in refused {
        let error = refusal.await.unwrap().unwrap_err();
        assert!(matches!(error, LedgerError::NotOrdered { status: 403, .. }), "{error}");
        assert!(!error.retryable());
    }
    let valid = valid(&network).await;
    assert_eq!((valid.len(), valid.values().sum::<usize>()), (MANY, MANY));
    let count = ledger.submit("count", &args(["bad", "bae", "n"])).await.unwrap();
    assert_eq!(count.payload, b"0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_while_nobody_used_it_is_made_again() {
    let (network, proxy, ledger) = behind_proxy(LIMITS).await;
    for number in 0..3 {
        proxy.cut();
        submit(&ledger, number).await.unwrap().unwrap();
    }
    assert_eq!(valid(&network).await.into_values().collect::<Vec<_>>(), [1; 4]);
}

/// What a Lambda finds after it was frozen: a connection that a balancer forgot without telling either end.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_went_silent_is_given_up_and_what_was_on_it_is_looked_up() {
    let limits = Limits { answer: Duration::from_millis(700), ..LIMITS };
    let (network, proxy, ledger) = behind_proxy(limits).await;
    proxy.mute();
    let submissions: Vec<_> = (0..4).map(|number| submit(&ledger, number)).collect();
    for submission in submissions {
        submission.await.unwrap().unwrap();
    }
    submit(&ledger, 4).await.unwrap().unwrap();
    assert_eq!(valid(&network).await.into_values().collect::<Vec<_>>(), [1; 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_orderer_takes_over_after_a_lookup() {
    let network = Network::start().await;
    let mut profile = network.profile("operator");
    let second = profile.orderers[0].clone();
    let proxy = Proxy::before(&second.address).await;
    profile.orderers[0].address.clone_from(&proxy.address);
    profile.orderers.push(second);
    let ledger = Arc::new(connect(&profile));
    ledger.submit("put", &args(["first", "x"])).await.unwrap();
    // It takes the transaction and is gone for good.
    proxy.set(Mode::Die);
    submit(&ledger, 0).await.unwrap().unwrap();
    assert_eq!(proxy.lost.load(Ordering::SeqCst), 1);
    submit(&ledger, 1).await.unwrap().unwrap();
    assert_eq!(valid(&network).await.into_values().collect::<Vec<_>>(), [1; 3]);
}
