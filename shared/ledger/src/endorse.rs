//! Endorsement: asks as many organizations as the plan needs, puts others in the place of those that are away or whose endorsement is not
//! theirs, and asks the rest when those asked do not say the same. One organization that answers wrongly stops nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::authorities::Authorities;
use crate::compare::{Side, difference, sides_of};
use crate::error::{Failures, LedgerError};
use crate::limits::Limits;
use crate::node::Node;
use crate::profile::Endorsers;
use crate::proto::peer::{ProposalResponse, Response, SignedProposal};
use crate::transaction::Endorsed;

/// Statuses from here on are refusals (`shim.ERRORTHRESHOLD`).
const ERROR_STATUS: i32 = 400;

/// What a peer says of itself (`shim.ERROR`).
const PEER_FAULT_STATUS: i32 = 500;

/// What one organization says.
pub(crate) struct Answer<'a> {
    pub(crate) msp: &'a str,
    /// The peer that says it; none in a test.
    pub(crate) peer: Option<&'a Node>,
    pub(crate) response: ProposalResponse,
}

/// A proposal and whom it is put to.
pub(crate) struct Question<'a> {
    pub(crate) peers: &'a [Node],
    pub(crate) plan: &'a Endorsers,
    pub(crate) limits: &'a Limits,
    /// The organizations' CAs, where they are known.
    pub(crate) authorities: Option<&'a Authorities>,
    pub(crate) tx_id: &'a str,
    pub(crate) proposal: &'a SignedProposal,
}

impl<'a> Question<'a> {
    /// Collects the endorsements that the plan asks for.
    pub(crate) async fn endorse(&self) -> Result<Endorsed, LedgerError> {
        let (answers, failures) = self.collect().await;
        let spoke = answers.iter().map(|answer| answer.msp).collect();
        if !self.plan.satisfied_by(&spoke) {
            return Err(self.too_few(&spoke, failures));
        }
        let failures = Failures(failures.into_values().flat_map(|failures| failures.0).collect());
        judge(self.plan, self.tx_id, self.proposal, answers, failures)
    }

    /// One answer an organization: of the required ones and of as many as each group counts; of all, if these do not say the same.
    async fn collect(&self) -> (Vec<Answer<'a>>, BTreeMap<&'a str, Failures>) {
        let mut first: Vec<&str> = self.plan.required.iter().map(String::as_str).collect();
        let mut spare: Vec<(BTreeSet<&str>, VecDeque<&str>)> = Vec::new();
        for group in &self.plan.any_of {
            let mut order: VecDeque<&str> = self.by_rest(&group.of).into();
            first.extend(order.drain(..group.count.min(group.of.len())));
            spare.push((group.of.iter().map(String::as_str).collect(), order));
        }
        let ask = |msp| async move { (msp, self.ask_organization(msp).await) };
        let mut asked: FuturesUnordered<_> = first.into_iter().map(ask).collect();
        let (mut answers, mut failures) = (Vec::new(), BTreeMap::new());
        let mut all_asked = false;
        loop {
            while let Some((msp, answer)) = asked.next().await {
                match answer {
                    Ok(answer) => answers.push(answer),
                    Err(found) => {
                        failures.insert(msp, found);
                        let of_its_group = spare.iter_mut().find(|(members, _)| members.contains(msp));
                        asked.extend(of_its_group.and_then(|(_, order)| order.pop_front()).map(ask));
                    }
                }
                // Once all are asked, nobody waits longer than it takes for enough of them to say the same.
                if all_asked && sides_of(&answers).iter().any(|(_, side)| self.plan.satisfied_by(&names(side))) {
                    return (answers, failures);
                }
            }
            if all_asked || sides_of(&answers).len() < 2 {
                return (answers, failures);
            }
            all_asked = true;
            asked.extend(spare.iter_mut().flat_map(|(_, order)| order.drain(..)).map(ask));
        }
    }

    /// In the order given, those last whose peers all failed, or stood against the others, a moment ago.
    fn by_rest(&self, organizations: &'a [String]) -> Vec<&'a str> {
        let mut order: Vec<&str> = organizations.iter().map(String::as_str).collect();
        let rested = |msp: &&str| {
            self.peers.iter().filter(|peer| peer.msp == *msp).all(|peer| peer.is_resting(self.limits.rest))
        };
        order.sort_by_key(rested);
        order
    }

    /// Asks an organization's peers one after another until one answers for the contract, and with an endorsement that is its own.
    async fn ask_organization(&self, msp: &'a str) -> Result<Answer<'a>, Failures> {
        let mut failures = Failures::default();
        let mut own: Vec<_> = self.peers.iter().filter(|peer| peer.msp == msp).collect();
        own.sort_by_key(|peer| peer.is_resting(self.limits.rest));
        for peer in own {
            match peer.process_proposal(self.proposal, self.limits.simulate).await {
                Ok(response) if speaks_for_contract(&response) => {
                    let checked = match refusal(&response) {
                        // A refusal has no endorsement.
                        Some(_) => Ok(()),
                        None => crate::authorities::check_endorsement(&response, msp, self.authorities),
                    };
                    match checked {
                        Ok(()) => return Ok(Answer { msp, peer: Some(peer), response }),
                        Err(cause) => {
                            tracing::warn!(peer = peer.name, msp, cause, "an endorsement is not its organization's");
                            peer.put_behind();
                            failures.note(&peer.name, cause);
                        }
                    }
                }
                Ok(response) => {
                    failures.note(&peer.name, response.response.unwrap_or_default().message);
                }
                Err(error) => failures.note(&peer.name, error),
            }
        }
        Err(failures)
    }

    /// The error that names of whom one more would be needed.
    fn too_few(&self, spoke: &BTreeSet<&str>, mut failures: BTreeMap<&'a str, Failures>) -> LedgerError {
        let silent = |of: &'a [String]| -> Vec<&'a str> {
            of.iter().map(String::as_str).filter(|msp| !spoke.contains(msp)).collect()
        };
        let required = silent(&self.plan.required);
        let short = self
            .plan
            .any_of
            .iter()
            .map(|group| (silent(&group.of), group))
            .find(|(silent, group)| group.of.len() - silent.len() < group.count);
        let (missing, between) = match short {
            Some((silent, _)) if required.is_empty() => (silent, " or "),
            _ => (required, " and "),
        };
        let failures =
            Failures(missing.iter().filter_map(|msp| failures.remove(msp)).flat_map(|found| found.0).collect());
        if failures.is_denial() {
            return LedgerError::Denied(failures);
        }
        LedgerError::NotEndorsed { missing: missing.join(between), failures }
    }
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

fn names<'a>(side: &[&Answer<'a>]) -> BTreeSet<&'a str> {
    side.iter().map(|answer| answer.msp).collect()
}

/// The result of those that say the same and satisfy the plan. Refusals count as results: who refuses what others endorse stands against them. A
/// refusal is the contract's own only if nobody stands against it: where somebody endorses, it is told as a disagreement, and the next
/// attempt does without whoever was alone.
fn judge(
    plan: &Endorsers,
    tx_id: &str,
    proposal: &SignedProposal,
    answers: Vec<Answer<'_>>,
    failures: Failures,
) -> Result<Endorsed, LedgerError> {
    let mut sides = sides_of(&answers);
    // The largest first; of two that are equally large the one that satisfies the plan, if any.
    sides.sort_by_key(|(_, side)| (std::cmp::Reverse(side.len()), !plan.satisfied_by(&names(side))));
    let chosen = sides.iter().position(|(_, side)| plan.satisfied_by(&names(side)));
    let clear = sides.len() > 1 && sides[0].1.len() > sides[1].1.len();
    let right = chosen.or(clear.then_some(0));
    let mut differs = String::new();
    for (index, (side, members)) in sides.iter().enumerate() {
        let Some(right) = right.filter(|right| *right != index) else { continue };
        differs = difference(&sides[right].0, side);
        let against: Vec<_> = names(members).into_iter().collect();
        let with: Vec<_> = names(&sides[right].1).into_iter().collect();
        tracing::warn!(tx_id, against = against.join(", "), with = with.join(", "), differs, "organizations disagree");
        members.iter().filter_map(|member| member.peer).for_each(Node::put_behind);
    }
    if right.is_none()
        && let [(one, _), (other, _), ..] = &sides[..]
    {
        differs = difference(one, other);
    }
    match chosen.map(|index| (&sides[index], sides.len())) {
        Some(((Side::Refused(status, message), _), 1)) => {
            Err(LedgerError::Refused { status: *status, message: message.clone() })
        }
        Some(((Side::Endorsed(_), members), _)) => {
            let against = answers.iter().map(|answer| answer.msp.to_owned());
            let against = against.filter(|msp| !members.iter().any(|member| member.msp == msp)).collect();
            Endorsed::join(tx_id, proposal, members, against)
        }
        _ => {
            let named =
                |(_, members): &(Side, Vec<&Answer<'_>>)| names(members).into_iter().map(str::to_owned).collect();
            Err(LedgerError::Disagree { sides: sides.iter().map(named).collect(), differs, failures })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::EndorserGroup;
    use crate::proto::peer::{ChaincodeAction, Endorsement, ProposalResponsePayload};
    use prost::Message;

    fn answer<'a>(msp: &'a str, status: i32, value: &str) -> Answer<'a> {
        let response = Response { status, message: value.to_owned(), payload: value.into() };
        let action = ChaincodeAction { response: Some(response.clone()), ..Default::default() };
        let payload = ProposalResponsePayload { extension: action.encode_to_vec(), ..Default::default() };
        let response = ProposalResponse {
            response: Some(response),
            payload: payload.encode_to_vec(),
            endorsement: (status < 400).then(Endorsement::default),
            ..Default::default()
        };
        Answer { msp, peer: None, response }
    }

    fn decide(answers: Vec<Answer<'_>>) -> Result<Endorsed, LedgerError> {
        let plan = Endorsers {
            required: vec!["OperatorMSP".into()],
            any_of: vec![EndorserGroup { count: 2, of: ["RcMSP", "DvMSP", "SpMSP"].map(str::to_owned).to_vec() }],
        };
        judge(&plan, "id", &SignedProposal::default(), answers, Failures::default())
    }

    const ALL: [&str; 4] = ["RcMSP", "OperatorMSP", "SpMSP", "DvMSP"];

    #[test]
    fn equal_results_are_one() {
        let all = decide(ALL[..3].iter().map(|msp| answer(msp, 200, "x")).collect()).unwrap();
        assert_eq!(all.payload, b"x");
        assert_eq!(all.by, ["OperatorMSP", "RcMSP", "SpMSP"]);
        assert_eq!((all.endorsements.len(), all.against.len()), (3, 0));
    }

    #[test]
    fn who_differs_alone_is_named_and_left_out() {
        for status in [200, 404, 500] {
            for alone in ["RcMSP", "DvMSP", "SpMSP"] {
                let says = |msp| if msp == alone { answer(msp, status, "y") } else { answer(msp, 200, "x") };
                let endorsed = decide(ALL.into_iter().map(says).collect()).unwrap();
                assert_eq!((endorsed.payload, endorsed.endorsements.len()), (b"x".to_vec(), 3));
                assert_eq!(endorsed.against, [alone]);
                assert!(!endorsed.by.contains(&alone.to_owned()));
            }
        }
    }

    #[test]
    fn nothing_is_endorsed_against_the_operator_or_by_half() {
        let says = |against: &'static [&str]| {
            move |msp| if against.contains(&msp) { answer(msp, 200, "y") } else { answer(msp, 200, "x") }
        };
        let error = decide(ALL.into_iter().map(says(&["OperatorMSP"])).collect()).unwrap_err();
        let words = "organizations disagree: DvMSP and RcMSP and SpMSP against OperatorMSP (the answer differs)";
        assert_eq!(error.to_string(), words);
        assert!(error.retryable());
        let error = decide(ALL.into_iter().map(says(&["OperatorMSP", "SpMSP"])).collect()).unwrap_err();
        assert!(matches!(&error, LedgerError::Disagree { sides, .. } if sides.len() == 2), "{error}");
    }

    #[test]
    fn a_refusal_by_all_is_the_contracts_and_one_with_an_endorsement_beside_it_a_disagreement() {
        let all = decide(ALL.into_iter().map(|msp| answer(msp, 500, "no")).collect());
        assert!(matches!(all, Err(LedgerError::Refused { status: 500, .. })), "{all:?}");
        let says = |msp| if msp == "RcMSP" { answer(msp, 200, "x") } else { answer(msp, 500, "no") };
        let one = decide(ALL.into_iter().map(says).collect()).unwrap_err();
        let words =
            "organizations disagree: DvMSP and OperatorMSP and SpMSP against RcMSP (the former refuse (500): no)";
        assert_eq!(one.to_string(), words);
    }
}
