//! A peer's Endorser service: checks a proposal, simulates it, signs the result.

use std::sync::Arc;
use std::time::SystemTime;

use prost::Message;
use tonic::Status;
use vitro_ledger::Identity;
use vitro_ledger::proposal::{proposal_hash, tx_id};
use vitro_ledger::proto::common::{ChannelHeader, Header, HeaderType, SignatureHeader};
use vitro_ledger::proto::peer::{
    ChaincodeAction, ChaincodeEvent, ChaincodeHeaderExtension, ChaincodeId, ChaincodeInvocationSpec,
    ChaincodeProposalPayload, Endorsement, Proposal, ProposalResponse, ProposalResponsePayload, Response,
    SignedProposal,
};
use vitro_ledger::proto::prost_types::Timestamp;

use crate::chain::Chain;
use crate::chaincode::{Answer, CallContext, Chaincode, Refusal, Simulation};
use crate::members::Member;
use crate::{cscc, qscc};

/// One organization's peer. All peers of this process share the committed state; each signs with its own key.
pub(crate) struct Endorser {
    identity: Identity,
    chain: Arc<Chain>,
    chaincode: Arc<dyn Chaincode>,
}

/// A proposal that passed every check.
struct Checked {
    author: Arc<Member>,
    header: Header,
    channel: ChannelHeader,
    payload: Vec<u8>,
    chaincode: String,
    args: Vec<Vec<u8>>,
}

impl Endorser {
    /// A peer that signs as `identity`.
    #[must_use]
    pub(crate) fn new(identity: Identity, chain: Arc<Chain>, chaincode: Arc<dyn Chaincode>) -> Self {
        Self { identity, chain, chaincode }
    }

    /// Answers a proposal. As on Fabric, a proposal that is not valid is a gRPC error, any other fault of the peer is status 500 without a
    /// payload, a contract's refusal has no endorsement, and the simulation's payload only from 500 on.
    pub(crate) fn process(&self, signed: &SignedProposal) -> Result<ProposalResponse, Status> {
        let checked = self.check(signed).map_err(Status::unknown)?;
        Ok(self.run(&checked).unwrap_or_else(|message| ProposalResponse {
            response: Some(Response { status: 500, message, payload: Vec::new() }),
            ..ProposalResponse::default()
        }))
    }

    fn check(&self, signed: &SignedProposal) -> Result<Checked, String> {
        let invalid = |what: &str| format!("error validating proposal: {what}");
        let proposal =
            Proposal::decode(&signed.proposal_bytes[..]).map_err(|_| invalid("the proposal cannot be read"))?;
        let header = Header::decode(&proposal.header[..]).map_err(|_| invalid("the header cannot be read"))?;
        let channel = ChannelHeader::decode(&header.channel_header[..])
            .map_err(|_| invalid("the channel header cannot be read"))?;
        let creator = SignatureHeader::decode(&header.signature_header[..])
            .map_err(|_| invalid("the signature header cannot be read"))?;
        if channel.r#type != HeaderType::EndorserTransaction as i32 {
            return Err(invalid("the header's type is not that of an endorser transaction"));
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let author = self.chain.members().find(&creator.creator).and_then(|member| {
            member.check_time(now)?;
            member.verify(&signed.proposal_bytes, &signed.signature)?;
            Ok(member)
        });
        let author = author
            .map_err(|why| invalid(&format!("access denied: channel [{}] creator: {why}", channel.channel_id)))?;
        if creator.nonce.is_empty() || channel.tx_id != tx_id(&creator.nonce, &creator.creator) {
            return Err(invalid("the transaction's id is not that of nonce and creator"));
        }
        if self.chain.knows(&channel.tx_id) {
            return Err(format!("duplicate transaction found [{}]", channel.tx_id));
        }
        let extension = ChaincodeHeaderExtension::decode(&channel.extension[..])
            .map_err(|_| invalid("the header's extension cannot be read"))?;
        let named = extension.chaincode_id.unwrap_or_default().name;
        let mut payload = ChaincodeProposalPayload::decode(&proposal.payload[..])
            .map_err(|_| invalid("the payload cannot be read"))?;
        payload.transient_map.clear();
        let call =
            ChaincodeInvocationSpec::decode(&payload.input[..]).map_err(|_| invalid("the input cannot be read"))?;
        let call = call.chaincode_spec.unwrap_or_default();
        if call.chaincode_id.unwrap_or_default().name != named {
            return Err(invalid("header and payload name different chaincodes"));
        }
        Ok(Checked {
            author,
            header,
            channel,
            payload: payload.encode_to_vec(),
            chaincode: named,
            args: call.input.unwrap_or_default().args,
        })
    }

    fn run(&self, proposal: &Checked) -> Result<ProposalResponse, String> {
        if proposal.channel.channel_id != self.chain.channel() {
            return Err(format!("channel '{}' not found", proposal.channel.channel_id));
        }
        let function = proposal.args.first().map(|name| String::from_utf8_lossy(name));
        let function = function.unwrap_or_default();
        let args = proposal.args.get(1..).unwrap_or_default();
        let (answer, results) = if proposal.chaincode == qscc::NAME {
            (qscc::answer(&self.chain, &function, args), Vec::new())
        } else if proposal.chaincode == cscc::NAME {
            (cscc::answer(&self.chain, &function, args), Vec::new())
        } else if proposal.chaincode == self.chain.chaincode() {
            self.simulate(proposal, &function, args)
        } else {
            let name = &proposal.chaincode;
            return Err(format!("chaincode {name} not found: no such chaincode on this channel"));
        };
        let (response, event) = match answer {
            Ok(Answer { payload, event }) => (Response { status: 200, message: String::new(), payload }, event),
            Err(Refusal { status, message }) => (Response { status, message, payload: Vec::new() }, None),
        };
        let events = event.map(|(event_name, payload)| ChaincodeEvent {
            chaincode_id: proposal.chaincode.clone(),
            tx_id: proposal.channel.tx_id.clone(),
            event_name,
            payload,
        });
        let action = ChaincodeAction {
            results,
            events: events.map(|event| event.encode_to_vec()).unwrap_or_default(),
            response: Some(response.clone()),
            chaincode_id: Some(ChaincodeId {
                path: String::new(),
                name: proposal.chaincode.clone(),
                version: "1.0".to_owned(),
            }),
        };
        let Header { channel_header, signature_header } = &proposal.header;
        let payload = ProposalResponsePayload {
            proposal_hash: proposal_hash(channel_header, signature_header, &proposal.payload).to_vec(),
            extension: action.encode_to_vec(),
        }
        .encode_to_vec();
        let endorsement = (response.status < 400).then(|| self.endorse(&payload)).transpose()?;
        let has_payload = !(400..500).contains(&response.status);
        Ok(ProposalResponse {
            version: 1,
            timestamp: Some(Timestamp::from(SystemTime::now())),
            response: Some(response),
            payload: if has_payload { payload } else { Vec::new() },
            endorsement,
            interest: None,
        })
    }

    fn simulate(&self, proposal: &Checked, function: &str, args: &[Vec<u8>]) -> (Result<Answer, Refusal>, Vec<u8>) {
        let timestamp = proposal.channel.timestamp.as_ref();
        let context = CallContext {
            tx_id: &proposal.channel.tx_id,
            timestamp: timestamp.map(|timestamp| timestamp.seconds).unwrap_or_default(),
            channel: &proposal.channel.channel_id,
            creator: &proposal.author,
        };
        self.chain.with_state(|state| {
            let mut simulation = Simulation::new(state);
            let answer = self.chaincode.invoke(&context, &mut simulation, function, args);
            (answer, simulation.results(self.chain.chaincode()))
        })
    }

    fn endorse(&self, payload: &[u8]) -> Result<Endorsement, String> {
        let endorser = self.identity.creator().to_vec();
        let message = [payload, &endorser].concat();
        let signature = self.identity.sign(&message).map_err(|error| error.to_string())?;
        Ok(Endorsement { endorser, signature })
    }
}
