//! Everything that became of a day, and what an auditor needs of it.

use vitro_proof::{DeviceId, Hash, LocalDay};

use crate::ids::{AgreementId, Bytes, MeteringPoint};
use crate::model::{
    Approval, BlockRef, Continuity, Correction, DayOutcome, DeviceChain, DeviceEntry, Held, History, Line, Roles,
    UnbilledDays,
};
use crate::wire::{record, words};

record! {
    /// An account with what it said.
    pub struct AccountStep {
        /// The account's bytes.
        0 => account: Bytes,
        /// The transaction that published it.
        1 => tx: String,
        /// Its timestamp.
        2 => time: i64,
        /// What it and the day's block say together. The newest account's is the day's.
        3 => outcome: DayOutcome,
    }
}

record! {
    /// A statement that bills a device's day, or says why it does not.
    pub struct Citation {
        /// The statement's id.
        0 => statement: Hash,
        /// The agreement.
        1 => agreement: AgreementId,
        /// The hash of the version by which it bills.
        2 => agreement_hash: Hash,
        /// The period's first day.
        3 => from: LocalDay,
        /// The period's last day.
        4 => to: LocalDay,
        /// The transaction that closed the period.
        5 => tx: String,
        /// Its timestamp.
        6 => time: i64,
        /// The line, if the day is billed.
        7 => line: Option<Line>,
        /// The days that are not billed, this one among them, if it is not.
        8 => unbilled: Option<UnbilledDays>,
        /// Whether what the day was billed at, with its corrections, is what it would be billed at today. Nothing billed is touched by what
        /// came later: the next statement corrects it.
        9 => stands: bool,
        /// The corrections of it on later statements, oldest first.
        10 => corrections: Vec<CitedCorrection>,
    }
}

record! {
    /// A correction with the statement that it is on.
    pub struct CitedCorrection {
        /// The statement's id.
        0 => statement: Hash,
        /// The transaction that drew it.
        1 => tx: String,
        /// Its timestamp.
        2 => time: i64,
        /// What it says.
        3 => correction: Correction,
    }
}

record! {
    /// All that became of a device's day.
    pub struct DayHistory, "a day's history", version 2 {
        /// The device.
        1 => thing: DeviceId,
        /// The day.
        2 => day: LocalDay,
        /// What block and newest account say together; nothing if nothing was published.
        3 => outcome: Option<DayOutcome>,
        /// Whether the block continues the daily block before it.
        4 => continuity: Option<Continuity>,
        /// The daily block.
        5 => block: Option<BlockRef>,
        /// The operator's accounts, oldest first: every one after the first corrects the one before it.
        6 => accounts: Vec<AccountStep>,
        /// The statements whose periods hold the day, by agreement.
        7 => statements: Vec<Citation>,
    }
}

record! {
    /// A device's days, some of them.
    pub struct HistoryPage, "a history of days", version 1 {
        /// The days of which there is anything, in order.
        1 => days: Vec<DayHistory>,
        /// Where the next page begins; nothing on the last.
        2 => next: Option<LocalDay>,
    }
}

record! {
    /// A block of a device.
    pub struct BlockView, "a block", version 1 {
        /// The device.
        1 => thing: DeviceId,
        /// The day that it is of.
        2 => day: LocalDay,
        /// Whether it covers the whole of it.
        3 => daily: bool,
        /// Its place on the ledger.
        4 => block: BlockRef,
        /// Its message, as it came from the device.
        5 => message: Bytes,
    }
}

record! {
    /// A device's entry with who approved it.
    pub struct EntryRevision {
        /// The entry: key, metering point, zone, sensor tables, the hash of the certificate.
        0 => entry: DeviceEntry,
        /// The hash that RC and DV approve.
        1 => hash: Hash,
        /// Counts the device's entries from 0.
        2 => revision: u64,
        /// The transaction that registered it.
        3 => tx: String,
        /// Its timestamp.
        4 => time: i64,
        /// Who approved it.
        5 => approvals: Vec<Approval>,
    }
}

record! {
    /// An agreement that covers a device's day.
    pub struct Covered {
        /// The agreement.
        0 => agreement: AgreementId,
        /// The hash of the version that holds on the day.
        1 => hash: Hash,
        /// The days on which that version holds.
        2 => holds: Held,
        /// The metering point that the device served.
        3 => point: MeteringPoint,
        /// Whether the device counts on the day.
        4 => counts: bool,
        /// By what; nothing if it does not.
        5 => by: Option<Basis>,
        /// SHA-256 of the device's certificate by whose chain it counts, if it counts by a chain.
        6 => certificate: Option<Hash>,
        /// SHA-256 of the pinned authority to which that chain leads.
        7 => authority: Option<Hash>,
        /// The authorities that the version pins: their certificates in DER.
        8 => authorities: Vec<Bytes>,
    }
}

words! {
    /// By what a device counts for an agreement.
    pub enum Basis {
        /// RC and DV approved the entry in force, or an earlier one that has the sensor table of the day's block.
        0 "approvals" => Approvals,
        /// A chain of certificates to an authority that the agreement pins was good when the day ended.
        1 "chain" => Chain,
    }
}

record! {
    /// What an auditor needs of a device's day.
    pub struct AuditDay, "a day for an auditor", version 2 {
        /// What became of it.
        1 => history: DayHistory,
        /// The block's message as it came from the device: its signature verifies under the entry's key.
        2 => message: Option<Bytes>,
        /// The daily block that it names as the one before it, if that is on the ledger.
        3 => previous: Option<BlockRef>,
        /// Every entry that the device ever had, oldest first.
        4 => entries: Vec<EntryRevision>,
        /// Which of them was in force when the block was published; when the day was over, if there is none.
        5 => revision: u64,
        /// What became of the device, and which points it served.
        6 => device: History,
        /// The agreements that cover the day.
        7 => agreements: Vec<Covered>,
        /// Which MSP plays which role.
        8 => roles: Roles,
        /// Every certificate chain of the device: with the authorities of the agreements it can be verified by anybody.
        9 => chains: Vec<DeviceChain>,
    }
}
