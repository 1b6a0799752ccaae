//! Acting on what a batch shows against devices ([`crate::evidence`]): the last writes of a batch.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::stream;
use vitro_cloud::devices::Suspension;
use vitro_cloud::{Clock, CloudError};
use vitro_proof::{DeviceId, UnixMillis};

use crate::Ingest;
use crate::evidence::{Evidence, in_a_row};
use crate::plan::Charge;
use crate::results::Results;
use crate::store::Store;

/// Devices that are acted on at once.
const PARALLEL: usize = 8;

impl<S: Store, C: Clock> Ingest<S, C> {
    /// Suspends devices by the rules. What cannot be acted on comes again with its messages; so does what was not kept as evidence.
    pub(crate) async fn act_on(&self, charges: BTreeMap<DeviceId, Charge>, results: &mut Results) {
        let mut standing = Vec::with_capacity(charges.len());
        for (device, charge) in charges {
            // Evidence that is not kept yet comes again, and all of it is acted on together then.
            match charge.indices.iter().find_map(|index| results.failure(*index)) {
                Some(error) => fail(&charge, &error, results),
                None => standing.push((device, charge)),
            }
        }
        let acted = stream::iter(&standing)
            .map(|(device, charge)| async move { (charge, self.act(device, &charge.evidence).await) })
            .buffer_unordered(PARALLEL)
            .collect::<Vec<_>>()
            .await;
        for (charge, acted) in acted {
            if let Err(error) = acted {
                fail(charge, &Rc::new(error), results);
            }
        }
    }

    async fn act(&self, device: &DeviceId, evidence: &Evidence) -> Result<(), CloudError> {
        let asked = match evidence.equivocal() {
            Some(asked) => Some(asked),
            None => self.failures(device, evidence).await?,
        };
        if let Some((suspension, received)) = asked
            && self.store.suspend(device, &suspension, received).await?
        {
            // What this instance remembers of the device does not hold any more.
            self.registry.forget(device);
        }
        Ok(())
    }

    /// Notes failed signatures. If there are enough of them, those that a good message came after are taken back; what is left in a row
    /// asks for a suspension. Good messages cost nothing by this.
    async fn failures(
        &self,
        device: &DeviceId,
        evidence: &Evidence,
    ) -> Result<Option<(Suspension, UnixMillis)>, CloudError> {
        if evidence.failures.is_empty() {
            return Ok(None);
        }
        let Some(noted) = self.store.note_failures(device, &evidence.failures).await? else { return Ok(None) };
        if noted.len() < self.failures_to_suspend {
            return Ok(None);
        }
        let mut newest = self.store.newest(device).await?;
        newest.received = newest.received.max(self.registry.mark(device).map(|mark| mark.received));
        let (row, older) = in_a_row(&noted, newest.received);
        if row.len() >= self.failures_to_suspend {
            return Ok(evidence.failing(&row, &newest));
        }
        self.store.forget_failures(device, &older).await?;
        Ok(None)
    }
}

fn fail(charge: &Charge, error: &Rc<CloudError>, results: &mut Results) {
    charge.indices.iter().for_each(|index| results.fail(*index, Rc::clone(error)));
}
