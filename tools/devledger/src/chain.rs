//! The chain: blocks on disk, the state that follows from them, and who waits for the next one.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use prost::Message;
use tokio::sync::watch;
use vitro_ledger::block::{codes, data_hash, header_bytes, header_hash};
use vitro_ledger::proto::common::{
    Block, BlockData, BlockHeader, BlockMetadata, ChannelHeader, Envelope, Header, HeaderType, LastConfig, Metadata,
    MetadataSignature, OrdererBlockMetadata, Payload, SignatureHeader,
};
use vitro_ledger::proto::configuration::{Config, ConfigEnvelope, ConfigGroup};
use vitro_ledger::proto::info::BlockchainInfo;
use vitro_ledger::proto::rwset::Version;
use vitro_ledger::proto::transaction::ProcessedTransaction;
use vitro_ledger::{Identity, TxValidationCode, channel};

use crate::error::DevledgerError;
use crate::members::Members;
use crate::state::State;
use crate::store::Store;
use crate::validate::{Rules, read_id, read_writes};

/// Where a transaction is: its block and its place in it.
type Place = (u64, usize);

/// What follows from the blocks.
#[derive(Default)]
struct Derived {
    state: State,
    places: HashMap<String, Place>,
    /// The newest configuration block's number and what it says; nothing before block 0.
    config: Option<(u64, Config)>,
}

/// The chain of one channel, as all four peers and the orderer of this process share it.
pub struct Chain {
    channel: String,
    chaincode: String,
    members: Arc<Members>,
    orderer: Identity,
    store: Mutex<Store>,
    derived: RwLock<Derived>,
    height: watch::Sender<u64>,
}

impl Chain {
    /// Opens the chain of a data directory. If its newest configuration is another than this one, as at the very start, a configuration
    /// block is appended.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`], [`DevledgerError::Signing`].
    pub fn open(
        folder: &Path,
        channel: &str,
        chaincode: &str,
        members: Arc<Members>,
        orderer: Identity,
        configuration: ConfigGroup,
    ) -> Result<Self, DevledgerError> {
        let mut derived = Derived::default();
        let store = Store::open(folder, |block| derived.replay(block))?;
        let height = watch::Sender::new(store.height());
        let chain = Self {
            channel: channel.to_owned(),
            chaincode: chaincode.to_owned(),
            members,
            orderer,
            store: Mutex::new(store),
            derived: RwLock::new(derived),
            height,
        };
        let in_force = chain.derived().config.as_ref().map(|(_, config)| config.clone());
        if in_force.as_ref().and_then(|config| config.channel_group.as_ref()) != Some(&configuration) {
            let sequence = in_force.map_or(0, |config| config.sequence + 1);
            chain.configure(Config { sequence, channel_group: Some(configuration) })?;
        }
        Ok(chain)
    }

    /// The channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The chaincode's name.
    #[must_use]
    pub fn chaincode(&self) -> &str {
        &self.chaincode
    }

    /// The organizations.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The number of blocks.
    #[must_use]
    pub fn height(&self) -> u64 {
        *self.height.borrow()
    }

    /// Tells of every new height.
    #[must_use]
    pub fn heights(&self) -> watch::Receiver<u64> {
        self.height.subscribe()
    }

    /// Runs something against the committed state, which does not change meanwhile.
    pub fn with_state<T>(&self, run: impl FnOnce(&State) -> T) -> T {
        run(&self.derived().state)
    }

    /// Whether a block holds a transaction of this id.
    #[must_use]
    pub fn knows(&self, tx_id: &str) -> bool {
        self.derived().places.contains_key(tx_id)
    }

    /// A block by its number.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub fn block(&self, number: u64) -> Result<Option<Block>, DevledgerError> {
        self.store().read(number)
    }

    /// The block that holds a transaction.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub fn block_of(&self, tx_id: &str) -> Result<Option<Block>, DevledgerError> {
        let place = self.derived().places.get(tx_id).copied();
        place.map_or(Ok(None), |(number, _)| self.block(number))
    }

    /// A transaction and its verdict.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub fn transaction(&self, tx_id: &str) -> Result<Option<ProcessedTransaction>, DevledgerError> {
        let place = self.derived().places.get(tx_id).copied();
        let Some((number, index)) = place else { return Ok(None) };
        let Some(block) = self.block(number)? else { return Ok(None) };
        let code = codes(&block).get(index).copied().unwrap_or(TxValidationCode::NotValidated);
        let bytes = block.data.and_then(|data| data.data.into_iter().nth(index)).unwrap_or_default();
        Ok(Some(ProcessedTransaction {
            transaction_envelope: Envelope::decode(&bytes[..]).ok(),
            validation_code: code as i32,
        }))
    }

    /// The newest configuration block.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub fn config_block(&self) -> Result<Option<Block>, DevledgerError> {
        let number = self.derived().config.as_ref().map(|(number, _)| *number);
        number.map_or(Ok(None), |number| self.block(number))
    }

    /// How far the chain is.
    ///
    /// # Errors
    /// [`DevledgerError::File`], [`DevledgerError::Damaged`].
    pub fn info(&self) -> Result<BlockchainInfo, DevledgerError> {
        let height = self.height();
        let newest = self.block(height.saturating_sub(1))?;
        let header = newest.and_then(|block| block.header).unwrap_or_default();
        Ok(BlockchainInfo {
            height,
            current_block_hash: header_hash(&header).to_vec(),
            previous_block_hash: header.previous_hash,
        })
    }

    /// Makes the next block of envelopes in their order: judged, signed, on disk, applied, told.
    ///
    /// # Errors
    /// [`DevledgerError::File`], after which this chain must not be used any more; [`DevledgerError::Signing`].
    pub fn append(&self, envelopes: Vec<Vec<u8>>) -> Result<(), DevledgerError> {
        let mut store = self.store();
        let number = store.height();
        let rules = Rules { members: &self.members, channel: &self.channel, chaincode: &self.chaincode };
        let verdicts = {
            let derived = self.derived();
            let is_known = |tx_id: &str| derived.places.contains_key(tx_id);
            rules.judge(number, &envelopes, &derived.state, is_known)
        };
        let codes: Vec<_> = verdicts.iter().map(|verdict| verdict.code).collect();
        let last_config = self.derived().config.as_ref().map(|(number, _)| *number).unwrap_or_default();
        let block = self.seal(number, previous_hash(&store)?, last_config, envelopes, &codes)?;
        store.append(&block)?;
        let mut derived = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        for (index, verdict) in verdicts.into_iter().enumerate() {
            derived.note(verdict.tx_id, (number, index));
            // A verdict that is not valid has no writes.
            let version = Version { block_num: number, tx_num: index as u64 };
            derived.state.apply(&verdict.writes, version);
        }
        drop(derived);
        drop(store);
        self.height.send_replace(number + 1);
        Ok(())
    }

    /// Appends a configuration block.
    fn configure(&self, config: Config) -> Result<(), DevledgerError> {
        let creator = self.orderer.creator().to_vec();
        let channel_header = ChannelHeader {
            r#type: HeaderType::Config as i32,
            channel_id: self.channel.clone(),
            ..ChannelHeader::default()
        };
        let signature_header = SignatureHeader { creator, nonce: vec![0; 24] };
        let header = Header {
            channel_header: channel_header.encode_to_vec(),
            signature_header: signature_header.encode_to_vec(),
        };
        let data = ConfigEnvelope { config: Some(config.clone()), last_update: None }.encode_to_vec();
        let payload = Payload { header: Some(header), data }.encode_to_vec();
        let signature = self.sign(&payload)?;
        let envelope = Envelope { payload, signature }.encode_to_vec();
        let mut store = self.store();
        let number = store.height();
        let block = self.seal(number, previous_hash(&store)?, number, vec![envelope], &[TxValidationCode::Valid])?;
        store.append(&block)?;
        self.derived.write().unwrap_or_else(PoisonError::into_inner).config = Some((number, config));
        drop(store);
        self.height.send_replace(number + 1);
        Ok(())
    }

    /// A block with its hashes, the orderer's signature and the verdicts.
    fn seal(
        &self,
        number: u64,
        previous_hash: Vec<u8>,
        last_config: u64,
        data: Vec<Vec<u8>>,
        codes: &[TxValidationCode],
    ) -> Result<Block, DevledgerError> {
        let header = BlockHeader { number, previous_hash, data_hash: data_hash(&data).to_vec() };
        let last_config = Some(LastConfig { index: last_config });
        let value = OrdererBlockMetadata { last_config, consenter_metadata: Vec::new() }.encode_to_vec();
        // The number takes the place of a nonce: it is used once, and the block's bytes follow from its contents.
        let creator = self.orderer.creator().to_vec();
        let nonce = number.to_be_bytes().to_vec();
        let signature_header = SignatureHeader { creator, nonce }.encode_to_vec();
        let signed = [&value[..], &signature_header, &header_bytes(&header)].concat();
        let signature = self.sign(&signed)?;
        let signature = MetadataSignature { signature_header, signature, identifier_header: Vec::new() };
        let signatures = Metadata { value, signatures: vec![signature] }.encode_to_vec();
        // Verdicts are bytes: the largest code is 255.
        let flags = codes.iter().map(|code| *code as i32 as u8).collect();
        let metadata = vec![signatures, Vec::new(), flags, Vec::new(), Vec::new()];
        Ok(Block { header: Some(header), data: Some(BlockData { data }), metadata: Some(BlockMetadata { metadata }) })
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, DevledgerError> {
        self.orderer.sign(bytes).map_err(|error| DevledgerError::Signing(error.to_string()))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn derived(&self) -> RwLockReadGuard<'_, Derived> {
        self.derived.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hash of a chain's newest block; empty before the first.
fn previous_hash(store: &Store) -> Result<Vec<u8>, DevledgerError> {
    let previous = store.read(store.height().wrapping_sub(1))?.and_then(|block| block.header);
    Ok(previous.map(|header| header_hash(&header).to_vec()).unwrap_or_default())
}

impl Derived {
    /// The first transaction of an id is the one that counts.
    fn note(&mut self, tx_id: String, place: Place) {
        if !tx_id.is_empty() {
            self.places.entry(tx_id).or_insert(place);
        }
    }

    /// Takes a block from disk; its verdicts are in it.
    fn replay(&mut self, block: &Block) -> Result<(), DevledgerError> {
        let number = block.header.as_ref().map(|header| header.number).unwrap_or_default();
        let data = block.data.as_ref().map(|data| &data.data[..]).unwrap_or_default();
        let codes = codes(block);
        let damaged = |detail: String| DevledgerError::Damaged { offset: 0, detail };
        match channel::config_of(block) {
            Ok(envelope) => {
                self.config = Some((number, envelope.config.unwrap_or_default()));
                return Ok(());
            }
            Err(why) if number == 0 => return Err(damaged(format!("block 0: {why}"))),
            Err(_) => {}
        }
        for (index, envelope) in data.iter().enumerate() {
            self.note(read_id(envelope), (number, index));
            if codes.get(index) != Some(&TxValidationCode::Valid) {
                continue;
            }
            let writes = read_writes(envelope)
                .map_err(|error| damaged(format!("block {number}, transaction {index}: {error}")))?;
            self.state.apply(&writes, Version { block_num: number, tx_num: index as u64 });
        }
        Ok(())
    }
}
