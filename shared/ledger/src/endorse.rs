//! Endorsement: asks as many organizations as the policy needs, puts others in the place of those that are away, and compares what
//! they answer byte for byte.

use std::collections::VecDeque;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;

use crate::error::{Failures, LedgerError};
use crate::limits::Limits;
use crate::node::Node;
use crate::profile::{EndorserGroup, Endorsers};
use crate::proto::peer::{ChaincodeAction, ProposalResponse, ProposalResponsePayload, Response, SignedProposal};
use crate::transaction::Endorsed;

/// Statuses from here on are refusals (`shim.ERRORTHRESHOLD`).
const ERROR_STATUS: i32 = 400;

/// What a peer says of itself (`shim.ERROR`).
const PEER_FAULT_STATUS: i32 = 500;

/// What one organization says.
#[derive(Debug)]
struct Answer {
    msp: String,
    response: ProposalResponse,
}

/// Collects the endorsements that `plan` asks for.
pub(crate) async fn endorse(
    peers: &[Node],
    plan: &Endorsers,
    limits: &Limits,
    tx_id: &str,
    proposal: &SignedProposal,
) -> Result<Endorsed, LedgerError> {
    let required = EndorserGroup { count: plan.required.len(), of: plan.required.clone() };
    let groups: Vec<_> = std::iter::once(&required).chain(&plan.any_of).collect();
    let asked = groups.iter().map(|group| ask_group(peers, group, limits, proposal));
    let mut answers = Vec::new();
    for group in join_all(asked).await {
        answers.extend(group?);
    }
    agree(tx_id, proposal, answers)
}

/// Asks the first `count` organizations at once, and for each that cannot answer the next one.
async fn ask_group(
    peers: &[Node],
    group: &EndorserGroup,
    limits: &Limits,
    proposal: &SignedProposal,
) -> Result<Vec<Answer>, LedgerError> {
    let rested = |msp: &&String| peers.iter().filter(|peer| peer.msp == **msp).all(|peer| peer.is_resting(limits.rest));
    let mut order: Vec<&String> = group.of.iter().collect();
    order.sort_by_key(rested);
    let mut waiting = VecDeque::from(order);
    let mut asked: FuturesUnordered<_> = waiting
        .drain(..group.count.min(group.of.len()))
        .map(|msp| ask_organization(peers, msp, limits, proposal))
        .collect();
    let mut answers = Vec::with_capacity(group.count);
    let mut failures = Failures::default();
    while let Some(answer) = asked.next().await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(found) => {
                failures.0.extend(found.0);
                if let Some(next) = waiting.pop_front() {
                    asked.push(ask_organization(peers, next, limits, proposal));
                }
            }
        }
    }
    if answers.len() < group.count {
        if failures.is_denial() {
            return Err(LedgerError::Denied(failures));
        }
        let silent = |msp: &&String| !answers.iter().any(|answer| answer.msp == **msp);
        let missing: Vec<_> = group.of.iter().filter(silent).map(String::as_str).collect();
        return Err(LedgerError::NotEndorsed { missing: missing.join(" or "), failures });
    }
    Ok(answers)
}

/// Asks an organization's peers one after another until one answers for the contract.
async fn ask_organization(
    peers: &[Node],
    msp: &str,
    limits: &Limits,
    proposal: &SignedProposal,
) -> Result<Answer, Failures> {
    let mut failures = Failures::default();
    let mut own: Vec<_> = peers.iter().filter(|peer| peer.msp == msp).collect();
    own.sort_by_key(|peer| peer.is_resting(limits.rest));
    for peer in own {
        match peer.process_proposal(proposal, limits.simulate).await {
            Ok(response) if speaks_for_contract(&response) => {
                return Ok(Answer { msp: msp.to_owned(), response });
            }
            Ok(response) => {
                failures.note(&peer.name, response.response.unwrap_or_default().message);
            }
            Err(error) => failures.note(&peer.name, error),
        }
    }
    Err(failures)
}

/// Tells a contract's answer, good or bad, from a peer that could not ask it (no chaincode, no channel, a timeout). A peer's own faults have
/// status 500 and no result of a simulation; a contract's refusal of 500 or more has one, a refusal below 500 can only be a
/// contract's, and a chaincode that ends in an error message gives none, but says so.
pub(crate) fn speaks_for_contract(answer: &ProposalResponse) -> bool {
    let response = answer.response.clone().unwrap_or_default();
    (1..PEER_FAULT_STATUS).contains(&response.status)
        || !answer.payload.is_empty()
        || response.message.contains("transaction returned with failure")
}

/// A contract's refusal, if it is one.
pub(crate) fn refusal(answer: &ProposalResponse) -> Option<Response> {
    answer.response.clone().filter(|response| response.status >= ERROR_STATUS)
}

/// One result, or who stands against whom. Refusals count as results: an organization that refuses what others endorse disagrees.
fn agree(tx_id: &str, proposal: &SignedProposal, answers: Vec<Answer>) -> Result<Endorsed, LedgerError> {
    let mut sides: Vec<(Side, Vec<Answer>)> = Vec::new();
    for answer in answers {
        let side = match refusal(&answer.response) {
            Some(refused) => Side::Refused(refused.status, refused.message),
            None => Side::Endorsed(answer.response.payload.clone()),
        };
        match sides.iter_mut().find(|(known, _)| *known == side) {
            Some((_, members)) => members.push(answer),
            None => sides.push((side, vec![answer])),
        }
    }
    sides.sort_by_key(|(_, members)| std::cmp::Reverse(members.len()));
    let mut members = match (sides.len(), sides.pop()) {
        (1, Some((Side::Refused(status, message), _))) => {
            return Err(LedgerError::Refused { status, message });
        }
        (1, Some((Side::Endorsed(_), members))) => members,
        (_, last) => {
            let names = sides.into_iter().chain(last);
            let names = names.map(|(_, members)| members.into_iter().map(|member| member.msp).collect());
            return Err(LedgerError::Disagree { sides: names.collect() });
        }
    };
    members.sort_by(|a, b| a.msp.cmp(&b.msp));
    let by: Vec<String> = members.iter().map(|member| member.msp.clone()).collect();
    let outside = |detail: String| LedgerError::Protocol { node: by.join(" and "), detail };
    // All agree, so the first one's result is everybody's.
    let result = members.first().map(|member| member.response.payload.clone()).unwrap_or_default();
    let signed = ProposalResponsePayload::decode(&result[..])
        .and_then(|payload| ChaincodeAction::decode(&payload.extension[..]))
        .map_err(|error| outside(error.to_string()))?;
    let endorsements: Option<Vec<_>> = members.into_iter().map(|member| member.response.endorsement).collect();
    Ok(Endorsed {
        tx_id: tx_id.to_owned(),
        payload: signed.response.unwrap_or_default().payload,
        endorsements: endorsements.ok_or_else(|| outside("no signature".to_owned()))?,
        by,
        proposal: proposal.proposal_bytes.clone(),
        result,
    })
}

#[derive(PartialEq, Eq)]
enum Side {
    Endorsed(Vec<u8>),
    Refused(i32, String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::peer::Endorsement;

    fn answer(msp: &str, status: i32, value: &str) -> Answer {
        let response = Response { status, message: value.to_owned(), payload: value.into() };
        let action = ChaincodeAction { response: Some(response.clone()), ..Default::default() };
        let payload = ProposalResponsePayload { extension: action.encode_to_vec(), ..Default::default() };
        let response = ProposalResponse {
            response: Some(response),
            payload: payload.encode_to_vec(),
            endorsement: (status < 400).then(Endorsement::default),
            ..Default::default()
        };
        Answer { msp: msp.to_owned(), response }
    }

    fn judge(answers: Vec<Answer>) -> Result<Endorsed, LedgerError> {
        agree("id", &SignedProposal::default(), answers)
    }

    #[test]
    fn equal_results_are_one() {
        let both = judge(vec![answer("RcMSP", 200, "x"), answer("OperatorMSP", 200, "x")]).unwrap();
        assert_eq!(both.payload, b"x");
        assert_eq!(both.by, ["OperatorMSP", "RcMSP"]);
        assert_eq!(both.endorsements.len(), 2);
    }

    #[test]
    fn who_differs_is_named() {
        let answers = vec![answer("SpMSP", 200, "y"), answer("OperatorMSP", 200, "x"), answer("RcMSP", 200, "x")];
        let error = judge(answers).unwrap_err();
        assert_eq!(error.to_string(), "organizations disagree: OperatorMSP and RcMSP against SpMSP");
        assert!(error.retryable());
    }

    #[test]
    fn a_refusal_by_all_is_the_contracts_and_by_one_a_disagreement() {
        let all = judge(vec![answer("RcMSP", 500, "no"), answer("OperatorMSP", 500, "no")]);
        assert!(matches!(all, Err(LedgerError::Refused { status: 500, .. })), "{all:?}");
        let one = judge(vec![answer("RcMSP", 500, "no"), answer("OperatorMSP", 200, "x")]);
        assert!(matches!(one, Err(LedgerError::Disagree { .. })), "{one:?}");
    }
}
