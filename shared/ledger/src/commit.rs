//! From a signed transaction to its verdict.

use std::time::Duration;

use prost::Message;
use tokio::time::{Instant, timeout_at};

use crate::client::Ledger;
use crate::error::{Failures, LedgerError};
use crate::node::{CallError, Deliveries, Node};
use crate::proposal;
use crate::proto::common::{Envelope, HeaderType, Payload, Status};
use crate::proto::events::{FilteredBlock, deliver_response::Type};
use crate::proto::orderer::{SeekInfo, SeekNewest, SeekSpecified, seek_position};
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
        for round in 0..self.limits.broadcasts.max(1) {
            if round > 0 {
                tracing::warn!(tx_id, "no verdict: the same transaction is handed in again");
            }
            let limit = match self.hand_in(&transaction.envelope).await {
                Ok(Handed::Queued) => self.limits.commit,
                Ok(Handed::Unknown) => self.limits.unacknowledged,
                // In a later round the first may have been ordered, so a refusal tells nothing about it.
                Err(error) if round == 0 => return Err(error),
                Err(_) => self.limits.unacknowledged,
            };
            let mut outcome = watch.verdict(tx_id, limit).await;
            // A duplicate's verdict is not the transaction's own, and a verdict that was not seen may be there all the same.
            if outcome.is_none_or(|seen| seen.code == TxValidationCode::DuplicateTxid) {
                outcome = self.outcome(tx_id).await.unwrap_or(outcome);
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

    /// Tries one orderer after another until one says something definite.
    async fn hand_in(&self, envelope: &Envelope) -> Result<Handed, LedgerError> {
        let mut failures = Failures::default();
        let mut refused = None;
        let mut arrived = false;
        for orderer in &self.orderers {
            match orderer.broadcast(envelope, self.limits.answer).await {
                Ok(answer) if answer.status == Status::Success as i32 => return Ok(Handed::Queued),
                Ok(answer) => {
                    let error = LedgerError::NotOrdered {
                        orderer: orderer.name.clone(),
                        status: answer.status,
                        info: answer.info,
                    };
                    if !error.retryable() && !arrived {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                Err(error) => {
                    arrived |= !matches!(error, CallError::NotReached(_));
                    failures.note(&orderer.name, error);
                }
            }
        }
        if arrived {
            tracing::warn!(%failures, "no orderer acknowledged the transaction");
            return Ok(Handed::Unknown);
        }
        let what = "no orderer takes the transaction";
        Err(refused.unwrap_or(LedgerError::Unavailable { what, failures }))
    }

    fn seek(&self, start: seek_position::Type) -> Result<Envelope, LedgerError> {
        let creator = self.identity.creator();
        let header = proposal::header(
            HeaderType::DeliverSeekInfo,
            &self.channel,
            "",
            Vec::new(),
            creator,
            &self.nonce()?,
            self.environment.now(),
        );
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

impl<'a> Watch<'a> {
    async fn open(ledger: &'a Ledger) -> Result<Self, LedgerError> {
        ledger.deliver(seek_position::Type::Newest(SeekNewest {}), None).await
    }

    /// Waits for the transaction's verdict; `None` if none came in time or nobody delivers.
    async fn verdict(&mut self, tx_id: &str, limit: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + limit;
        loop {
            let block = match self.first.take() {
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
