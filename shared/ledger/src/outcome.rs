//! What became of a transaction, on the word of enough organizations.

use std::collections::BTreeSet;

use futures_util::stream::{FuturesUnordered, StreamExt};
use prost::Message;

use crate::client::{Ledger, QSCC};
use crate::commit::Outcome;
use crate::endorse::{refusal, speaks_for_contract};
use crate::error::{Failures, LedgerError};
use crate::node::Node;
use crate::proto::common;
use crate::proto::peer::SignedProposal;
use crate::proto::transaction::{ProcessedTransaction, TxValidationCode};

impl Ledger {
    /// What became of a transaction. One peer's word is enough for a verdict; that *no* block holds the transaction (`None`) takes the word
    /// of as many organizations as an endorsement, since a single peer may lag behind.
    ///
    /// `None` is about the blocks that these peers have. An orderer may still have the transaction in its queue, so handing in the same signed
    /// transaction again is always safe ([`Ledger::commit`]), and a *new* call of the same is safe only if the contract takes a repetition
    /// for what it is.
    ///
    /// # Errors
    /// [`LedgerError::Unavailable`] if nobody has it and too few organizations answer to be sure of that.
    pub async fn outcome(&self, tx_id: &str) -> Result<Option<Outcome>, LedgerError> {
        let args = [self.channel.clone().into_bytes(), tx_id.as_bytes().to_vec()];
        let transaction = self.signed_call(QSCC, "GetTransactionByID", &args)?;
        let block = self.signed_call(QSCC, "GetBlockByTxID", &args)?;
        let (awake, resting): (Vec<_>, Vec<_>) =
            self.peers().iter().partition(|peer| !peer.is_resting(self.limits.rest));
        let mut without = BTreeSet::new();
        let mut failures = Failures::default();
        // Peers that failed a moment ago are waited for only if the others are too few.
        for peers in [awake, resting] {
            let ask = |peer| self.outcome_at(peer, &transaction, &block);
            let mut asked: FuturesUnordered<_> =
                peers.into_iter().map(|peer| async move { (peer, ask(peer).await) }).collect();
            while let Some((peer, answer)) = asked.next().await {
                match answer {
                    Ok(Some(outcome)) => return Ok(Some(outcome)),
                    Ok(None) => {
                        without.insert(peer.msp.as_str());
                    }
                    Err(cause) => failures.note(&peer.name, cause),
                }
            }
            if self.plan().satisfied_by(&without) {
                return Ok(None);
            }
        }
        if failures.is_denial() {
            return Err(LedgerError::Denied(failures));
        }
        let what = "too few organizations tell whether the transaction is in the chain";
        Err(LedgerError::Unavailable { what, failures })
    }

    /// One peer's word. Both questions go to the same peer: another one may not have the block yet.
    async fn outcome_at(
        &self,
        peer: &Node,
        transaction: &SignedProposal,
        block: &SignedProposal,
    ) -> Result<Option<Outcome>, String> {
        let Some(found) = self.qscc_at(peer, transaction).await? else { return Ok(None) };
        let found = ProcessedTransaction::decode(&found[..]).map_err(|error| error.to_string())?;
        let block = self.qscc_at(peer, block).await?.ok_or("it has the transaction and not its block")?;
        let block = common::Block::decode(&block[..]).map_err(|error| error.to_string())?;
        let block_number = block.header.map(|header| header.number).unwrap_or_default();
        Ok(Some(Outcome { block_number, code: TxValidationCode::of(found.validation_code) }))
    }

    /// What one peer's qscc answers; `None` if it has no such transaction.
    async fn qscc_at(&self, peer: &Node, question: &SignedProposal) -> Result<Option<Vec<u8>>, String> {
        let answer = peer.process_proposal(question, self.limits.answer).await.map_err(|error| error.to_string())?;
        match refusal(&answer) {
            Some(no) if says_absent(&no.message) => Ok(None),
            Some(no) => Err(no.message),
            None if speaks_for_contract(&answer) => Ok(Some(answer.response.unwrap_or_default().payload)),
            None => Err("no answer in its answer".to_owned()),
        }
    }
}

/// How qscc says that it has no such transaction, in 2.2 and since.
pub(crate) fn says_absent(message: &str) -> bool {
    message.to_lowercase().contains("entry not found in index") || message.contains("no such transaction")
}
