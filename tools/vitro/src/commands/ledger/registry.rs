//! Devices on the ledger: what the operator registers, and what RC and DV approve.

use serde::Serialize;
use vitro_client::Client;
use vitro_cloud::devices::Device;
use vitro_contract::{ChainView, DeviceApproval, DeviceEntry, DeviceView};
use vitro_ledger::Ledger;
use vitro_proof::DeviceId;

use super::{ApproveDevicesArgs, Screen, print};
use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// What the ledger is told of a device: the public part of its registry entry.
fn entry(device: &Device) -> Result<DeviceEntry, CliError> {
    let what = || format!("the registry entry of {}", device.id);
    let malformed = |e: vitro_contract::ContractError| CliError::malformed(what(), e);
    Ok(DeviceEntry {
        thing: device.id.clone(),
        public_key: device.public_key,
        metering_point: device.metering_point.parse().map_err(malformed)?,
        zone: device.zone.clone(),
        shard: device.shard.parse().map_err(malformed)?,
        tables: device.sensor_tables.clone(),
        // AWS IoT's id of a certificate is the SHA-256 of its DER.
        certificate: device.certificate_id.parse()?,
    })
}

/// Registers devices.
pub(super) async fn register(
    client: &Client<Ledger>,
    things: &[DeviceId],
    session: &Session,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let mut entries = Vec::new();
    for thing in things {
        entries.push(entry(&session.device(thing).await?)?);
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

#[cfg(test)]
mod tests {
    use vitro_cloud::devices::Status;
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    #[test]
    fn the_ledger_is_told_what_the_registry_has() {
        let table = r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#;
        let mut device = Device {
            id: "dev-1".parse().unwrap(),
            status: Status::Active,
            suspended_at: None,
            last_good: None,
            cause: None,
            status_revision: 0,
            status_applied: 0,
            revoked_certificates: std::collections::BTreeSet::new(),
            public_key: SoftwareSigner::from_scalar(&[3; 32]).unwrap().public_key(),
            certificate: String::new(),
            certificate_id: "ab".repeat(32),
            metering_point: "mp-1".into(),
            zone: "Etc/GMT+7".parse().unwrap(),
            shard: "west".into(),
            sensor_tables: vec![serde_json::from_str(table).unwrap()],
            mark: None,
            head: None,
            closed_through: None,
            gap_since: None,
        };
        let entry_of = entry(&device).unwrap();
        entry_of.check().unwrap();
        assert_eq!(entry_of.certificate.0, [0xab; 32]);
        device.shard = "we/st".into();
        assert!(matches!(entry(&device), Err(CliError::Malformed { .. })));
    }
}
