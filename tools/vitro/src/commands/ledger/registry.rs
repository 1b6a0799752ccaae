//! Devices on the ledger: what the operator registers, and what RC and DV approve.

use serde::Serialize;
use vitro_client::{Client, device_entry};
use vitro_contract::{ChainView, DeviceApproval, DeviceView};
use vitro_ledger::Ledger;
use vitro_proof::DeviceId;

use super::{ApproveDevicesArgs, Screen, print};
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
    let mut entries = Vec::new();
    for thing in things {
        let malformed = |e| CliError::malformed(format!("the registry entry of {thing}"), e);
        entries.push(device_entry(&session.device(thing).await?).map_err(malformed)?);
    }
    let published = client.register_devices(&entries).await?;
    screen.done(published, |out, page| print::devices(out, &page.devices))
}

/// Approves exactly the entries that are read now.
pub(super) async fn approve(
    client: &Client<Ledger>,
    args: &ApproveDevicesArgs,
    msp: &str,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let mut views = Vec::new();
    match &args.shard {
        Some(shard) => {
            views = client.devices(Some(shard)).await?;
            views.retain(|view| view.approvals.iter().all(|approval| approval.msp != msp));
        }
        None => {
            for thing in &args.things {
                views.push(client.device(thing).await?);
            }
        }
    }
    if views.is_empty() {
        return Err(CliError::NotFound("no device waits for this party's approval".into()));
    }
    let list: Vec<DeviceApproval> =
        views.iter().map(|view| DeviceApproval { thing: view.entry.thing.clone(), entry: view.hash }).collect();
    let published = client.approve_devices(&list).await?;
    screen.done(published, |out, page| print::devices(out, &page.devices))
}

/// A device with its chain.
#[derive(Serialize)]
struct Shown {
    device: DeviceView,
    chain: ChainView,
}

/// Shows a device and its chain.
pub(super) async fn show(client: &Client<Ledger>, thing: &DeviceId, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let shown = Shown { device: client.device(thing).await?, chain: client.chain(thing).await? };
    screen.show(&shown, |out, shown| {
        print::devices(out, std::slice::from_ref(&shown.device))?;
        output::line(out, &format!("entry  {}", shown.device.hash))?;
        let ranges = |ranges: &[(u64, u64)]| {
            let one = |(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from}-{to}") };
            if ranges.is_empty() { "-".to_owned() } else { ranges.iter().map(one).collect::<Vec<_>>().join(", ") }
        };
        output::line(out, &format!("blocks {}  holes {}", ranges(&shown.chain.known), ranges(&shown.chain.holes)))
    })
}
