//! From a signed transaction to its verdict.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, timeout_at};

use crate::client::Ledger;
use crate::error::{Failures, LedgerError};
use crate::node::{CallError, Deliveries, Node};
use crate::proposal;
use crate::proto::common::{ChannelHeader, Envelope, HeaderType, Payload, Status};
use crate::proto::events::{FilteredBlock, deliver_response::Type};
use crate::proto::orderer::{BroadcastResponse, SeekInfo, SeekNewest, SeekSpecified, seek_position};
use crate::proto::transaction::TxValidationCode;
use crate::transaction::SignedTransaction;

/// A transaction that is in the chain and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its id.
    pub tx_id: String,
    /// The block that holds it.
    pub block_number: u64,
    /// What the contract answered.
    pub payload: Vec<u8>,
}

/// A verdict and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The block that holds the transaction.
    pub block_number: u64,
    /// The committers' verdict.
    pub code: TxValidationCode,
}

/// An open delivery of verdicts, from `next` on.
struct Watch<'a> {
    ledger: &'a Ledger,
    peer: &'a Node,
    deliveries: Deliveries,
    next: u64,
    first: Option<FilteredBlock>,
}

enum Handed {
    Queued,
    /// No acknowledgement came, but the envelope may have arrived.
    Unknown,
    /// The same, since the orderer ended the stream that it came on after it refused another's envelope.
    CutOff,
}

impl Ledger {
    /// Hands a signed transaction in and waits for its verdict. The same signed transaction may be handed in again at any time:
    /// it is valid at most once.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] and [`LedgerError::NotOrdered`] if it was not submitted, [`LedgerError::Invalid`] if it is in the chain
    /// and changed nothing, [`LedgerError::OutcomeUnknown`] if it can still go either way.
    pub async fn commit(&self, transaction: &SignedTransaction) -> Result<Committed, LedgerError> {
        let tx_id = &transaction.tx_id;
        // Opened before the transaction is handed in: a verdict cannot slip past.
        let mut watch = Watch::open(self).await?;
        let (mut round, mut cut_off, mut arrived) = (0, false, false);
        while round < self.limits.broadcasts.max(1) {
            if cut_off || arrived {
                tracing::warn!(tx_id, "no verdict: the same transaction is handed in again");
            }
            let handed = self.hand_in(&transaction.envelope, !cut_off).await;
            let now_cut_off = matches!(handed, Ok(Handed::CutOff));
            let limit = match handed {
                // Looked up at once, and if need be handed in again on a stream of its own: it is cut off once at most.
                Ok(Handed::CutOff) => Duration::ZERO,
                Ok(Handed::Queued) => self.limits.commit,
                Ok(Handed::Unknown) => self.limits.unacknowledged,
                // If it was handed in before it may have been ordered then, so a refusal tells nothing about it.
                Err(error) => match (arrived, cut_off && error.retryable()) {
                    (false, false) => return Err(error),
                    _ => self.limits.unacknowledged,
                },
            };
            cut_off |= now_cut_off;
            arrived |= !now_cut_off;
            round += u32::from(!now_cut_off);
            let mut outcome = watch.verdict(tx_id, limit).await;
            // A duplicate's verdict is not the transaction's own, and a verdict that was not seen may be there all the same.
            if outcome.is_none_or(|seen| seen.code == TxValidationCode::DuplicateTxid) {
                outcome = of_the_first(self.outcome(tx_id).await);
            }
            match outcome {
                Some(Outcome { block_number, code: TxValidationCode::Valid }) => {
                    let payload = transaction.payload.clone();
                    return Ok(Committed { tx_id: tx_id.clone(), block_number, payload });
                }
                Some(Outcome { block_number, code }) => {
                    return Err(LedgerError::Invalid { tx_id: tx_id.clone(), block_number, code });
                }
                None => {}
            }
        }
        Err(LedgerError::OutcomeUnknown { tx_id: tx_id.clone() })
    }

    /// Tries one orderer after another, those that failed a moment ago last, until one may have the envelope or refuses it for good.
    async fn hand_in(&self, envelope: &Envelope, shared: bool) -> Result<Handed, LedgerError> {
        let mut failures = Failures::default();
        let mut refused = None;
        let mut order: Vec<_> = self.orderers.iter().collect();
        order.sort_by_key(|orderer| orderer.node.is_resting(self.limits.rest));
        for orderer in order {
            let name = &orderer.node.name;
            match orderer.broadcast(envelope, shared, self.limits.answer).await {
                Ok(answer) if answer.status == Status::Success as i32 => return Ok(Handed::Queued),
                Ok(BroadcastResponse { status, info }) => {
                    let error = LedgerError::NotOrdered { orderer: name.clone(), status, info };
                    if !error.retryable() {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                Err(error @ CallError::NotReached(_)) => failures.note(name, error),
                // What may have arrived is not given to another orderer before it was looked up.
                Err(CallError::CutOff) => return Ok(Handed::CutOff),
                Err(error) => {
                    tracing::warn!(orderer = name, %error, "the transaction was not acknowledged");
                    return Ok(Handed::Unknown);
                }
            }
        }
        let what = "no orderer takes the transaction";
        Err(refused.unwrap_or(LedgerError::Unavailable { what, failures }))
    }

    fn seek(&self, start: seek_position::Type) -> Result<Envelope, LedgerError> {
        let now = self.environment.now();
        let header = ChannelHeader {
            tls_cert_hash: self.shown.clone(),
            ..proposal::channel_header(HeaderType::DeliverSeekInfo, &self.channel, now)
        };
        let header = proposal::header(&header, self.identity.creator(), &self.nonce()?);
        let data = SeekInfo::from(start).encode_to_vec();
        let payload = Payload { header: Some(header), data }.encode_to_vec();
        let signature = self.identity.sign(&payload)?;
        Ok(Envelope { payload, signature })
    }

    /// Opens a delivery at the first peer that gives one, `avoid` last.
    async fn deliver<'a>(&'a self, start: seek_position::Type, avoid: Option<&Node>) -> Result<Watch<'a>, LedgerError> {
        let seek = self.seek(start)?;
        let mut failures = Failures::default();
        let mut order = self.own_first();
        order.sort_by_key(|peer| avoid.is_some_and(|avoid| std::ptr::eq(*peer, avoid)));
        for peer in order {
            match peer.deliver_filtered(&seek, self.limits.answer).await {
                Ok((deliveries, Type::FilteredBlock(block))) => {
                    let next = block.number;
                    return Ok(Watch { ledger: self, peer, deliveries, next, first: Some(block) });
                }
                Ok((_, other)) => failures.note(&peer.name, format!("delivers {other:?}")),
                Err(error) => failures.note(&peer.name, error),
            }
        }
        Err(LedgerError::Unavailable { what: "no peer delivers verdicts", failures })
    }
}

/// What a lookup says of a transaction that was handed in more than once. Where nobody can tell, or a peer tells of the copy that came too
/// late, nothing is known: another copy may well be valid.
fn of_the_first(found: Result<Option<Outcome>, LedgerError>) -> Option<Outcome> {
    found.ok().flatten().filter(|found| found.code != TxValidationCode::DuplicateTxid)
}

impl<'a> Watch<'a> {
    async fn open(ledger: &'a Ledger) -> Result<Self, LedgerError> {
        ledger.deliver(seek_position::Type::Newest(SeekNewest {}), None).await
    }

    /// Waits for the transaction's verdict; `None` if none came in time or nobody delivers.
    async fn verdict(&mut self, tx_id: &str, limit: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + limit;
        loop {
            let block = match self.first.take() {
                // A peer that sends without a pause never lets the wait below end by itself.
                None if Instant::now() >= deadline => return None,
                Some(block) => block,
                None => match timeout_at(deadline, self.deliveries.next()).await {
                    Err(_) => return None,
                    Ok(Ok(Some(answer))) => match answer.r#type {
                        Some(Type::FilteredBlock(block)) => block,
                        other => self.replace(format!("{other:?}"), deadline).await?,
                    },
                    Ok(Ok(None)) => self.replace("the end".to_owned(), deadline).await?,
                    Ok(Err(error)) => self.replace(error.to_string(), deadline).await?,
                },
            };
            self.next = self.next.max(block.number + 1);
            let found = block.filtered_transactions.iter().find(|found| found.txid == tx_id);
            if let Some(found) = found {
                let code = TxValidationCode::of(found.tx_validation_code);
                return Some(Outcome { block_number: block.number, code });
            }
        }
    }

    /// Goes on with another peer where the last one ended. The block asked for may not be there yet, so the wait is the caller's.
    async fn replace(&mut self, cause: String, deadline: Instant) -> Option<FilteredBlock> {
        tracing::warn!(peer = self.peer.name, cause, "a delivery ended early");
        // From a block that is there already, so that the new delivery answers at once.
        let number = self.next.saturating_sub(1);
        let start = seek_position::Type::Specified(SeekSpecified { number });
        let opened = timeout_at(deadline, self.ledger.deliver(start, Some(self.peer))).await.ok()?;
        *self = opened.ok()?;
        self.first.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_whose_first_copy_nobody_tells_of_is_unknown_and_not_invalid() {
        let found = |code| Ok(Some(Outcome { block_number: 7, code }));
        let away = LedgerError::Unavailable { what: "nobody tells", failures: Failures::default() };
        assert_eq!(of_the_first(Err(away)), None);
        assert_eq!(of_the_first(Ok(None)), None);
        assert_eq!(of_the_first(found(TxValidationCode::DuplicateTxid)), None);
        for code in [TxValidationCode::Valid, TxValidationCode::MvccReadConflict] {
            assert_eq!(of_the_first(found(code)), Some(Outcome { block_number: 7, code }));
        }
    }
}
