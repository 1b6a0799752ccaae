//! Proposals: from a call to the bytes that its author signs. Pure; whoever holds the key may be elsewhere.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::identity;
use crate::proto::common::{ChannelHeader, Header, HeaderType, SignatureHeader};
use crate::proto::peer::{
    self, ChaincodeHeaderExtension, ChaincodeId, ChaincodeInput, ChaincodeInvocationSpec, ChaincodeProposalPayload,
    ChaincodeSpec, SignedProposal,
};
use crate::proto::prost_types::Timestamp;
use crate::signature;

/// Bytes of randomness in a transaction's id.
pub const NONCE_BYTES: usize = 24;

/// A number used once per transaction; it makes the transaction's id.
pub type Nonce = [u8; NONCE_BYTES];

/// A call of a contract.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The channel.
    pub channel: &'a str,
    /// The chaincode's name.
    pub chaincode: &'a str,
    /// The function: the first argument, as Fabric's shims have it.
    pub function: &'a str,
    /// The arguments behind it.
    pub args: &'a [Vec<u8>],
}

/// A proposal that nobody signed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The id of the transaction that comes of it.
    pub tx_id: String,
    /// The bytes to sign.
    pub bytes: Vec<u8>,
}

impl Proposal {
    /// Writes a proposal of `creator` (see [`identity::creator`]) at an instant, the transaction's timestamp.
    #[must_use]
    pub fn new(call: &Call<'_>, creator: &[u8], nonce: &Nonce, now: SystemTime) -> Self {
        let tx_id = tx_id(nonce, creator);
        let chaincode_id = Some(ChaincodeId { name: call.chaincode.to_owned(), ..ChaincodeId::default() });
        let extension = ChaincodeHeaderExtension { chaincode_id: chaincode_id.clone() }.encode_to_vec();
        let channel = ChannelHeader {
            tx_id: tx_id.clone(),
            extension,
            ..channel_header(HeaderType::EndorserTransaction, call.channel, now)
        };
        let header = header(&channel, creator, nonce);
        let mut args = Vec::with_capacity(call.args.len() + 1);
        args.push(call.function.as_bytes().to_vec());
        args.extend_from_slice(call.args);
        let input = ChaincodeInput { args, ..ChaincodeInput::default() };
        let spec = ChaincodeSpec {
            r#type: peer::chaincode_spec::Type::Golang as i32,
            chaincode_id,
            input: Some(input),
            timeout: 0,
        };
        let input = ChaincodeInvocationSpec { chaincode_spec: Some(spec) }.encode_to_vec();
        let payload = ChaincodeProposalPayload { input, ..ChaincodeProposalPayload::default() }.encode_to_vec();
        let bytes = peer::Proposal { header: header.encode_to_vec(), payload, extension: Vec::new() }.encode_to_vec();
        Self { tx_id, bytes }
    }

    /// The digest that the creator's key signs.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        identity::digest(&self.bytes)
    }

    /// Joins a raw signature (r then s) over [`Proposal::digest`] to it.
    #[must_use]
    pub fn signed(&self, raw: vitro_proof::Signature) -> SignedProposal {
        self.with_signature(signature::to_fabric(raw))
    }

    /// Joins a signature that already has Fabric's form to it.
    #[must_use]
    pub fn with_signature(&self, signature: Vec<u8>) -> SignedProposal {
        SignedProposal { proposal_bytes: self.bytes.clone(), signature }
    }
}

/// The id of a transaction: SHA-256 over nonce and creator, in hexadecimal.
#[must_use]
pub fn tx_id(nonce: &[u8], creator: &[u8]) -> String {
    hex::encode(Sha256::new().chain_update(nonce).chain_update(creator).finalize())
}

/// What endorsers sign to say which proposal they answer: SHA-256 over channel header, signature header and the payload
/// without its transient map.
#[must_use]
pub fn proposal_hash(channel_header: &[u8], signature_header: &[u8], payload: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [channel_header, signature_header, payload] {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// A channel header without an id.
pub(crate) fn channel_header(kind: HeaderType, channel: &str, now: SystemTime) -> ChannelHeader {
    ChannelHeader {
        r#type: kind as i32,
        version: 0,
        timestamp: Some(timestamp(now)),
        channel_id: channel.to_owned(),
        tx_id: String::new(),
        epoch: 0,
        extension: Vec::new(),
        tls_cert_hash: Vec::new(),
    }
}

pub(crate) fn header(channel_header: &ChannelHeader, creator: &[u8], nonce: &Nonce) -> Header {
    let signature_header = SignatureHeader { creator: creator.to_vec(), nonce: nonce.to_vec() };
    Header { channel_header: channel_header.encode_to_vec(), signature_header: signature_header.encode_to_vec() }
}

fn timestamp(now: SystemTime) -> Timestamp {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_inputs_make_the_same_bytes_and_the_id_is_of_nonce_and_creator() {
        let args = [vec![1], vec![]];
        let call = Call { channel: "c", chaincode: "vitro", function: "f", args: &args };
        let make = |nonce| Proposal::new(&call, b"me", &[nonce; NONCE_BYTES], UNIX_EPOCH);
        assert_eq!(make(1), make(1));
        assert_ne!(make(1).tx_id, make(2).tx_id);
        let read = peer::Proposal::decode(&make(1).bytes[..]).unwrap();
        let header = Header::decode(&read.header[..]).unwrap();
        let channel = ChannelHeader::decode(&header.channel_header[..]).unwrap();
        assert_eq!(channel.tx_id, tx_id(&[1; NONCE_BYTES], b"me"));
        assert_eq!(channel.r#type, 3);
        let payload = ChaincodeProposalPayload::decode(&read.payload[..]).unwrap();
        let spec = ChaincodeInvocationSpec::decode(&payload.input[..]).unwrap();
        let input = spec.chaincode_spec.unwrap().input.unwrap();
        assert_eq!(input.args, [b"f".to_vec(), vec![1], vec![]]);
    }
}
