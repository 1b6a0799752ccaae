//! The committer's judgement of a block's transactions, with Fabric's codes.

use std::collections::{BTreeSet, HashSet};

use prost::Message;
use vitro_ledger::TxValidationCode as Code;
use vitro_ledger::proposal::{proposal_hash, tx_id};
use vitro_ledger::proto::common::{ChannelHeader, Envelope, HeaderType, Payload, SignatureHeader};
use vitro_ledger::proto::peer::{
    ChaincodeAction, ChaincodeHeaderExtension, ChaincodeProposalPayload, Endorsement, ProposalResponsePayload,
};
use vitro_ledger::proto::rwset::{
    KvRwSet, KvWrite, RangeQueryInfo, TxReadWriteSet, Version, range_query_info::ReadsInfo,
};
use vitro_ledger::proto::transaction::{ChaincodeActionPayload, Transaction};

use crate::members::{Members, Role};
use crate::organizations::policy_holds;
use crate::state::{Pending, State};

/// What every transaction is judged by.
pub(crate) struct Rules<'a> {
    /// The organizations.
    pub members: &'a Members,
    /// The channel's name.
    pub channel: &'a str,
    /// The chaincode's name.
    pub chaincode: &'a str,
}

/// A transaction's verdict.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The transaction's id; empty where it cannot be read.
    pub tx_id: String,
    /// The code.
    pub code: Code,
    /// What it writes, if it is valid.
    pub writes: Vec<KvWrite>,
}

/// What a transaction claims, once all that does not depend on the state is found good.
struct WellFormed {
    rwset: KvRwSet,
}

impl Rules<'_> {
    /// Judges a block's envelopes in order.
    #[must_use]
    pub(crate) fn judge(
        &self,
        number: u64,
        envelopes: &[Vec<u8>],
        state: &State,
        is_known: impl Fn(&str) -> bool,
    ) -> Vec<Verdict> {
        let mut seen = HashSet::new();
        let mut pending = Pending::new();
        let place = 0_u64..;
        let judged = envelopes.iter().zip(place).map(|(envelope, tx_num)| {
            let id = read_id(envelope);
            let invalid = |code| Verdict { tx_id: id.clone(), code, writes: Vec::new() };
            let form = match self.form(envelope) {
                Ok(form) => form,
                Err(code) => return invalid(code),
            };
            if is_known(&id) || !seen.insert(id.clone()) {
                return invalid(Code::DuplicateTxid);
            }
            if let Err(code) = conflicts(state, &pending, &form.rwset) {
                return invalid(code);
            }
            let version = Version { block_num: number, tx_num };
            for write in &form.rwset.writes {
                let value = (!write.is_delete).then(|| write.value.clone());
                pending.insert(write.key.clone(), (value, version));
            }
            Verdict { tx_id: id.clone(), code: Code::Valid, writes: form.rwset.writes }
        });
        judged.collect()
    }

    /// All that does not depend on the state: form, author, endorsements.
    fn form(&self, envelope: &[u8]) -> Result<WellFormed, Code> {
        let envelope = Envelope::decode(envelope).map_err(|_| Code::InvalidOtherReason)?;
        if envelope.payload.is_empty() {
            return Err(Code::NilEnvelope);
        }
        let payload = Payload::decode(&envelope.payload[..]).map_err(|_| Code::BadPayload)?;
        let header = payload.header.ok_or(Code::BadCommonHeader)?;
        let channel = ChannelHeader::decode(&header.channel_header[..]).map_err(|_| Code::BadChannelHeader)?;
        let author = SignatureHeader::decode(&header.signature_header[..]).map_err(|_| Code::BadCommonHeader)?;
        if author.nonce.is_empty() || author.creator.is_empty() || channel.epoch != 0 {
            return Err(Code::BadCommonHeader);
        }
        self.members
            .find(&author.creator)
            .and_then(|member| member.verify(&envelope.payload, &envelope.signature))
            .map_err(|_| Code::BadCreatorSignature)?;
        if channel.channel_id != self.channel {
            return Err(Code::TargetChainNotFound);
        }
        if channel.r#type != HeaderType::EndorserTransaction as i32 {
            return Err(Code::UnknownTxType);
        }
        if channel.tx_id != tx_id(&author.nonce, &author.creator) {
            return Err(Code::BadProposalTxid);
        }
        let extension =
            ChaincodeHeaderExtension::decode(&channel.extension[..]).map_err(|_| Code::BadHeaderExtension)?;
        let named = extension.chaincode_id.unwrap_or_default().name;
        let transaction = Transaction::decode(&payload.data[..]).map_err(|_| Code::BadPayload)?;
        let [action] = &transaction.actions[..] else {
            return Err(Code::InvalidEndorserTransaction);
        };
        if action.header != header.signature_header {
            return Err(Code::InvalidEndorserTransaction);
        }
        let action =
            ChaincodeActionPayload::decode(&action.payload[..]).map_err(|_| Code::InvalidEndorserTransaction)?;
        let call = &action.chaincode_proposal_payload;
        if ChaincodeProposalPayload::decode(&call[..]).is_err() {
            return Err(Code::InvalidEndorserTransaction);
        }
        let endorsed = action.action.ok_or(Code::InvalidEndorserTransaction)?;
        let signed = &endorsed.proposal_response_payload;
        let result = ProposalResponsePayload::decode(&signed[..]).map_err(|_| Code::BadResponsePayload)?;
        let hash = proposal_hash(&header.channel_header, &header.signature_header, call);
        if result.proposal_hash[..] != hash {
            return Err(Code::InvalidEndorserTransaction);
        }
        let result = ChaincodeAction::decode(&result.extension[..]).map_err(|_| Code::BadResponsePayload)?;
        let rwset = self.writes_of(&named, &result)?;
        if !self.is_endorsed(signed, &endorsed.endorsements) {
            return Err(Code::EndorsementPolicyFailure);
        }
        Ok(WellFormed { rwset })
    }

    /// The one namespace that there is.
    fn writes_of(&self, named: &str, result: &ChaincodeAction) -> Result<KvRwSet, Code> {
        let chaincode = result.chaincode_id.clone().unwrap_or_default().name;
        if chaincode != named || chaincode != self.chaincode {
            return Err(Code::InvalidChaincode);
        }
        let all = TxReadWriteSet::decode(&result.results[..]).map_err(|_| Code::BadRwset)?;
        match &all.ns_rwset[..] {
            [] => Ok(KvRwSet::default()),
            [one] if one.namespace == self.chaincode => KvRwSet::decode(&one.rwset[..]).map_err(|_| Code::BadRwset),
            _ => Err(Code::IllegalWriteset),
        }
    }

    /// Whether peers of enough organizations signed this result. A bad signature counts for nothing and harms nothing.
    fn is_endorsed(&self, result: &[u8], endorsements: &[Endorsement]) -> bool {
        let signed = |endorsement: &Endorsement| {
            let member = self.members.find(&endorsement.endorser).ok()?;
            let message = [result, &endorsement.endorser].concat();
            member.verify(&message, &endorsement.signature).ok()?;
            (member.role == Role::Peer).then(|| member.msp.clone())
        };
        let by: BTreeSet<String> = endorsements.iter().filter_map(signed).collect();
        policy_holds(&by)
    }
}

/// The transaction's id, as far as it can be read.
pub(crate) fn read_id(envelope: &[u8]) -> String {
    let read = || {
        let envelope = Envelope::decode(envelope).ok()?;
        let header = Payload::decode(&envelope.payload[..]).ok()?.header?;
        Some(ChannelHeader::decode(&header.channel_header[..]).ok()?.tx_id)
    };
    read().unwrap_or_default()
}

/// The writes of a transaction that is known to be valid.
pub(crate) fn read_writes(envelope: &[u8]) -> Result<Vec<KvWrite>, prost::DecodeError> {
    let payload = Payload::decode(&Envelope::decode(envelope)?.payload[..])?;
    let mut writes = Vec::new();
    for action in Transaction::decode(&payload.data[..])?.actions {
        let action = ChaincodeActionPayload::decode(&action.payload[..])?;
        let result = action.action.unwrap_or_default().proposal_response_payload;
        let result = ProposalResponsePayload::decode(&result[..])?;
        let result = ChaincodeAction::decode(&result.extension[..])?;
        for namespace in TxReadWriteSet::decode(&result.results[..])?.ns_rwset {
            writes.extend(KvRwSet::decode(&namespace.rwset[..])?.writes);
        }
    }
    Ok(writes)
}

fn conflicts(state: &State, pending: &Pending, rwset: &KvRwSet) -> Result<(), Code> {
    if !rwset.reads.iter().all(|read| state.is_current(pending, read)) {
        return Err(Code::MvccReadConflict);
    }
    for range in &rwset.range_queries_info {
        let RangeQueryInfo { start_key, end_key, reads_info, .. } = range;
        let seen = match reads_info {
            Some(ReadsInfo::RawReads(seen)) => &seen.kv_reads[..],
            None => &[],
            // Our peers never summarise a range by hashes, so nobody endorsed such a one.
            Some(_) => return Err(Code::BadRwset),
        };
        if !state.range_is_current(pending, start_key, end_key, seen) {
            return Err(Code::PhantomReadConflict);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaincode::Simulation;
    use proptest::prelude::*;

    /// A call that reads keys and a range and writes what it saw into keys.
    #[derive(Clone, Debug)]
    struct Call {
        reads: Vec<u8>,
        range: Option<(u8, u8)>,
        writes: Vec<(u8, bool)>,
    }

    fn key(number: u8) -> String {
        format!("k{number}")
    }

    fn run(call: &Call, tag: usize, state: &State) -> KvRwSet {
        let mut simulation = Simulation::new(state);
        let mut seen = format!("{tag}");
        for number in &call.reads {
            seen.push_str(&format!("{:?}", simulation.get(&key(*number))));
        }
        if let Some((start, end)) = call.range {
            seen.push_str(&format!("{:?}", simulation.range(&key(start), &key(end))));
        }
        for (number, deletes) in &call.writes {
            if *deletes {
                simulation.delete(&key(*number));
            } else {
                simulation.put(&key(*number), seen.clone().into_bytes());
            }
        }
        let results = TxReadWriteSet::decode(&simulation.results("c")[..]).unwrap();
        KvRwSet::decode(&results.ns_rwset[0].rwset[..]).unwrap()
    }

    fn call() -> impl Strategy<Value = Call> {
        let keys = 0_u8..6;
        let reads = prop::collection::vec(keys.clone(), 0..3);
        let range = prop::option::of((keys.clone(), keys.clone()));
        let writes = prop::collection::vec((keys, any::<bool>()), 0..3);
        (reads, range, writes).prop_map(|(reads, range, writes)| Call { reads, range, writes })
    }

    proptest! {
        /// Calls simulated at once against one state and found valid in their order have done what they would have done one after
        /// another.
        #[test]
        fn what_is_valid_is_as_if_run_in_order(blocks in prop::collection::vec(prop::collection::vec(call(), 1..6), 1..4)) {
            let mut state = State::default();
            for (block, calls) in (0_u64..).zip(blocks) {
                let simulated: Vec<_> = calls.iter().enumerate().map(|(tag, call)| run(call, tag, &state)).collect();
                let base = state.clone();
                let mut pending = Pending::new();
                for (tag, (call, rwset)) in calls.iter().zip(simulated).enumerate() {
                    if conflicts(&base, &pending, &rwset).is_err() {
                        continue;
                    }
                    prop_assert_eq!(&run(call, tag, &state).writes, &rwset.writes);
                    let version = Version { block_num: block, tx_num: tag as u64 };
                    for write in &rwset.writes {
                        let value = (!write.is_delete).then(|| write.value.clone());
                        pending.insert(write.key.clone(), (value, version));
                    }
                    state.apply(&rwset.writes, version);
                }
            }
        }

        #[test]
        fn garbage_is_judged_and_never_panics(envelopes in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
            let members = Members::new(std::iter::empty()).unwrap();
            let rules = Rules { members: &members, channel: "c", chaincode: "v" };
            let verdicts = rules.judge(1, &envelopes, &State::default(), |_| false);
            prop_assert_eq!(verdicts.len(), envelopes.len());
            prop_assert!(verdicts.iter().all(|verdict| verdict.code != Code::Valid));
        }
    }
}
