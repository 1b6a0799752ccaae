//! A device's status on the ledger: what is missing there, and the calls that bring it there.
//!
//! The registry may have changed several times since the ledger was last brought up to date; only where it stands now counts. So a milder
//! suspension than the ledger's means that there was a reinstatement in between, and the ledger is told both.

use vitro_client::{Channel, Client, ClientError, device_entry, registered};
use vitro_cloud::CloudError;
use vitro_cloud::devices::Device;
use vitro_cloud::sources::DeviceSource;
use vitro_contract::{DeviceStatus, Exchange, Standing};

use crate::fault::{Fault, Stop};

/// The contract's refusals that no further attempt mends. All others may go: roles and identities are repaired, peers come back.
const FOR_GOOD: [&str; 11] = [
    "bad_arguments",
    "bad_device",
    "device_differs",
    "device_retired",
    "exchange_refused",
    "malformed",
    "metering_point_free",
    "metering_point_taken",
    "not_stricter",
    "unknown_device",
    "unknown_function",
];

fn stop(error: ClientError) -> Stop {
    match error {
        ClientError::Refused { code, message } if FOR_GOOD.contains(&code.as_str()) => {
            Fault::LedgerRefuses { message }.into()
        }
        error => Stop::Ledger(error),
    }
}

/// Brings the ledger into agreement with the registry's entry. A device that the ledger does not know has no status there: none of its
/// blocks is taken.
pub(crate) async fn apply(
    ledger: &Client<impl Channel>,
    registry: &impl DeviceSource,
    device: &Device,
) -> Result<(), Stop> {
    let status = match ledger.device(&device.id).await {
        Ok(view) => view.status,
        Err(error) if error.is_not_found() && device.exchange.is_none() => {
            tracing::info!(thing = %device.id, "the ledger does not know it");
            return Ok(());
        }
        Err(error) => return Err(stop(error)),
    };
    let status = match registered::exchange(device) {
        None => status,
        Some(wanted) => {
            exchange(ledger, registry, &wanted).await?;
            ledger.device(&device.id).await.map_err(stop)?.status
        }
    };
    if registered::agrees(device, &status) {
        return Ok(());
    }
    settle(ledger, device, &status).await
}

async fn settle(ledger: &Client<impl Channel>, device: &Device, there: &DeviceStatus) -> Result<(), Stop> {
    let (standing, halt) = registered::standing(device);
    let thing = &device.id;
    let milder = match (&halt, &there.halt) {
        (Some(halt), Some(there)) => !halt.is_as_strict_as(there),
        (None, Some(_)) => true,
        _ => false,
    };
    if milder {
        let tx = ledger.reinstate(thing).await.map_err(stop)?.tx;
        tracing::info!(%thing, %tx, "reinstated on the ledger");
    }
    let Some(halt) = halt else { return Ok(()) };
    let done = match standing {
        Standing::Retired => ledger.retire(thing, &halt).await,
        Standing::Suspended | Standing::Active => ledger.suspend(thing, &halt).await,
    };
    let tx = done.map_err(stop)?.tx;
    tracing::info!(%thing, %tx, %standing, "halted on the ledger");
    Ok(())
}

/// Records an exchange, after registering the new device where that was not done before.
async fn exchange(ledger: &Client<impl Channel>, registry: &impl DeviceSource, wanted: &Exchange) -> Result<(), Stop> {
    let history = ledger.device_history(&wanted.old).await.map_err(stop)?;
    let known = history.services.iter().find_map(|service| service.until.as_ref());
    if known.is_some_and(|known| known.exchange == *wanted) {
        return Ok(());
    }
    match ledger.device(&wanted.new).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {
            let missing = || CloudError::NotFound(format!("the device {}", wanted.new));
            let new = registry.device(&wanted.new).await?.ok_or_else(missing)?;
            let entry =
                device_entry(&new).map_err(|error| CloudError::damaged(format!("the entry of {}", new.id), error))?;
            let tx = ledger.register_successors(&[entry]).await.map_err(stop)?.tx;
            tracing::info!(thing = %wanted.new, %tx, "registered as a successor");
        }
        Err(error) => return Err(stop(error)),
    }
    let tx = ledger.exchange(wanted).await.map_err(stop)?.tx;
    tracing::info!(old = %wanted.old, new = %wanted.new, %tx, "exchanged on the ledger");
    Ok(())
}
