//! Devices on the ledger: what the operator registers, and what RC and DV approve.

use serde::Serialize;
use vitro_client::{Client, device_entry};
use vitro_cloud::devices::Status;
use vitro_cloud::queue::{Outbox, StatusTask};
use vitro_contract::{ChainView, DeviceChain, DeviceView};
use vitro_ledger::Ledger;
use vitro_proof::DeviceId;

use super::{Screen, approvals, print};
use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// Registers devices.
pub(super) async fn register(
    client: &Client<Ledger>,
    things: &[DeviceId],
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let mut devices = Vec::new();
    for thing in things {
        devices.push(session.device(thing).await?);
    }
    // Of a metering point that another device serves: it waits to be exchanged for that.
    let (successors, first): (Vec<_>, Vec<_>) = devices.iter().partition(|device| device.replaces.is_some());
    for (devices, is_successor) in [(first, false), (successors, true)] {
        let mut entries = Vec::new();
        for device in devices {
            let malformed = |e| CliError::malformed(format!("the registry entry of {}", device.id), e);
            entries.push(device_entry(device).map_err(malformed)?);
        }
        for part in entries.chunks(approvals::BATCH) {
            let published = match is_successor {
                true => client.register_successors(part).await?,
                false => client.register_devices(part).await?,
            };
            screen.done(published, |out, page| print::devices(out, &page.devices))?;
        }
    }
    // What was suspended before the ledger knew it is suspended there, too.
    for device in devices.iter().filter(|device| device.status != Status::Active) {
        session.status_queue().await?.status(&StatusTask { thing: device.id.clone() }).await?;
    }
    Ok(())
}

/// A device with its chain.
#[derive(Serialize)]
struct Shown {
    device: DeviceView,
    chain: ChainView,
    certificates: Vec<DeviceChain>,
}

/// Shows a device and its chain.
pub(super) async fn show(client: &Client<Ledger>, thing: &DeviceId, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let shown = Shown {
        device: client.device(thing).await?,
        chain: client.chain(thing).await?,
        certificates: client.chains(thing).await?,
    };
    screen.show(&shown, |out, shown| {
        print::devices(out, std::slice::from_ref(&shown.device))?;
        output::line(out, &format!("entry  {}", shown.device.hash))?;
        let ranges = |ranges: &[(u64, u64)]| {
            let one = |(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from}-{to}") };
            if ranges.is_empty() { "-".to_owned() } else { ranges.iter().map(one).collect::<Vec<_>>().join(", ") }
        };
        output::line(out, &format!("blocks {}  holes {}", ranges(&shown.chain.known), ranges(&shown.chain.holes)))?;
        if shown.certificates.is_empty() { Ok(()) } else { print::chains(out, &shown.certificates) }
    })
}
