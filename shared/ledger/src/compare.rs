//! Who says the same of a proposal, and what differs where they do not.

use std::collections::BTreeSet;

use prost::Message;

use crate::endorse::{Answer, refusal};
use crate::proto::peer::{ChaincodeAction, ProposalResponsePayload};
use crate::proto::rwset::{KvRwSet, TxReadWriteSet};

/// What some say alike.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// The bytes that they sign.
    Endorsed(Vec<u8>),
    /// Status and words.
    Refused(i32, String),
}

/// The answers, grouped by what they say.
pub(crate) fn sides_of<'a, 'b>(answers: &'b [Answer<'a>]) -> Vec<(Side, Vec<&'b Answer<'a>>)> {
    let mut sides: Vec<(Side, Vec<&Answer<'_>>)> = Vec::new();
    for answer in answers {
        let said = match refusal(&answer.response) {
            Some(refused) => Side::Refused(refused.status, refused.message),
            None => Side::Endorsed(answer.response.payload.clone()),
        };
        match sides.iter_mut().find(|(known, _)| *known == said) {
            Some((_, members)) => members.push(answer),
            None => sides.push((said, vec![answer])),
        }
    }
    sides
}

/// In words, for the log and the error: what the one side says that the other does not.
pub(crate) fn difference(one: &Side, other: &Side) -> String {
    match (one, other) {
        (Side::Refused(status, message), Side::Endorsed(_)) => {
            format!("the former refuse ({status}): {}", cut(message))
        }
        (_, Side::Refused(status, message)) => format!("the latter refuse ({status}): {}", cut(message)),
        (Side::Endorsed(one), Side::Endorsed(other)) => match (Said::read(one), Said::read(other)) {
            (Some(one), Some(other)) => one.differs_from(&other),
            _ => "one of them cannot be read".to_owned(),
        },
    }
}

fn cut(message: &str) -> String {
    message.chars().take(200).collect()
}

/// What was signed, taken apart.
struct Said {
    proposal_hash: Vec<u8>,
    action: ChaincodeAction,
    reads: BTreeSet<(String, Vec<u8>)>,
    writes: BTreeSet<(String, Vec<u8>)>,
}

impl Said {
    fn read(payload: &[u8]) -> Option<Self> {
        let payload = ProposalResponsePayload::decode(payload).ok()?;
        let action = ChaincodeAction::decode(&payload.extension[..]).ok()?;
        let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
        for namespace in TxReadWriteSet::decode(&action.results[..]).ok()?.ns_rwset {
            let set = KvRwSet::decode(&namespace.rwset[..]).ok()?;
            reads.extend(set.reads.into_iter().map(|read| (read.key.clone(), read.encode_to_vec())));
            let ranges = set.range_queries_info.into_iter();
            reads.extend(ranges.map(|range| (range.start_key.clone(), range.encode_to_vec())));
            writes.extend(set.writes.into_iter().map(|write| (write.key.clone(), write.encode_to_vec())));
        }
        Some(Self { proposal_hash: payload.proposal_hash, action, reads, writes })
    }

    /// What was read comes first: an organization that lags reads other versions, and all the rest follows from it.
    fn differs_from(&self, other: &Self) -> String {
        let key = |one: &BTreeSet<(String, Vec<u8>)>, other| {
            let (key, _) = one.symmetric_difference(other).next()?;
            // Composite keys have zeros between their parts.
            Some(key.replace('\0', " ").trim().chars().take(80).collect::<String>())
        };
        let mut found = Vec::new();
        if let Some(key) = key(&self.reads, &other.reads) {
            found.push(format!("what was read differs, first at {key}"));
        }
        if let Some(key) = key(&self.writes, &other.writes) {
            found.push(format!("what would be written differs, first at {key}"));
        }
        let (one, two) = (&self.action, &other.action);
        let others = [
            (one.response != two.response, "the answer differs"),
            (one.events != two.events, "the event differs"),
            (one.chaincode_id != two.chaincode_id, "the chaincode's version differs"),
            (self.proposal_hash != other.proposal_hash, "another proposal is answered"),
        ];
        found.extend(others.iter().filter(|(differs, _)| *differs).map(|(_, words)| (*words).to_owned()));
        if found.is_empty() { "other bytes of the same".to_owned() } else { found.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::peer::Response;
    use crate::proto::rwset::{KvRead, KvWrite, NsReadWriteSet, Version};
    use proptest::prelude::*;

    fn endorsed(version: u64, value: &[u8], answer: &[u8]) -> Side {
        let version = Some(Version { block_num: version, tx_num: 0 });
        let set = KvRwSet {
            reads: vec![KvRead { key: "\0device\0dev-1\0".into(), version }],
            writes: vec![KvWrite { key: "n".into(), is_delete: false, value: value.to_vec() }],
            ..Default::default()
        };
        let space = NsReadWriteSet { namespace: "vitro".into(), rwset: set.encode_to_vec() };
        let action = ChaincodeAction {
            results: TxReadWriteSet { data_model: 0, ns_rwset: vec![space] }.encode_to_vec(),
            response: Some(Response { status: 200, message: String::new(), payload: answer.to_vec() }),
            ..Default::default()
        };
        let payload = ProposalResponsePayload { extension: action.encode_to_vec(), ..Default::default() };
        Side::Endorsed(payload.encode_to_vec())
    }

    #[test]
    fn what_differs_is_told() {
        let honest = endorsed(7, b"1", b"ok");
        let told = |other| difference(&honest, &other);
        assert_eq!(told(endorsed(6, b"1", b"ok")), "what was read differs, first at device dev-1");
        let words = "what would be written differs, first at n; the answer differs";
        assert_eq!(told(endorsed(7, b"2", b"no")), words);
        assert_eq!(told(Side::Refused(404, "gone".into())), "the latter refuse (404): gone");
        assert_eq!(told(Side::Endorsed(vec![0xff])), "one of them cannot be read");
    }

    proptest! {
        #[test]
        fn telling_never_panics(one: Vec<u8>, other: Vec<u8>) {
            prop_assert!(!difference(&Side::Endorsed(one), &Side::Endorsed(other)).is_empty());
        }
    }
}
