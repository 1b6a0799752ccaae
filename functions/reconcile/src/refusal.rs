//! Why a block or a reply is refused, and where refused messages go.

use std::sync::Mutex;

use async_trait::async_trait;
use vitro_cloud::CloudError;
use vitro_cloud::admission;
use vitro_cloud::parked::{Parked, ParkedState, ParkedTable};
use vitro_cloud::quarantine::{Quarantine, QuarantineCap};
use vitro_cloud::rule_event::RuleEvent;
use vitro_proof::block::OpenError;
use vitro_proof::{BlockFault, Reason};

/// Why a message on a block or reply topic is refused. Each has a reason code of its own (`docs/reasons.md`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Form, identity or signature, as for telemetry.
    #[error(transparent)]
    Admission(#[from] admission::Refusal),
    /// The block cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The block is not a block, or does not continue the chain.
    #[error(transparent)]
    Block(#[from] BlockFault),
    /// A well-signed reply whose payload is none.
    #[error("not a reply: {0}")]
    NotAReply(String),
}

impl Reason for Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Admission(refusal) => refusal.reason(),
            Self::Open(fault) => fault.reason(),
            Self::Block(fault) => fault.reason(),
            Self::NotAReply(_) => "not_a_reply",
        }
    }
}

/// Where refused messages and days that need an operator go.
#[async_trait]
pub trait Refusals: Send + Sync {
    /// Keeps a refused message with its reason.
    ///
    /// # Errors
    /// [`CloudError`]: then the message must come again.
    async fn refuse(&self, event: &RuleEvent, refusal: &Refusal) -> Result<(), CloudError>;

    /// Tells operators of something that is no message. The same row again changes nothing.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn park(&self, row: Parked) -> Result<(), CloudError>;
}

/// The quarantine bucket and the table `parked`.
pub struct AwsRefusals {
    quarantine: Quarantine,
    parked: ParkedTable,
    cap: Mutex<QuarantineCap>,
}

impl AwsRefusals {
    /// Both by their adapters.
    #[must_use]
    pub fn new(quarantine: Quarantine, parked: ParkedTable) -> Self {
        Self { quarantine, parked, cap: Mutex::new(QuarantineCap::new()) }
    }

    fn with_cap<T>(&self, work: impl FnOnce(&mut QuarantineCap) -> T) -> T {
        work(&mut self.cap.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

#[async_trait]
impl Refusals for AwsRefusals {
    async fn refuse(&self, event: &RuleEvent, refusal: &Refusal) -> Result<(), CloudError> {
        let reason = refusal.reason();
        let Some(stands_for) = self.with_cap(|cap| cap.admit(&event.thing, reason, event.received)) else {
            return Ok(());
        };
        let kept = self.keep(event, reason, &refusal.to_string(), stands_for).await;
        if kept.is_err() {
            self.with_cap(|cap| cap.release(&event.thing, reason));
        }
        kept
    }

    async fn park(&self, row: Parked) -> Result<(), CloudError> {
        self.parked.park(&row).await
    }
}

impl AwsRefusals {
    async fn keep(
        &self,
        event: &RuleEvent,
        reason: &'static str,
        detail: &str,
        stands_for: u64,
    ) -> Result<(), CloudError> {
        let key = self.quarantine.put(event, reason, detail, stands_for).await?;
        let row = Parked {
            reason: reason.to_owned(),
            id: event.id(),
            state: ParkedState::Open,
            device: event.thing.parse().ok(),
            object: Some((self.quarantine.bucket().to_owned(), key)),
            detail: detail.to_owned(),
            received: event.received,
        };
        self.parked.park(&row).await
    }
}
