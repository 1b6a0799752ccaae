//! What the ledger is told of a device.

use vitro_cloud::devices::Device;
use vitro_contract::{ContractError, DeviceEntry};

/// The public part of a registry entry, as the operator registers it on the ledger.
///
/// # Errors
/// [`ContractError`] if a name in it is none for the ledger.
pub fn device_entry(device: &Device) -> Result<DeviceEntry, ContractError> {
    Ok(DeviceEntry {
        thing: device.id.clone(),
        public_key: device.public_key,
        metering_point: device.metering_point.parse()?,
        zone: device.zone.clone(),
        shard: device.shard.parse()?,
        tables: device.sensor_tables.clone(),
        // AWS IoT's id of a certificate is the SHA-256 of its DER.
        certificate: device.certificate_id.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use vitro_cloud::devices::NewDevice;
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;

    #[test]
    fn the_ledger_is_told_what_the_registry_has() {
        let table = r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#;
        let mut device: Device = NewDevice {
            id: "dev-1".parse().unwrap(),
            replaces: None,
            public_key: SoftwareSigner::from_scalar(&[3; 32]).unwrap().public_key(),
            certificate: String::new(),
            certificate_id: "ab".repeat(32),
            enrolled_at: None,
            metering_point: "mp-1".into(),
            zone: "Etc/GMT+7".parse().unwrap(),
            shard: "west".into(),
            confidential: false,
            sensor_tables: vec![serde_json::from_str(table).unwrap()],
        }
        .into();
        let entry_of = device_entry(&device).unwrap();
        entry_of.check().unwrap();
        assert_eq!(entry_of.certificate.0, [0xab; 32]);
        device.shard = "we/st".into();
        assert!(device_entry(&device).is_err());
    }
}
