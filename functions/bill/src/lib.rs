//! Closes billing periods on the ledger and archives their statements.
//!
//! What is owed is computed by the contract from published days; nothing is computed here. The same period again gives the same
//! statement, so the function may run twice, and what a run leaves undone the next one does.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod config;
pub mod periods;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vitro_client::{Channel, Client, ClientError};
use vitro_cloud::archive::{Archive, CBOR, JSON, PutOnce};
use vitro_cloud::config::StackName;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{
    AgreementId, HeldAgreement, HeldVersion, Record, Settlement, Statement, StatementHead, StatementView,
};
use vitro_proof::{Hash, LocalDay, UnixMillis};

pub use config::Config;

/// The most periods that one scheduled run closes: each is a transaction of a few seconds. Those that fail do not count.
const MOST_A_RUN: usize = 20;
/// Failures after which a scheduled run leaves an agreement alone: its oldest period, and one of the others.
const MOST_FAILURES: usize = 2;
/// What is left of the invocation when a scheduled run begins no further period.
const RESERVE_MILLIS: i64 = 40_000;

/// What the function is called with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Input {
    /// Close this period, both days included.
    Close(CloseInput),
    /// Close every period that has ended: what the schedule sends.
    Ended(EndedInput),
}

/// A period by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseInput {
    /// The agreement.
    pub agreement: AgreementId,
    /// The first day.
    pub from: LocalDay,
    /// The last day.
    pub to: LocalDay,
}

/// Nothing: `{}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedInput {}

/// What the function answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Of one period.
    One(Box<Issued>),
    /// Of a scheduled run.
    Many {
        /// The statements, in the order in which they were drawn.
        statements: Vec<Issued>,
    },
}

/// A statement that is on the ledger and in the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Its id: the hash of its bytes.
    pub statement: Hash,
    /// The agreement.
    pub agreement: AgreementId,
    /// The first day.
    pub from: LocalDay,
    /// The last day.
    pub to: LocalDay,
    /// What is owed, in minor units of the currency.
    pub total: i64,
    /// The currency, ISO 4217.
    pub currency: String,
    /// How many decimal digits the currency's minor unit has.
    pub digits: u64,
    /// The sum of the metered quantities.
    pub quantity: String,
    /// How many lines it has.
    pub lines: usize,
    /// How many entries of days that are not billed.
    pub unbilled: usize,
    /// The hash of the agreement's version by which it bills.
    pub version: Hash,
    /// How many days of earlier periods it corrects.
    pub corrections: usize,
    /// Changes that wait for the next statement.
    pub waiting: u64,
    /// The transaction that closed the period.
    pub tx: String,
    /// The statement's bytes in the archive.
    pub key: String,
}

/// Why a period was not closed.
#[derive(Debug, Error)]
pub enum BillError {
    /// The contract refused, or the ledger is away.
    #[error(transparent)]
    Ledger(#[from] ClientError),
    /// The archive did not take the statement.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// Some of a scheduled run's periods were not closed; the others were.
    #[error("{failed} of {tried} periods were not closed; the first: {first}")]
    Some {
        /// How many failed.
        failed: usize,
        /// How many were tried.
        tried: usize,
        /// Why the first one failed.
        first: Box<BillError>,
    },
}

impl BillError {
    /// What went wrong, in a word for programs: the contract's code, `ledger` or `archive`.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Ledger(error) => error.code().unwrap_or("ledger"),
            Self::Cloud(_) => "archive",
            Self::Some { first, .. } => first.code(),
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Ledger(error) => error.retryable(),
            Self::Cloud(error) => error.retryable(),
            Self::Some { first, .. } => first.retryable(),
        }
    }
}

/// The key of a statement's bytes; the view for people lies beside it, ending in `json`. Of the same days there may be several statements
/// of corrections alone, so those have their id in the key.
#[must_use]
pub fn statement_key(view: &StatementView, ending: &str) -> String {
    let statement = &view.statement;
    if statement.alone {
        return format!("statements/{}/corrections/{}.{ending}", statement.agreement, view.id);
    }
    format!("statements/{}/{}_{}.{ending}", statement.agreement, statement.from, statement.to)
}

/// What a scheduled run has yet to close of an agreement.
struct Open {
    agreement: AgreementId,
    /// Oldest first until one fails.
    periods: VecDeque<(LocalDay, LocalDay)>,
    failures: usize,
}

/// The function.
pub struct Bill<L, A, C> {
    ledger: Client<L>,
    archive: A,
    clock: C,
    stack: String,
}

impl<L: Channel, A: Archive, C: Clock> Bill<L, A, C> {
    /// The function over its ledger and archive.
    pub fn new(ledger: L, archive: A, clock: C, stack: &StackName) -> Self {
        Self { ledger: Client::new(ledger), archive, clock, stack: stack.to_string() }
    }

    /// Closes what the input asks for. `deadline` is when the invocation ends.
    pub async fn handle(&self, input: &Input, deadline: UnixMillis) -> (Result<Answer, BillError>, Metrics) {
        let mut metrics = Metrics::new(&self.stack);
        let answer = match input {
            Input::Close(CloseInput { agreement, from, to }) => {
                self.close(agreement, *from, *to, &mut metrics).await.map(|issued| Answer::One(Box::new(issued)))
            }
            Input::Ended(EndedInput {}) => self.close_ended(deadline, &mut metrics).await,
        };
        (answer, metrics)
    }

    async fn close(
        &self,
        agreement: &AgreementId,
        from: LocalDay,
        to: LocalDay,
        metrics: &mut Metrics,
    ) -> Result<Issued, BillError> {
        let view = self.ledger.close(agreement, from, to).await?.answer;
        self.issued(&view, metrics).await
    }

    async fn issued(&self, view: &StatementView, metrics: &mut Metrics) -> Result<Issued, BillError> {
        let key = self.file(view, metrics).await?;
        let statement = &view.statement;
        Ok(Issued {
            statement: view.id,
            agreement: statement.agreement.clone(),
            from: statement.from,
            to: statement.to,
            total: statement.total,
            currency: statement.currency.code.clone(),
            digits: statement.currency.digits,
            quantity: statement.quantity.to_string(),
            lines: statement.lines.len(),
            unbilled: statement.unbilled.len(),
            version: statement.agreement_hash,
            corrections: statement.corrections.len(),
            waiting: statement.waiting,
            tx: view.tx.clone(),
            key,
        })
    }

    /// Draws a statement of what changed in days of a version, and has no room on a period's statement or no period to wait for. Nothing
    /// if nothing changed, or the time is over before anything was found.
    async fn correct(
        &self,
        agreement: &AgreementId,
        version: Hash,
        deadline: UnixMillis,
        metrics: &mut Metrics,
    ) -> Result<Option<Issued>, BillError> {
        while self.has_time(deadline) {
            match self.ledger.correct(agreement, version).await {
                Ok(published) => match published.answer {
                    Settlement { statement: Some(view), .. } => return Ok(Some(self.issued(&view, metrics).await?)),
                    Settlement { waiting: 0, .. } => return Ok(None),
                    // What was looked at came to what was billed; there is more.
                    Settlement { .. } => {}
                },
                Err(error) if error.code() == Some("nothing_to_correct") => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Whether there is time for another transaction.
    fn has_time(&self, deadline: UnixMillis) -> bool {
        deadline.0.saturating_sub(self.clock.now().0) >= RESERVE_MILLIS
    }

    /// Archives a statement, if it is not archived, and says under which key.
    async fn file(&self, view: &StatementView, metrics: &mut Metrics) -> Result<String, BillError> {
        let key = statement_key(view, "cbor");
        // The bytes whose hash is the id; they hold no time, so any run would write the same.
        let stored = self.archive.put_once(&key, view.statement.encode(), CBOR).await?;
        let json = serde_json::to_vec_pretty(view)
            .map_err(|e| CloudError::BadMessage { what: "statement", detail: e.to_string() })?;
        self.archive.put_once(&statement_key(view, "json"), json, JSON).await?;
        if matches!(stored, PutOnce::Stored(_)) {
            let Statement { agreement, from, to, total, .. } = &view.statement;
            metrics.count("StatementsIssued", 1);
            tracing::info!(statement = %view.id, %agreement, %from, %to, total, tx = %view.tx, "issued");
        }
        Ok(key)
    }

    /// Archives the statement that was drawn last: the run that drew it may have ended before it was archived, and no later run
    /// closes its period again.
    async fn file_last(&self, closed: &[StatementHead], metrics: &mut Metrics) -> Result<(), BillError> {
        if let Some(last) = closed.iter().max_by_key(|head| head.time) {
            let view = self.ledger.statement(last.id).await?;
            self.file(&view, metrics).await?;
        }
        Ok(())
    }

    /// Closes the periods that have ended, of every active agreement: one of each in turn. One that fails holds no other up: neither
    /// does it count as closed, nor does its agreement come first every day, nor do the agreement's other periods wait behind it.
    async fn close_ended(&self, deadline: UnixMillis, metrics: &mut Metrics) -> Result<Answer, BillError> {
        let now = self.clock.now();
        let day = usize::try_from(now.0 / 86_400_000).unwrap_or_default();
        let mut failures = Vec::new();
        let mut open = VecDeque::new();
        let mut over = VecDeque::new();
        if let Some(last) = periods::settled(now) {
            // Every version of an agreement bills the days on which it holds.
            for HeldAgreement { id: agreement, versions } in self.ledger.agreements_in_force().await? {
                match self.ledger.statements(&agreement).await {
                    Ok(closed) => {
                        if let Err(error) = self.file_last(&closed, metrics).await {
                            tracing::error!(%agreement, %error, "a statement was not archived");
                            failures.push(error);
                        }
                        let ended =
                            |version: &HeldVersion| periods::ended(version.period, &version.held, &closed, last);
                        let periods: VecDeque<_> = versions.iter().flat_map(ended).collect();
                        let unsettled = unsettled(&versions, &closed, last);
                        over.extend(unsettled.into_iter().map(|version| (agreement.clone(), version)));
                        open.push_back(Open { agreement, periods, failures: 0 });
                    }
                    Err(error) => {
                        tracing::error!(%agreement, %error, "an agreement's statements cannot be had");
                        failures.push(error.into());
                    }
                }
            }
        }
        rotate(&mut open, day);
        rotate(&mut over, day);
        let mut statements = Vec::new();
        let is_enough = |drawn: usize| drawn == MOST_A_RUN || !self.has_time(deadline);
        while let Some(mut next) = open.pop_front() {
            let Some((from, to)) = next.periods.pop_front() else { continue };
            if is_enough(statements.len()) {
                tracing::warn!(closed = statements.len(), "what is left is for the next run");
                break;
            }
            let agreement = &next.agreement;
            match self.close(agreement, from, to, metrics).await {
                Ok(issued) => {
                    let mine = (agreement.clone(), issued.version);
                    if issued.waiting > 0 && !over.contains(&mine) {
                        over.push_back(mine);
                    }
                    statements.push(issued);
                }
                Err(error) => {
                    tracing::error!(%agreement, %from, %to, %error, "a period was not closed");
                    failures.push(error);
                    next.failures += 1;
                    // Another one every day, so that none stays behind those that fail.
                    rotate(&mut next.periods, day);
                }
            }
            if next.failures < MOST_FAILURES {
                open.push_back(next);
            }
        }
        // Corrections alone come last: no period's end waits for them.
        while let Some((agreement, version)) = over.pop_front() {
            if is_enough(statements.len()) {
                metrics.count("CorrectionsLeft", over.len() as u64 + 1);
                tracing::warn!(left = over.len() + 1, "corrections that are left are for the next run");
                break;
            }
            match self.correct(&agreement, version, deadline, metrics).await {
                Ok(Some(issued)) => {
                    if issued.waiting > 0 {
                        over.push_back((agreement, version));
                    }
                    statements.push(issued);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%agreement, %version, %error, "corrections were not drawn");
                    failures.push(error);
                }
            }
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            Some(first) => Err(BillError::Some { failed, tried: failed + statements.len(), first: Box::new(first) }),
            None => Ok(Answer::Many { statements }),
        }
    }
}

/// The versions of an agreement whose corrections no period's statement draws: all of one that is over, those that ended and settle
/// otherwise than the newest, and the one whose last statement had no room for all.
fn unsettled(versions: &[HeldVersion], closed: &[StatementHead], last: LocalDay) -> Vec<Hash> {
    let (Some(newest), Some(newest_head)) = (versions.last(), closed.iter().max_by_key(|head| head.time)) else {
        return Vec::new();
    };
    let has_ended = |version: &HeldVersion| version.held.to.is_some_and(|to| to <= last);
    let is_over = versions.iter().all(has_ended);
    let is_full =
        |version: &HeldVersion| newest_head.waiting > 0 && version.held.covers(newest_head.from, newest_head.to);
    let is_unsettled = |version: &&HeldVersion| {
        is_over || (has_ended(version) && version.settles != newest.settles) || is_full(version)
    };
    versions.iter().filter(is_unsettled).map(|version| version.hash).collect()
}

/// Begins a list at another of its elements.
fn rotate<T>(list: &mut VecDeque<T>, by: usize) {
    if !list.is_empty() {
        list.rotate_left(by % list.len());
    }
}

#[cfg(test)]
mod tests;
