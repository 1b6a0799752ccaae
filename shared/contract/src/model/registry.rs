//! Roles and devices.

use std::collections::BTreeSet;

use vitro_proof::crypto::{P256Key, sha256};
use vitro_proof::{DeviceId, Hash, PublicKey, SensorTable, ZoneName};

use crate::error::ContractError;
use crate::ids::{Bytes, MeteringPoint, MspId, Role, Shard};
use crate::model::DeviceStatus;
use crate::wire::{Record, record};

record! {
    /// Which MSP plays which role. Each party submits the same bytes of it to `registry:configure`.
    pub struct Roles, "roles", version 1 {
        /// Runs Vitro.
        1 => operator: MspId,
        /// Resource consumption.
        2 => rc: MspId,
        /// Data verification.
        3 => dv: MspId,
        /// Service provider.
        4 => sp: MspId,
    }
}

impl Roles {
    /// The MSP that plays a role.
    #[must_use]
    pub fn msp(&self, role: Role) -> &MspId {
        match role {
            Role::Operator => &self.operator,
            Role::Rc => &self.rc,
            Role::Dv => &self.dv,
            Role::Sp => &self.sp,
        }
    }

    /// The role that an MSP plays.
    #[must_use]
    pub fn role_of(&self, msp: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| self.msp(*role).as_str() == msp)
    }

    /// Checks that four different MSPs are named: whoever played two roles could approve its own proposals.
    ///
    /// # Errors
    /// [`ContractError::BadArguments`].
    pub fn check(&self) -> Result<(), ContractError> {
        let msps: BTreeSet<&MspId> = Role::ALL.iter().map(|role| self.msp(*role)).collect();
        if msps.len() == Role::ALL.len() {
            Ok(())
        } else {
            Err(ContractError::BadArguments("the four roles are played by four different MSPs".into()))
        }
    }
}

record! {
    /// How far the parties are with their roles.
    pub struct RolesStatus, "the roles' status", version 1 {
        /// The roles in force; nothing until all four MSPs submitted the same.
        1 => in_force: Option<Roles>,
        /// Of the four named (in force, or by the caller's own vote), those who submitted the same as the caller.
        2 => agreed: Vec<MspId>,
    }
}

record! {
    /// What an MSP wants the roles to be.
    pub(crate) struct RolesVote, "a vote for roles", version 1 {
        /// The bytes of its proposal.
        1 => proposal: Bytes,
        /// The transaction.
        2 => tx: String,
        /// Its timestamp.
        3 => time: i64,
    }
}

record! {
    /// What the operator registers of a device, and what RC and DV approve: by the hash of these bytes.
    pub struct DeviceEntry, "a device's entry", version 1 {
        /// The device.
        1 => thing: DeviceId,
        /// Its public key: an uncompressed SEC1 point of P-256.
        2 => public_key: PublicKey,
        /// Where it meters.
        3 => metering_point: MeteringPoint,
        /// The site's time zone.
        4 => zone: ZoneName,
        /// The shard it belongs to.
        5 => shard: Shard,
        /// Every version of its sensor table so far, oldest first.
        6 => tables: Vec<SensorTable>,
        /// SHA-256 over the DER of its certificate.
        7 => certificate: Hash,
    }
}

impl DeviceEntry {
    /// The hash that is approved.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&[&self.encode()])
    }

    /// The sensor table of a version.
    #[must_use]
    pub fn table(&self, version: u64) -> Option<&SensorTable> {
        self.tables.iter().find(|table| table.version() == version)
    }

    /// Checks what can be checked of the entry alone.
    ///
    /// # Errors
    /// [`ContractError::BadDevice`].
    pub fn check(&self) -> Result<(), ContractError> {
        let bad = |why: &str| Err(ContractError::BadDevice(format!("{}: {why}", self.thing)));
        if P256Key::new(&self.public_key).is_err() {
            return bad("the public key is not a point of P-256");
        }
        if self.tables.is_empty() {
            return bad("it has no sensor table");
        }
        if self.tables.windows(2).any(|pair| pair[0].version() >= pair[1].version()) {
            return bad("the versions of its sensor tables do not ascend");
        }
        Ok(())
    }

    /// Checks that `next` is the same device: its key, place and earlier sensor tables stay, only tables may be added and the
    /// certificate renewed.
    pub(crate) fn check_continued_by(&self, next: &Self) -> Result<(), ContractError> {
        let differs = |what: &str| Err(ContractError::DeviceDiffers(format!("{}: {what}", self.thing)));
        if self.public_key != next.public_key {
            return differs("a device is its key; another key is another device");
        }
        if (&self.metering_point, &self.zone, &self.shard) != (&next.metering_point, &next.zone, &next.shard) {
            return differs("metering point, zone and shard stay");
        }
        if !next.tables.starts_with(&self.tables) {
            return differs("a registered sensor table stays as it is");
        }
        Ok(())
    }
}

record! {
    /// An entry in force.
    pub(crate) struct DeviceRecord, "a device's record", version 1 {
        /// The entry's bytes as they were registered.
        1 => entry: Bytes,
        /// Counts a device's entries from 0.
        2 => revision: u64,
        /// The transaction that registered it.
        3 => tx: String,
        /// Its timestamp.
        4 => time: i64,
    }
}

impl DeviceRecord {
    pub(crate) fn open(&self) -> Result<DeviceEntry, ContractError> {
        DeviceEntry::decode(&self.entry.0).map_err(|error| ContractError::Damaged(error.to_string()))
    }
}

record! {
    /// A device's certificate and those above it. Who registers it claims nothing but this: the contract verifies it against the
    /// authorities that an agreement pins, for each day that is to count by it.
    pub struct DeviceChain, "a device's chain", version 1 {
        /// Certificates in DER: the device's own first, then authorities in any order; the pinned one may be left out.
        1 => certificates: Vec<Bytes>,
        /// The transaction that registered it.
        2 => tx: String,
        /// Its timestamp.
        3 => time: i64,
    }
}

impl DeviceChain {
    /// SHA-256 of the device's certificate.
    #[must_use]
    pub fn certificate(&self) -> Option<Hash> {
        self.certificates.first().map(|leaf| sha256(&[&leaf.0]))
    }
}

impl Record for Vec<DeviceChain> {
    const NAME: &'static str = "a device's chains";
}

record! {
    /// One device in a list of approvals.
    pub struct DeviceApproval {
        /// The device.
        0 => thing: DeviceId,
        /// The hash of the entry that is approved.
        1 => entry: Hash,
    }
}

impl Record for Vec<DeviceApproval> {
    const NAME: &'static str = "a list of approvals";
}

record! {
    /// Who approved something, and when.
    pub struct Approval, "an approval", version 1 {
        /// The party.
        1 => role: Role,
        /// Its MSP.
        2 => msp: String,
        /// SHA-256 over the DER of the certificate that signed.
        3 => certificate: Hash,
        /// The transaction.
        4 => tx: String,
        /// Its timestamp.
        5 => time: i64,
    }
}

record! {
    /// A device as the ledger has it.
    pub struct DeviceView, "a device", version 2 {
        /// The entry in force.
        1 => entry: DeviceEntry,
        /// The hash that RC and DV approve.
        2 => hash: Hash,
        /// Counts the device's entries from 0.
        3 => revision: u64,
        /// The transaction that registered it.
        4 => tx: String,
        /// Its timestamp.
        5 => time: i64,
        /// Who approved this entry.
        6 => approvals: Vec<Approval>,
        /// Whether it counts for every agreement that covers it: RC and DV approved this entry. An agreement that pins authorities may
        /// count it by its chain besides (`registry:chains`).
        7 => counts: bool,
        /// Whether its blocks are taken.
        8 => status: DeviceStatus,
        /// Whether it serves its metering point: another one may have taken it over, or still serve it.
        9 => serves: bool,
    }
}

record! {
    /// Some of the devices, in the order of their names.
    pub struct DevicePage, "devices", version 1 {
        /// The devices.
        1 => devices: Vec<DeviceView>,
        /// Where the next page begins; nothing on the last.
        2 => next: Option<DeviceId>,
    }
}
