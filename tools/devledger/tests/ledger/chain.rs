//! What the chain refuses, keeps, and survives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use vitro_devledger::{DevledgerError, start};
use vitro_ledger::{LedgerError, TxValidationCode};

use crate::support::{KeyValue, Network, args};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_chain_state_ports_and_identities() {
    let network = Network::start().await;
    let profile = fs::read(network.running.profile("operator")).unwrap();
    let ledger = network.client();
    let first = ledger.submit("put", &args(["a", "1"])).await.unwrap();
    ledger.submit("add", &args(["n"])).await.unwrap();
    let before = ledger.chain_info().await.unwrap();
    let network = network.restart(|_| ()).await;
    assert_eq!(fs::read(network.running.profile("operator")).unwrap(), profile);
    // The old client goes on: its connections broke, the addresses are the same.
    assert_eq!(ledger.chain_info().await.unwrap(), before);
    assert_eq!(ledger.query("get", &args(["a"])).await.unwrap(), b"1");
    assert_eq!(ledger.outcome(&first.tx_id).await.unwrap().unwrap().block_number, 1);
    // Versions are the same, too: what is read now is current.
    assert_eq!(ledger.submit("add", &args(["n"])).await.unwrap().payload, b"2");
    assert_eq!(ledger.block(3).await.unwrap().previous_hash, ledger.block(2).await.unwrap().hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_block_is_cut_off_and_the_chain_goes_on() {
    let network = Network::start().await;
    let ledger = network.client();
    ledger.submit("add", &args(["n"])).await.unwrap();
    let lost = ledger.submit("add", &args(["n"])).await.unwrap();
    let network = network
        .restart(|folder: &Path| {
            let path = folder.join("chain.blocks");
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 10).unwrap();
        })
        .await;
    assert!(network.options.data_dir.join("chain.torn-1").exists(), "what was cut off is kept");
    let ledger = network.client();
    assert_eq!(ledger.chain_info().await.unwrap().height, 2);
    assert_eq!(ledger.outcome(&lost.tx_id).await.unwrap(), None);
    assert_eq!(ledger.query("get", &args(["n"])).await.unwrap(), b"1");
    assert_eq!(ledger.submit("add", &args(["n"])).await.unwrap().payload, b"2");
    let network = network.restart(|_| ()).await;
    assert_eq!(network.client().query("get", &args(["n"])).await.unwrap(), b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_length_stops_the_start_and_erases_nothing() {
    let network = Network::start().await;
    network.client().submit("add", &args(["n"])).await.unwrap();
    let options = network.options.clone();
    network.running.shutdown().await.unwrap();
    let path = options.data_dir.join("chain.blocks");
    let mut bytes = fs::read(&path).unwrap();
    // The first block's length, behind four bytes that begin a record.
    bytes[4] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = start(&options, Arc::new(KeyValue::default())).await.err().unwrap();
    assert!(matches!(error, DevledgerError::Damaged { offset: 0, .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_process() {
    let network = Network::start().await;
    let second = start(&network.options, Arc::new(KeyValue::default())).await;
    assert!(matches!(second, Err(DevledgerError::InUse(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_profiles_are_for_their_owner_alone() {
    let network = Network::start().await;
    let mut seen = 0;
    let mut folders = vec![network.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if fs::read_to_string(&path).is_ok_and(|text| text.contains("PRIVATE KEY")) {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600, "{}", path.display());
                seen += 1;
            }
        }
    }
    // Seven keys an organization, two profiles a party.
    assert_eq!(seen, 5 * 7 + 4 * 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_or_garbage_gets_its_code_and_changes_nothing() {
    use prost::Message;
    use vitro_ledger::proto::common::{Block, Envelope, Payload};

    let network = Network::start().await;
    let ledger = network.client();
    let committed = ledger.submit("put", &args(["a", "1"])).await.unwrap();
    let block: Block = network.running.chain().block(committed.block_number).unwrap().unwrap();
    let envelope = Envelope::decode(&block.data.unwrap().data[0][..]).unwrap();
    let mut altered = envelope.clone();
    let last = altered.payload.len() - 1;
    altered.payload[last] ^= 1;
    let mut unsigned = envelope.clone();
    unsigned.signature.clear();
    let headless = Envelope { payload: Payload::default().encode_to_vec(), signature: vec![1] };
    let batch = [
        vec![0xff; 5],
        Envelope::default().encode_to_vec(),
        headless.encode_to_vec(),
        altered.encode_to_vec(),
        unsigned.encode_to_vec(),
        envelope.encode_to_vec(),
    ];
    network.running.chain().append(batch.to_vec()).unwrap();
    let block = ledger.block(2).await.unwrap();
    let codes: Vec<_> = block.transactions.iter().map(|transaction| transaction.code).collect();
    assert_eq!(
        codes,
        [
            TxValidationCode::InvalidOtherReason,
            TxValidationCode::NilEnvelope,
            TxValidationCode::NilEnvelope,
            TxValidationCode::BadCreatorSignature,
            TxValidationCode::BadCreatorSignature,
            TxValidationCode::DuplicateTxid,
        ]
    );
    let error = ledger.query("get", &args(["b"])).await.unwrap_err();
    assert!(matches!(error, LedgerError::Refused { status: 404, .. }));
    assert_eq!(ledger.outcome(&committed.tx_id).await.unwrap().unwrap().block_number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_channels_configuration_is_in_blocks_of_its_own() {
    let network = Network::start().await;
    let ledger = network.client();
    let first = ledger.channel_config().await.unwrap();
    assert_eq!((first.block, first.sequence), (0, 0));
    assert_eq!(first.organizations, ["DvMSP", "OperatorMSP", "RcMSP", "SpMSP"]);
    assert_eq!((&first.orderers[..], first.batch_timeout.as_str()), (&["OrdererMSP".to_owned()][..], "100ms"));
    let size = first.batch_size;
    assert_eq!((size.max_message_count, size.preferred_max_bytes, size.absolute_max_bytes), (500, 2 << 20, 10 << 20));
    ledger.submit("put", &args(["a", "1"])).await.unwrap();
    // The same again is no new configuration; another one is appended, and what was committed stays.
    let mut network = network.restart(|_| ()).await;
    assert_eq!(network.client().channel_config().await.unwrap(), first);
    network.options.batch_timeout_ms = 30;
    let network = network.restart(|_| ()).await;
    let ledger = network.client();
    let second = ledger.channel_config().await.unwrap();
    assert_eq!((second.block, second.sequence, second.batch_timeout.as_str()), (2, 1, "30ms"));
    let block = ledger.block(2).await.unwrap();
    let kinds: Vec<_> =
        block.transactions.iter().map(|transaction| (transaction.kind.as_str(), transaction.code)).collect();
    assert_eq!((kinds, block.data_hash_matches), (vec![("CONFIG", TxValidationCode::Valid)], true));
    assert_eq!(block.previous_hash, ledger.block(1).await.unwrap().hash);
    assert_eq!(ledger.query("get", &args(["a"])).await.unwrap(), b"1");
    assert_eq!(ledger.submit("put", &args(["a", "2"])).await.unwrap().block_number, 3);
    let network = network.restart(|_| ()).await;
    assert_eq!(network.client().channel_config().await.unwrap(), second);
    assert_eq!(network.client().query("get", &args(["a"])).await.unwrap(), b"2");
}
