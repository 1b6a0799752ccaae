//! What an entry of the registry of devices means on the ledger.

use vitro_cloud::devices::{Cause, Device, Status};
use vitro_contract::{DeviceStatus, Exchange, Halt, Standing, StatusReason};

/// The status that the ledger should have of a device.
#[must_use]
pub fn standing(device: &Device) -> (Standing, Option<Halt>) {
    let standing = match device.status {
        Status::Active => return (Standing::Active, None),
        Status::Suspended => Standing::Suspended,
        Status::Retired => Standing::Retired,
    };
    let halt = Halt {
        // An entry that does not say since when counts for nothing at all.
        at: device.suspended_at.map_or(0, |at| at.0),
        last_good: device.last_good.map(|good| good.0),
        reason: reason(device.cause),
    };
    (standing, Some(halt))
}

/// Whether the ledger has the status that the registry has.
#[must_use]
pub fn agrees(device: &Device, status: &DeviceStatus) -> bool {
    standing(device) == (status.standing, status.halt.clone())
}

/// The exchange that the ledger should have of a device that was replaced.
#[must_use]
pub fn exchange(device: &Device) -> Option<Exchange> {
    device.exchange.as_ref().map(|exchange| Exchange {
        old: device.id.clone(),
        new: exchange.by.clone(),
        day: exchange.day,
        at: exchange.at.0,
        last_good: exchange.last_good.map(|good| good.0),
        first: exchange.first.0,
    })
}

fn reason(cause: Option<Cause>) -> StatusReason {
    match cause {
        None | Some(Cause::Operator) => StatusReason::Operator,
        Some(Cause::Exchanged) => StatusReason::Exchanged,
        Some(Cause::SignatureFailures) => StatusReason::SignatureFailures,
        Some(Cause::Equivocation) => StatusReason::Equivocation,
        Some(Cause::IssuerRevoked) => StatusReason::IssuerRevoked,
        // The ledger takes the device out for good or ill with either; that no certificate heals it is for who would reinstate it.
        Some(Cause::CertificateRevoked | Cause::KeyCompromised) => StatusReason::CertificateRevoked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_the_ledgers_reasons() {
        for cause in Cause::ALL {
            let wanted = if cause == Cause::KeyCompromised { Cause::CertificateRevoked } else { cause };
            assert_eq!(reason(Some(cause)).as_str(), wanted.as_str());
        }
    }
}
