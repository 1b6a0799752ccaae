//! Blocks: their hashes, and what they hold in words for people and programs.

use prost::Message;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::der;
use crate::proto::common::{self, BlockHeader, BlockMetadataIndex, Envelope};
use crate::proto::msp::SerializedIdentity;
use crate::proto::peer::{
    ChaincodeAction, ChaincodeEvent, ChaincodeInvocationSpec, ChaincodeProposalPayload, ProposalResponsePayload,
};
use crate::proto::rwset::{KvRwSet, TxReadWriteSet};
use crate::proto::transaction::{self as wire, TxValidationCode};

/// The bytes that a block's hash is over, and that its orderer signs: ASN.1 `SEQUENCE { INTEGER, OCTET STRING, OCTET STRING }`.
#[must_use]
pub fn header_bytes(header: &BlockHeader) -> Vec<u8> {
    der::sequence(&[
        der::integer(&header.number.to_be_bytes()),
        der::octets(&header.previous_hash),
        der::octets(&header.data_hash),
    ])
}

/// The hash by which the next block names this one.
#[must_use]
pub fn header_hash(header: &BlockHeader) -> [u8; 32] {
    Sha256::digest(header_bytes(header)).into()
}

/// SHA-256 over the block's envelopes, one behind another.
#[must_use]
pub fn data_hash(data: &[Vec<u8>]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for envelope in data {
        hasher.update(envelope);
    }
    hasher.finalize().into()
}

/// A block in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Its place in the chain.
    pub number: u64,
    /// Its own hash.
    #[serde(serialize_with = "as_hex")]
    pub hash: Vec<u8>,
    /// The hash of the block before it.
    #[serde(serialize_with = "as_hex")]
    pub previous_hash: Vec<u8>,
    /// The hash of its data.
    #[serde(serialize_with = "as_hex")]
    pub data_hash: Vec<u8>,
    /// Whether its data hashes to that.
    pub data_hash_matches: bool,
    /// Its transactions in order.
    pub transactions: Vec<BlockTransaction>,
}

/// A transaction and the block that holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessedTransaction {
    /// The block.
    pub block_number: u64,
    /// The transaction.
    #[serde(flatten)]
    pub transaction: BlockTransaction,
}

/// A transaction in words. What cannot be read is left empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BlockTransaction {
    /// Its id; empty for a configuration.
    pub tx_id: String,
    /// How many bytes the signed envelope has that an orderer took: what a channel's limits are about.
    pub bytes: usize,
    /// `common.HeaderType` by name.
    pub kind: String,
    /// The submitter's word for the time, Unix seconds.
    pub timestamp: i64,
    /// The submitter's organization.
    pub creator_msp: String,
    /// The committers' verdict.
    #[serde(serialize_with = "as_text")]
    pub code: TxValidationCode,
    /// The chaincode.
    pub chaincode: String,
    /// The function called.
    pub function: String,
    /// The arguments behind it.
    #[serde(serialize_with = "as_hex_list")]
    pub args: Vec<Vec<u8>>,
    /// What the contract answered.
    #[serde(serialize_with = "as_hex")]
    pub payload: Vec<u8>,
    /// The organizations that endorsed.
    pub endorsers: Vec<String>,
    /// The event's name; empty if there is none.
    pub event: String,
    /// The event's payload.
    #[serde(serialize_with = "as_hex")]
    pub event_payload: Vec<u8>,
    /// The keys it writes, if it is valid.
    pub writes: Vec<String>,
}

impl Block {
    /// Reads a block as a peer keeps it, verdicts included.
    #[must_use]
    pub fn read(block: &common::Block) -> Self {
        let header = block.header.clone().unwrap_or_default();
        let data = block.data.as_ref().map(|data| &data.data[..]).unwrap_or_default();
        let codes = codes(block);
        let transactions = data.iter().enumerate().map(|(index, bytes)| {
            let envelope = Envelope::decode(&bytes[..]).unwrap_or_default();
            BlockTransaction::read(&envelope, codes.get(index).copied().unwrap_or_default())
        });
        Self {
            number: header.number,
            hash: header_hash(&header).to_vec(),
            data_hash_matches: data_hash(data)[..] == header.data_hash[..],
            transactions: transactions.collect(),
            previous_hash: header.previous_hash,
            data_hash: header.data_hash,
        }
    }
}

impl ProcessedTransaction {
    pub(crate) fn read(block_number: u64, code: TxValidationCode, envelope: &Envelope) -> Self {
        Self { block_number, transaction: BlockTransaction::read(envelope, code) }
    }
}

/// The verdicts of a block, one a transaction, from its metadata.
#[must_use]
pub fn codes(block: &common::Block) -> Vec<TxValidationCode> {
    let metadata = block.metadata.as_ref().map(|metadata| &metadata.metadata[..]);
    let flags =
        metadata.and_then(|metadata| metadata.get(BlockMetadataIndex::TransactionsFilter as usize)).map(Vec::as_slice);
    flags.unwrap_or_default().iter().map(|code| TxValidationCode::of(i32::from(*code))).collect()
}

impl BlockTransaction {
    /// Reads an envelope.
    #[must_use]
    pub fn read(envelope: &Envelope, code: TxValidationCode) -> Self {
        let mut found = Self { code, bytes: envelope.encoded_len(), ..Self::default() };
        // What is readable before the first fault is told; a transaction of garbage is in the chain all the same.
        let _ = found.fill(envelope);
        found
    }

    fn fill(&mut self, envelope: &Envelope) -> Result<(), prost::DecodeError> {
        let payload = common::Payload::decode(&envelope.payload[..])?;
        let header = payload.header.unwrap_or_default();
        let channel = common::ChannelHeader::decode(&header.channel_header[..])?;
        let kind = common::HeaderType::try_from(channel.r#type);
        self.kind = kind.map_or("UNKNOWN", |kind| kind.as_str_name()).to_owned();
        self.tx_id = channel.tx_id;
        self.timestamp = channel.timestamp.map(|timestamp| timestamp.seconds).unwrap_or_default();
        let author = common::SignatureHeader::decode(&header.signature_header[..])?;
        self.creator_msp = SerializedIdentity::decode(&author.creator[..])?.mspid;
        if channel.r#type != common::HeaderType::EndorserTransaction as i32 {
            return Ok(());
        }
        for action in wire::Transaction::decode(&payload.data[..])?.actions {
            self.fill_action(&wire::ChaincodeActionPayload::decode(&action.payload[..])?)?;
        }
        Ok(())
    }

    fn fill_action(&mut self, action: &wire::ChaincodeActionPayload) -> Result<(), prost::DecodeError> {
        let proposal = ChaincodeProposalPayload::decode(&action.chaincode_proposal_payload[..])?;
        let call = ChaincodeInvocationSpec::decode(&proposal.input[..])?;
        let call = call.chaincode_spec.unwrap_or_default();
        self.chaincode = call.chaincode_id.unwrap_or_default().name;
        let mut args = call.input.unwrap_or_default().args.into_iter();
        self.function = String::from_utf8_lossy(&args.next().unwrap_or_default()).into_owned();
        self.args = args.collect();
        let Some(endorsed) = &action.action else { return Ok(()) };
        for endorsement in &endorsed.endorsements {
            self.endorsers.push(SerializedIdentity::decode(&endorsement.endorser[..])?.mspid);
        }
        let result = ProposalResponsePayload::decode(&endorsed.proposal_response_payload[..])?;
        let result = ChaincodeAction::decode(&result.extension[..])?;
        self.payload = result.response.unwrap_or_default().payload;
        let event = ChaincodeEvent::decode(&result.events[..])?;
        self.event = event.event_name;
        self.event_payload = event.payload;
        for namespace in TxReadWriteSet::decode(&result.results[..])?.ns_rwset {
            let writes = KvRwSet::decode(&namespace.rwset[..])?.writes;
            self.writes.extend(writes.into_iter().map(|write| write.key));
        }
        Ok(())
    }
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

fn as_hex_list<S: Serializer>(list: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(hex::encode))
}

fn as_text<S: Serializer>(code: &TxValidationCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_never_panics(payload: Vec<u8>, signature: Vec<u8>) {
            let envelope = Envelope { payload, signature };
            let _ = BlockTransaction::read(&envelope, TxValidationCode::Valid);
        }
    }

    #[test]
    fn a_header_is_hashed_as_asn1() {
        let header = BlockHeader { number: 128, previous_hash: vec![0xaa; 32], data_hash: vec![0xbb; 32] };
        let bytes = header_bytes(&header);
        let mut expected = vec![0x30, 72, 0x02, 2, 0, 128, 0x04, 32];
        expected.extend([0xaa; 32]);
        expected.extend([0x04, 32]);
        expected.extend([0xbb; 32]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn garbage_is_told_as_far_as_it_can_be_read() {
        let block = common::Block {
            data: Some(common::BlockData { data: vec![vec![0xff; 3]] }),
            metadata: Some(common::BlockMetadata { metadata: vec![vec![], vec![], vec![2]] }),
            ..Default::default()
        };
        let read = Block::read(&block);
        assert_eq!(read.transactions[0].code, TxValidationCode::BadPayload);
        assert!(!read.data_hash_matches);
        assert!(serde_json::to_string(&read).unwrap().contains("BAD_PAYLOAD"));
    }
}
