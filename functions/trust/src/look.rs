//! One look at all authorities.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vitro_cloud::CloudError;
use vitro_cloud::batch::chain;
use vitro_cloud::metrics::Metrics;
use vitro_cloud::trust::{AcceptedCrl, CrlCheck, TrustedAuthority};
use vitro_proof::{DeviceId, Reason, UnixMillis};

use crate::ports::Ports;
use crate::refresh::Refreshed;

/// What was carried out of a list is looked after again so much later: what was registered meanwhile, or reinstated, is found then.
const AGAIN_MILLIS: i64 = 3_600_000;

/// What the function is invoked with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Look {
    /// Now, in Unix milliseconds; the clock's time if absent.
    #[serde(default)]
    pub now: Option<UnixMillis>,
}

/// What came of an authority's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// A newer one is in force now.
    Newer,
    /// The last one stays.
    Same,
    /// What was found is not taken; the last one stays.
    Fault,
    /// It has no address.
    None,
}

/// What was found of one authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its id.
    pub authority: String,
    /// Its name.
    pub name: String,
    /// What came of its list.
    pub list: Taken,
    /// Why what was found is not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
    /// The devices that were suspended now.
    pub suspended: BTreeSet<DeviceId>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Looked {
    /// The instant that lists were held against, in Unix milliseconds.
    pub now: i64,
    /// Every authority.
    pub authorities: Vec<Report>,
    /// How many authorities have no current list: nothing below them is taken in.
    pub without_list: u64,
}

impl Ports {
    /// Looks at every authority's list and carries out what is in force. One that fails does not stop the others.
    ///
    /// # Errors
    /// The first [`CloudError`], once all were looked at: then it has to be done again.
    pub async fn look(&self, now: UnixMillis, metrics: &mut Metrics) -> Result<Looked, CloudError> {
        let authorities = self.trust.authorities().await?;
        let mut looked = Looked { now: now.0, authorities: Vec::new(), without_list: 0 };
        let mut failed = None;
        for authority in &authorities {
            match self.look_at(authority, &authorities, now, metrics).await {
                Ok((report, list)) => {
                    looked.without_list += u64::from(list.is_none_or(|list| list.next_update <= now));
                    looked.authorities.push(report);
                }
                Err(error) => {
                    tracing::error!(authority = authority.name, error = %chain(&error), "could not be looked at");
                    failed = failed.or(Some(error));
                }
            }
        }
        metrics.gauge("AuthoritiesWithoutList", looked.without_list);
        failed.map_or(Ok(looked), Err)
    }

    async fn look_at(
        &self,
        authority: &TrustedAuthority,
        authorities: &[TrustedAuthority],
        now: UnixMillis,
        metrics: &mut Metrics,
    ) -> Result<(Report, Option<AcceptedCrl>), CloudError> {
        let mut report = Report {
            authority: authority.id.to_string(),
            name: authority.name.clone(),
            list: Taken::None,
            fault: None,
            suspended: BTreeSet::new(),
        };
        let mut in_force = authority.crl.clone();
        if let Some(url) = &authority.crl_url {
            let fault = match self.refresh(authority, url, now).await? {
                Refreshed::Newer(list) => {
                    metrics.count("CrlsAccepted", 1);
                    tracing::info!(authority = authority.name, number = %list.number, "a newer revocation list is in force");
                    report.list = Taken::Newer;
                    in_force = Some(list);
                    None
                }
                Refreshed::Same => {
                    report.list = Taken::Same;
                    None
                }
                Refreshed::Fault(fault) => {
                    metrics.count_reason("CrlFaults", fault.reason(), 1);
                    tracing::error!(authority = authority.name, url, reason = fault.reason(), %fault, "a revocation list is not taken");
                    report.list = Taken::Fault;
                    report.fault = Some(fault.reason());
                    Some((fault.reason().to_owned(), fault.to_string()))
                }
            };
            self.trust.note_check(authority.id, &CrlCheck { at: now, fault }).await?;
        }
        if let Some(list) = &in_force {
            let carried_out = authority.applied.is_some_and(|(digest, at)| {
                digest == list.digest && now.0.saturating_sub(at.0) < AGAIN_MILLIS && at <= now
            });
            if !carried_out {
                let crl = self.list(authority, list).await?;
                report.suspended = self.apply(authority, &crl, authorities, now).await?;
                metrics.count("DevicesRevoked", report.suspended.len() as u64);
                self.trust.note_applied(authority.id, list.digest, now).await?;
            }
        }
        Ok((report, in_force))
    }
}
