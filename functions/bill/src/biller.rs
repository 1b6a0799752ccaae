//! From a request to archived statements.

use serde::{Deserialize, Serialize};
use vitro_cloud::archive::{Archive, PutOnce};
use vitro_cloud::clock::Clock;
use vitro_cloud::metrics::Metrics;
use vitro_contract::{AgreementId, Record, StatementView};
use vitro_proof::{Hash, LocalDay};

use crate::due::due;
use crate::ledger::{BillError, LedgerPort};

/// What the function is asked for: one period of one agreement, or (empty, as the schedule sends it) whatever is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The agreement.
    pub agreement: Option<AgreementId>,
    /// The period's first day.
    pub from: Option<LocalDay>,
    /// The period's last day.
    pub to: Option<LocalDay>,
}

/// What the function answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The periods asked for or due, each with its statement.
    pub statements: Vec<Shown>,
}

/// A statement in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its id on the ledger.
    pub statement: Hash,
    /// The agreement.
    pub agreement: AgreementId,
    /// The first day.
    pub from: LocalDay,
    /// The last day.
    pub to: LocalDay,
    /// The amount owed with its currency, for people.
    pub total: String,
    /// The amount owed in minor units.
    pub total_minor: i64,
    /// The currency's ISO 4217 code.
    pub currency: String,
    /// How many metering points' days are billed.
    pub lines: usize,
    /// The transaction that closed the period.
    pub tx: String,
    /// The archived statement's key: its bytes as they are on the ledger. Beside it lies the same as JSON.
    pub key: String,
}

/// The function with all that it stands on.
pub struct Biller {
    /// The ledger.
    pub ledger: Box<dyn LedgerPort>,
    /// The archive.
    pub archive: Box<dyn Archive>,
    /// Says which periods are due.
    pub clock: Box<dyn Clock>,
    /// The stack's name, the dimension of its metrics.
    pub stack: String,
}

impl Biller {
    /// Closes what is asked for, or what is due.
    ///
    /// # Errors
    /// [`BillError`]; one period's failure does not keep the others from being closed.
    pub async fn handle(&self, request: Request) -> (Result<Answer, BillError>, Metrics) {
        let mut metrics = Metrics::new(&self.stack);
        let answer = self.close_all(request, &mut metrics).await;
        (answer, metrics)
    }

    async fn close_all(&self, request: Request, metrics: &mut Metrics) -> Result<Answer, BillError> {
        let periods = match (request.agreement, request.from, request.to) {
            (Some(agreement), Some(from), Some(to)) => vec![(agreement, from, to)],
            (None, None, None) => self.due().await?,
            _ => return Err(BillError::Request("it names agreement, from and to, or nothing at all")),
        };
        let mut answer = Answer::default();
        let mut failures = Vec::new();
        for (agreement, from, to) in &periods {
            match self.close(agreement, *from, *to, metrics).await {
                Ok(shown) => answer.statements.push(shown),
                Err(error) => {
                    tracing::error!(%agreement, %from, %to, %error, "a period was not closed");
                    failures.push(error);
                }
            }
        }
        let failed = failures.len();
        match failures.into_iter().next() {
            None => Ok(answer),
            Some(only) if periods.len() == 1 => Err(only),
            Some(first) => Err(BillError::Some { failed, periods: periods.len(), first: Box::new(first) }),
        }
    }

    async fn due(&self) -> Result<Vec<(AgreementId, LocalDay, LocalDay)>, BillError> {
        let utc = "Etc/UTC".parse().map_err(vitro_cloud::CloudError::from)?;
        let today = LocalDay::at(&utc, self.clock.now()).map_err(vitro_cloud::CloudError::from)?;
        let mut periods = Vec::new();
        for view in self.ledger.agreements().await?.into_iter().filter(|view| view.active) {
            let id = &view.agreement.id;
            let closed_to = self.ledger.statements(id).await?.iter().map(|head| head.to).max();
            periods.extend(due(&view.agreement, closed_to, today).into_iter().map(|(from, to)| (id.clone(), from, to)));
        }
        Ok(periods)
    }

    async fn close(
        &self,
        agreement: &AgreementId,
        from: LocalDay,
        to: LocalDay,
        metrics: &mut Metrics,
    ) -> Result<Shown, BillError> {
        let heads = self.ledger.statements(agreement).await?;
        let view = match heads.iter().find(|head| (head.from, head.to) == (from, to)) {
            Some(head) => self.ledger.statement(head.id).await?,
            None => self.ledger.close(agreement, from, to).await?,
        };
        let key = self.file(&view, metrics).await?;
        let statement = &view.statement;
        let shown = Shown {
            statement: view.id,
            agreement: statement.agreement.clone(),
            from,
            to,
            total: statement.currency.show(statement.total),
            total_minor: statement.total,
            currency: statement.currency.code.clone(),
            lines: statement.lines.len(),
            tx: view.tx.clone(),
            key,
        };
        tracing::info!(statement = %view.id, %agreement, %from, %to, total = shown.total, tx = view.tx, "closed");
        Ok(shown)
    }

    /// Archives a statement, unless it is archived. The metric counts what was archived, so that a period closed by a run that was cut
    /// short is counted by the run that finishes it.
    async fn file(&self, view: &StatementView, metrics: &mut Metrics) -> Result<String, BillError> {
        let statement = &view.statement;
        let stem = format!("statements/{}/{}_{}", statement.agreement, statement.from, statement.to);
        let json = serde_json::to_vec_pretty(view)
            .map_err(|e| vitro_cloud::CloudError::damaged(format!("statement {}", view.id), e))?;
        self.archive.put_once(&format!("{stem}.json"), json, "application/json").await?;
        let key = format!("{stem}.cbor");
        if matches!(self.archive.put_once(&key, statement.encode(), "application/cbor").await?, PutOnce::Stored(_)) {
            metrics.count("StatementsIssued", 1);
        }
        Ok(key)
    }
}
