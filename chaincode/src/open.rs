//! Which transactions run, and which of them wait for the peer.

use std::collections::HashMap;

use fabric_shim_protos::peer::ChaincodeMessage;
use fabric_shim_protos::peer::chaincode_message::Type;

/// A transaction: its channel and id.
type Transaction = (String, String);

/// What the relay knows of a stream. Pure: what to do is said, not done.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions {
    /// Whether each one waits for an answer of the peer.
    waiting: HashMap<Transaction, bool>,
    gone: bool,
    stopping: bool,
}

/// What becomes of a message of the shim.
#[derive(Debug, PartialEq)]
pub(crate) enum Forward {
    /// The peer gets it.
    ToPeer,
    /// The peer is gone: the shim gets this answer to it.
    Answer(Box<ChaincodeMessage>),
    /// The peer is gone, and nobody waits for it.
    Nobody,
}

impl OpenTransactions {
    /// Notes a message of the peer, and says whether the shim gets it: a call that comes while we stop is not begun. The end of the
    /// stream tells the peer so; an answer in error would count as the contract's own refusal.
    pub(crate) fn note_peer(&mut self, message: &ChaincodeMessage) -> bool {
        match message.r#type() {
            Type::Init | Type::Transaction if self.stopping => return false,
            Type::Init | Type::Transaction => drop(self.waiting.insert(transaction(message), false)),
            Type::Response | Type::Error => {
                if let Some(waiting) = self.waiting.get_mut(&transaction(message)) {
                    *waiting = false;
                }
            }
            _ => {}
        }
        true
    }

    /// Notes a message of the shim, and says what becomes of it.
    pub(crate) fn note_shim(&mut self, message: &ChaincodeMessage) -> Forward {
        let asks = match message.r#type() {
            Type::Completed | Type::Error => {
                self.waiting.remove(&transaction(message));
                false
            }
            Type::Register | Type::Keepalive => false,
            _ => true,
        };
        if !self.gone {
            if asks {
                self.waiting.insert(transaction(message), true);
            }
            return Forward::ToPeer;
        }
        if asks { Forward::Answer(Box::new(gone(transaction(message)))) } else { Forward::Nobody }
    }

    /// The peer is gone: the answers that the shim gets in its place. Without them `fabric-shim` waits for ever, and so does a thread.
    pub(crate) fn peer_is_gone(&mut self) -> Vec<ChaincodeMessage> {
        self.gone = true;
        let all = self.waiting.iter_mut();
        all.filter_map(|(transaction, waiting)| std::mem::take(waiting).then(|| gone(transaction.clone()))).collect()
    }

    /// From now on no call is begun; those that run go on.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether the peer is gone, or we stop, and nothing runs any more.
    pub(crate) fn is_over(&self) -> bool {
        (self.gone || self.stopping) && self.waiting.is_empty()
    }
}

fn transaction(message: &ChaincodeMessage) -> Transaction {
    (message.channel_id.clone(), message.txid.clone())
}

fn gone((channel_id, txid): Transaction) -> ChaincodeMessage {
    let payload = b"the peer went away".to_vec();
    ChaincodeMessage { r#type: Type::Error as i32, channel_id, txid, payload, ..ChaincodeMessage::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Type, txid: &str) -> ChaincodeMessage {
        let (channel_id, txid) = ("mychannel".to_owned(), txid.to_owned());
        ChaincodeMessage { r#type: kind as i32, channel_id, txid, ..ChaincodeMessage::default() }
    }

    #[test]
    fn who_waits_when_the_peer_goes_gets_an_answer_and_so_does_who_asks_later() {
        let mut open = OpenTransactions::default();
        for txid in ["asks", "is answered", "computes", "is done"] {
            open.note_peer(&message(Type::Transaction, txid));
        }
        for (kind, txid) in [(Type::GetState, "asks"), (Type::PutState, "is answered"), (Type::Completed, "is done")] {
            assert_eq!(open.note_shim(&message(kind, txid)), Forward::ToPeer);
        }
        open.note_peer(&message(Type::Response, "is answered"));
        assert!(!open.is_over());
        let answers = open.peer_is_gone();
        assert_eq!(answers.iter().map(|answer| answer.txid.as_str()).collect::<Vec<_>>(), ["asks"]);
        assert_eq!(answers[0].r#type(), Type::Error);
        assert!(open.peer_is_gone().is_empty(), "each waits once");
        let later = open.note_shim(&message(Type::GetState, "computes"));
        assert!(matches!(later, Forward::Answer(answer) if answer.txid == "computes"));
        for txid in ["asks", "is answered", "computes"] {
            assert!(!open.is_over());
            assert_eq!(open.note_shim(&message(Type::Completed, txid)), Forward::Nobody);
        }
        assert!(open.is_over());
    }

    #[test]
    fn who_stops_begins_nothing_and_is_over_when_what_runs_is_done() {
        let mut open = OpenTransactions::default();
        assert!(open.note_peer(&message(Type::Transaction, "runs")));
        open.stop();
        assert!(!open.is_over());
        assert!(!open.note_peer(&message(Type::Transaction, "late")) && !open.note_peer(&message(Type::Init, "late")));
        assert_eq!(open.note_shim(&message(Type::GetState, "runs")), Forward::ToPeer);
        assert!(open.note_peer(&message(Type::Response, "runs")));
        assert_eq!(open.note_shim(&message(Type::Completed, "runs")), Forward::ToPeer);
        assert!(open.is_over());
    }
}
