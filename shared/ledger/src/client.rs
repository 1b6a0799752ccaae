//! The client: submit, query, and what the chain says of itself.

use std::sync::Arc;

use prost::Message;
use tokio::time::{Instant, sleep};

use crate::authorities::{Authorities, Known};
use crate::block::{Block, ProcessedTransaction};
use crate::channel::ChannelConfig;
use crate::commit::Committed;
use crate::endorse::{Question, refusal, speaks_for_contract};
use crate::environment::{Environment, SystemEnvironment};
use crate::error::{Failures, LedgerError};
use crate::identity::{Identity, PemSigner, SharedSigner};
use crate::limits::Limits;
use crate::node::Node;
use crate::orderer::Orderer;
use crate::outcome::says_absent;
use crate::profile::{ClientTls, ConnectionProfile, Endorsers};
use crate::proposal::{Call, NONCE_BYTES, Nonce, Proposal};
use crate::proto::common;
use crate::proto::info::BlockchainInfo;
use crate::proto::peer::SignedProposal;
use crate::proto::transaction::{self as wire, TxValidationCode};
use crate::transaction::Endorsed;

/// The system chaincode that answers for the chain.
pub(crate) const QSCC: &str = "qscc";
/// The one that answers for its configuration.
const CSCC: &str = "cscc";

/// A client of one channel and one chaincode. Connections are made at the first use, shared by all calls, and made again when
/// they break.
pub struct Ledger {
    pub(crate) channel: String,
    chaincode: String,
    peers: Vec<Node>,
    pub(crate) orderers: Vec<Orderer>,
    plan: Endorsers,
    msp: String,
    pub(crate) identity: Identity,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) limits: Limits,
    /// The hash of the client's TLS certificate; empty if it shows none.
    pub(crate) shown: Vec<u8>,
    authorities: tokio::sync::Mutex<Option<Known>>,
}

/// How far the chain is, by one peer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChainInfo {
    /// The number of blocks.
    pub height: u64,
    /// The hash of the newest block's header, in hexadecimal.
    pub current_block_hash: String,
    /// The hash of the header before it, in hexadecimal.
    pub previous_block_hash: String,
}

impl Ledger {
    /// Prepares a client. Needs tokio's context; sends nothing yet.
    ///
    /// # Errors
    /// [`LedgerError::Profile`] if the profile is not usable.
    pub fn connect(
        profile: &ConnectionProfile,
        signer: SharedSigner,
        environment: Arc<dyn Environment>,
        limits: Limits,
    ) -> Result<Self, LedgerError> {
        profile.check()?;
        let identity = &profile.identity;
        let client_tls = profile.client_tls.as_ref();
        let shown = client_tls.map(ClientTls::certificate_hash).transpose()?;
        Ok(Self {
            shown: shown.map(Vec::from).unwrap_or_default(),
            channel: profile.channel.clone(),
            chaincode: profile.chaincode.clone(),
            peers: profile.peers.iter().map(|peer| Node::new(peer, client_tls, &limits)).collect::<Result<_, _>>()?,
            orderers: profile
                .orderers
                .iter()
                .map(|orderer| Orderer::new(orderer, client_tls, &limits))
                .collect::<Result<_, _>>()?,
            plan: profile.endorsers.clone(),
            msp: identity.msp.clone(),
            identity: Identity::new(&identity.msp, &identity.certificate_pem, signer),
            environment,
            limits,
            authorities: tokio::sync::Mutex::default(),
        })
    }

    /// Prepares a client that signs with the profile's own key and uses the machine's clock and randomness.
    ///
    /// # Errors
    /// [`LedgerError::Profile`] if the profile is not usable or has no key, [`LedgerError::Key`] if the key is not one.
    pub fn from_profile(profile: &ConnectionProfile) -> Result<Self, LedgerError> {
        let Some(key) = &profile.identity.key_pem else {
            return Err(LedgerError::Profile("the identity has no key".to_owned()));
        };
        let signer = Arc::new(PemSigner::from_pem(key.expose())?);
        Self::connect(profile, signer, Arc::new(SystemEnvironment), Limits::default())
    }

    /// The serialized identity that this client speaks as.
    #[must_use]
    pub fn creator(&self) -> &[u8] {
        self.identity.creator()
    }

    /// Calls the contract in a transaction and waits until it is in the chain. A conflict with another transaction, or organizations that
    /// disagree because one lags behind, lead to a new simulation, a bounded number of times.
    ///
    /// # Errors
    /// Any [`LedgerError`]; [`LedgerError::OutcomeUnknown`] is the one after which the call may or may not have had its effect.
    pub async fn submit(&self, function: &str, args: &[Vec<u8>]) -> Result<Committed, LedgerError> {
        self.submit_by(&self.plan, &self.chaincode, function, args).await
    }

    /// The same of any chaincode, endorsed by another plan.
    pub(crate) async fn submit_by(
        &self,
        plan: &Endorsers,
        chaincode: &str,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<Committed, LedgerError> {
        let call = Call { channel: &self.channel, chaincode, function, args };
        let mut attempt = 1;
        loop {
            let error = match self.submit_once(plan, &call).await {
                Ok(committed) => return Ok(committed),
                Err(error) => error,
            };
            let again = match &error {
                LedgerError::Invalid { code, .. } => code.is_conflict(),
                LedgerError::Disagree { .. } => true,
                _ => false,
            };
            if !again || attempt >= self.limits.attempts {
                return Err(error);
            }
            tracing::info!(function, attempt, %error, "simulated anew");
            self.pause(attempt).await?;
            attempt += 1;
        }
    }

    async fn submit_once(&self, plan: &Endorsers, call: &Call<'_>) -> Result<Committed, LedgerError> {
        let proposal = Proposal::new(call, self.creator(), &self.nonce()?, self.environment.now());
        let signature = self.identity.sign(&proposal.bytes)?;
        let signed = proposal.with_signature(signature);
        let transaction = self
            .endorse_by(plan, &proposal.tx_id, &signed)
            .await?
            .transaction()
            .map_err(|error| LedgerError::Protocol { node: "this client".to_owned(), detail: error.to_string() })?;
        let signature = self.identity.sign(&transaction.bytes)?;
        self.commit(&transaction.with_signature(signature)).await
    }

    /// Writes a proposal for `creator` to sign, here or elsewhere (see [`crate::identity::creator`]). What follows is
    /// [`Proposal::signed`], [`Ledger::endorse`], [`Endorsed::transaction`], [`crate::Transaction::signed`], [`Ledger::commit`].
    ///
    /// # Errors
    /// [`LedgerError::Randomness`].
    pub fn propose(&self, creator: &[u8], function: &str, args: &[Vec<u8>]) -> Result<Proposal, LedgerError> {
        let call = Call { channel: &self.channel, chaincode: &self.chaincode, function, args };
        Ok(Proposal::new(&call, creator, &self.nonce()?, self.environment.now()))
    }

    /// Collects the endorsements of a signed proposal.
    ///
    /// # Errors
    /// [`LedgerError::NotEndorsed`], [`LedgerError::Refused`], [`LedgerError::Disagree`], [`LedgerError::Protocol`].
    pub async fn endorse(&self, tx_id: &str, proposal: &SignedProposal) -> Result<Endorsed, LedgerError> {
        self.endorse_by(&self.plan, tx_id, proposal).await
    }

    async fn endorse_by(
        &self,
        plan: &Endorsers,
        tx_id: &str,
        proposal: &SignedProposal,
    ) -> Result<Endorsed, LedgerError> {
        let authorities = self.authorities().await;
        let (peers, limits, authorities) = (&self.peers, &self.limits, authorities.as_deref());
        let answer = Question { peers, plan, limits, authorities, tx_id, proposal }.endorse().await;
        if matches!(answer, Err(LedgerError::NotEndorsed { .. })) {
            // An organization may have another CA by now.
            if let Some(known) = &mut *self.authorities.lock().await {
                known.doubt(self.limits.rest);
            }
        }
        answer
    }

    /// The CAs of the channel's organizations, on the word of the client's own organization's peers alone: another one's could name CAs by which
    /// nobody else's endorsement is good. Those of before where these do not answer, and nothing if they never did; then the committers alone judge.
    async fn authorities(&self) -> Option<Arc<Authorities>> {
        let mut known = self.authorities.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.holds(Instant::now())) {
            return known.found();
        }
        let found = self.read_authorities().await;
        if let Err(cause) = &found {
            tracing::warn!(%cause, "the organizations' CAs cannot be read: those of before hold, and without any the committers alone judge whose endorsements are");
        }
        let renewed = Known::renewed(known.take(), found.ok(), Instant::now(), self.limits.rest);
        let found = renewed.found();
        *known = Some(renewed);
        found
    }

    async fn read_authorities(&self) -> Result<Authorities, String> {
        let question = self.signed_call(CSCC, "GetConfigBlock", &[self.channel.clone().into_bytes()]);
        let question = question.map_err(|error| error.to_string())?;
        let mut failures = Failures::default();
        for peer in self.own_first().into_iter().filter(|peer| peer.msp == self.msp) {
            let answer = peer.process_proposal(&question, self.limits.answer).await.map_err(|error| error.to_string());
            let read = answer.and_then(|answer| {
                let response = answer.response.unwrap_or_default();
                let block = common::Block::decode(&response.payload[..]).map_err(|error| error.to_string())?;
                Authorities::read(&block).map_err(|fault| format!("{fault} ({})", response.message))
            });
            match read {
                Ok(authorities) => return Ok(authorities),
                Err(cause) => failures.note(&peer.name, cause),
            }
        }
        Err(failures.to_string())
    }

    /// Asks the contract without a transaction, at one peer; at the next if that one is away.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] if the contract refuses, [`LedgerError::Unavailable`] if no peer answers.
    pub async fn query(&self, function: &str, args: &[Vec<u8>]) -> Result<Vec<u8>, LedgerError> {
        self.evaluate(&self.chaincode, function, args).await
    }

    /// A call, signed: what every peer takes alike.
    pub(crate) fn signed_call(
        &self,
        chaincode: &str,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<SignedProposal, LedgerError> {
        let call = Call { channel: &self.channel, chaincode, function, args };
        let proposal = Proposal::new(&call, self.creator(), &self.nonce()?, self.environment.now());
        Ok(proposal.with_signature(self.identity.sign(&proposal.bytes)?))
    }

    pub(crate) async fn evaluate(
        &self,
        chaincode: &str,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<Vec<u8>, LedgerError> {
        let signed = self.signed_call(chaincode, function, args)?;
        let mut failures = Failures::default();
        for peer in self.own_first() {
            match peer.process_proposal(&signed, self.limits.simulate).await {
                Ok(answer) if speaks_for_contract(&answer) => {
                    return match refusal(&answer) {
                        Some(no) => Err(LedgerError::Refused { status: no.status, message: no.message }),
                        None => Ok(answer.response.unwrap_or_default().payload),
                    };
                }
                Ok(answer) => {
                    failures.note(&peer.name, answer.response.unwrap_or_default().message);
                }
                Err(error) => failures.note(&peer.name, error),
            }
        }
        if failures.is_denial() {
            return Err(LedgerError::Denied(failures));
        }
        Err(LedgerError::Unavailable { what: "no peer answers", failures })
    }

    /// How far the chain is.
    ///
    /// # Errors
    /// As [`Ledger::query`].
    pub async fn chain_info(&self) -> Result<ChainInfo, LedgerError> {
        let info: BlockchainInfo = self.ask_qscc("GetChainInfo", &[]).await?;
        Ok(ChainInfo {
            height: info.height,
            current_block_hash: hex::encode(info.current_block_hash),
            previous_block_hash: hex::encode(info.previous_block_hash),
        })
    }

    /// A block by its number.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] if the chain is shorter; else as [`Ledger::query`].
    pub async fn block(&self, number: u64) -> Result<Block, LedgerError> {
        let args = [number.to_string().into_bytes()];
        match self.ask_qscc::<common::Block>("GetBlockByNumber", &args).await {
            Err(LedgerError::Refused { .. }) if self.chain_info().await?.height <= number => {
                Err(LedgerError::NotFound(format!("block {number}")))
            }
            answer => Ok(Block::read(&answer?)),
        }
    }

    /// A transaction by its id, with its verdict and its block.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] if no block holds it; else as [`Ledger::query`].
    pub async fn transaction(&self, tx_id: &str) -> Result<ProcessedTransaction, LedgerError> {
        let args = [tx_id.as_bytes().to_vec()];
        let found = match self.ask_qscc("GetTransactionByID", &args).await {
            Err(LedgerError::Refused { message, .. }) if says_absent(&message) => {
                return Err(LedgerError::NotFound(format!("transaction {tx_id}")));
            }
            answer => answer?,
        };
        let wire::ProcessedTransaction { transaction_envelope, validation_code } = found;
        let code = TxValidationCode::of(validation_code);
        let block: common::Block = self.ask_qscc("GetBlockByTxID", &args).await?;
        let number = block.header.map(|header| header.number).unwrap_or_default();
        Ok(ProcessedTransaction::read(number, code, &transaction_envelope.unwrap_or_default()))
    }

    /// What the channel is configured to, BatchSize and BatchTimeout among it, from its newest configuration block.
    ///
    /// # Errors
    /// As [`Ledger::query`]; [`LedgerError::Protocol`] if the block is not what Fabric's look like.
    pub async fn channel_config(&self) -> Result<ChannelConfig, LedgerError> {
        let answer = self.evaluate(CSCC, "GetConfigBlock", &[self.channel.clone().into_bytes()]).await?;
        let fault = |detail: String| LedgerError::Protocol { node: CSCC.to_owned(), detail };
        let block = common::Block::decode(&answer[..]).map_err(|error| fault(error.to_string()))?;
        ChannelConfig::read(&block).map_err(fault)
    }

    async fn ask_qscc<M: Message + Default>(&self, function: &str, args: &[Vec<u8>]) -> Result<M, LedgerError> {
        let mut all = vec![self.channel.clone().into_bytes()];
        all.extend_from_slice(args);
        let answer = self.evaluate(QSCC, function, &all).await?;
        M::decode(&answer[..])
            .map_err(|error| LedgerError::Protocol { node: QSCC.to_owned(), detail: format!("{function}: {error}") })
    }

    pub(crate) fn peers(&self) -> &[Node] {
        &self.peers
    }

    pub(crate) fn plan(&self) -> &Endorsers {
        &self.plan
    }

    /// The MSP id of the identity's organization.
    #[must_use]
    pub fn msp(&self) -> &str {
        &self.msp
    }

    /// The chaincode's name.
    #[must_use]
    pub fn chaincode(&self) -> &str {
        &self.chaincode
    }

    /// Peers in the order in which they are asked: rested before failed, own organization before others.
    pub(crate) fn own_first(&self) -> Vec<&Node> {
        let mut peers: Vec<_> = self.peers.iter().collect();
        peers.sort_by_key(|peer| (peer.is_resting(self.limits.rest), peer.msp != self.msp));
        peers
    }

    pub(crate) fn nonce(&self) -> Result<Nonce, LedgerError> {
        let mut nonce = [0; NONCE_BYTES];
        self.environment.fill(&mut nonce)?;
        Ok(nonce)
    }

    async fn pause(&self, attempt: u32) -> Result<(), LedgerError> {
        let mut spread = [0];
        self.environment.fill(&mut spread)?;
        let base = self.limits.pause * 2_u32.pow(attempt.saturating_sub(1).min(6));
        sleep(base + base * u32::from(spread[0]) / 255).await;
        Ok(())
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("channel", &self.channel)
            .field("chaincode", &self.chaincode)
            .field("msp", &self.msp)
            .finish_non_exhaustive()
    }
}
