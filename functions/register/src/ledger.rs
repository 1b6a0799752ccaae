//! The device on the ledger, as every other is: by the operator's word, which RC and DV approve.

use vitro_client::{Channel, Client, ClientError, device_entry};
use vitro_cloud::CloudError;
use vitro_cloud::devices::Device;
use vitro_contract::DeviceChain;

/// Why the ledger does not have the device.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotYet {
    /// It may later: it is away, or throttled.
    #[error(transparent)]
    Again(#[from] ClientError),
    /// It refuses the entry for good.
    #[error("the ledger refuses the device: {code}: {detail}")]
    Refused {
        /// The contract's code.
        code: String,
        /// The contract's words.
        detail: String,
    },
    /// The registry's entry cannot be put on a ledger.
    #[error(transparent)]
    Entry(#[from] CloudError),
}

/// Registers a device, unless it is there. A device that is there keeps its entry: a renewed certificate changes nothing of who it is,
/// and another entry would need the parties' approvals anew. Says whether it is new there.
pub(crate) async fn register<C: Channel>(ledger: &Client<C>, device: &Device) -> Result<bool, NotYet> {
    match ledger.device(&device.id).await {
        Ok(view) if view.entry.public_key == device.public_key => return Ok(false),
        Ok(_) => {
            let detail = format!("{} is there with another key", device.id);
            return Err(NotYet::Refused { code: "device_differs".into(), detail });
        }
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let entry =
        device_entry(device).map_err(|error| CloudError::damaged(format!("the device {}", device.id), error))?;
    // A successor serves nothing before `vitro device exchange`, so that one metering point has one device at a time.
    let registered = match device.replaces {
        None => ledger.register_devices(&[entry]).await,
        Some(_) => ledger.register_successors(&[entry]).await,
    };
    match registered {
        Ok(published) => {
            tracing::info!(thing = %device.id, tx = %published.tx, "the ledger has the device");
            Ok(true)
        }
        Err(ClientError::Refused { code, message }) if !is_passing(&code) => {
            Err(NotYet::Refused { code, detail: message })
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts a device's certificate chain on the ledger, unless it is there: agreements that pin its authority count the device by it. What the
/// ledger refuses of it is told in the log and ends nothing: the device is registered, and can be approved.
pub(crate) async fn certify<C: Channel>(
    ledger: &Client<C>,
    device: &Device,
    chain: &[Vec<u8>],
) -> Result<(), ClientError> {
    let is_there = |there: &DeviceChain| there.certificates.iter().map(|certificate| &certificate.0).eq(chain);
    let certified = match ledger.chains(&device.id).await {
        Ok(chains) if chains.iter().any(is_there) => return Ok(()),
        Ok(_) => ledger.certify(&device.id, chain).await.map(|published| published.tx),
        Err(error) => Err(error),
    };
    match certified {
        Ok(tx) => tracing::info!(thing = %device.id, %tx, "the ledger has its chain"),
        // A chaincode of before this function knows none.
        Err(ClientError::Refused { code, message }) if code == "unknown_function" || !is_passing(&code) => {
            tracing::warn!(thing = %device.id, code, message, "the ledger takes no chain of it");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether a refusal is about the ledger or the operator and not about the device: it goes away without anybody touching the device.
fn is_passing(code: &str) -> bool {
    matches!(code, "state" | "not_configured" | "not_a_party" | "forbidden" | "wrong_identity" | "unknown_function")
}
