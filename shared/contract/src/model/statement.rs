//! What is owed for a period.

use vitro_proof::crypto::sha256;
use vitro_proof::{Decimal, DeviceId, Hash, LocalDay, SensorName};

use crate::ids::{AgreementId, MeteringPoint, Role};
use crate::model::Currency;
use crate::wire::{Record, record, words};

record! {
    /// A metering point's day that is billed.
    pub struct Line {
        /// Where it was metered.
        0 => point: MeteringPoint,
        /// By which device.
        1 => thing: DeviceId,
        /// On which day.
        2 => day: LocalDay,
        /// The number of the block that says so.
        3 => block: u64,
        /// Its hash.
        4 => hash: Hash,
        /// The transaction that published the block.
        5 => tx: String,
        /// The transaction that published the account that agrees with it.
        6 => account_tx: String,
        /// The counter.
        7 => sensor: SensorName,
        /// Its unit.
        8 => unit: String,
        /// The register at the end of the day before; nothing on a device's first day.
        9 => opening: Option<Decimal>,
        /// The register at the end of the day.
        10 => closing: Option<Decimal>,
        /// What the counter counted.
        11 => quantity: Decimal,
        /// Quantity times price, exactly, in major units. It is not rounded.
        12 => amount: Decimal,
    }
}

words! {
    /// Why a day is not billed.
    pub enum Unbilled {
        /// Nothing was published for the day.
        0 "not_published" => NotPublished,
        /// The device's block did not come.
        1 "no_block" => NoBlock,
        /// Block and account differ.
        2 "differs" => Differs,
        /// RC and DV did not both approve the device, and no chain of it was good that day up to an authority that the agreement pins.
        3 "not_approved" => NotApproved,
        /// The daily block before it is not on the ledger, so its opening stands on nothing.
        4 "hole_before" => HoleBefore,
        /// It does not continue the daily block before it.
        5 "broken" => Broken,
        /// The device has no such sensor that day.
        6 "no_sensor" => NoSensor,
        /// The sensor is no counter, or has another unit than the tariff.
        7 "other_sensor" => OtherSensor,
        /// No device serves the metering point.
        8 "no_device" => NoDevice,
        /// Its run ends beyond the last good number of a suspended or retired device.
        9 "beyond_last_good" => BeyondLastGood,
        /// Its run begins before the first number of the device that counts at this metering point.
        10 "before_service" => BeforeService,
        /// Its quantity has more digits than any meter, and the amount could not be written.
        11 "out_of_range" => OutOfRange,
    }
}

record! {
    /// Days in a row that are not billed for one reason.
    pub struct UnbilledDays {
        /// The metering point.
        0 => point: MeteringPoint,
        /// The device.
        1 => thing: Option<DeviceId>,
        /// The first of the days.
        2 => from: LocalDay,
        /// The last of them.
        3 => to: LocalDay,
        /// Why.
        4 => reason: Unbilled,
    }
}

record! {
    /// A payee's part.
    pub struct Share {
        /// The party.
        0 => role: Role,
        /// In minor units.
        1 => amount: i64,
    }
}

record! {
    /// What is owed for a period. Its id is the hash of these bytes.
    pub struct Statement, "a statement", version 1 {
        /// The agreement.
        1 => agreement: AgreementId,
        /// The hash of what the parties approved.
        2 => agreement_hash: Hash,
        /// The first day.
        3 => from: LocalDay,
        /// The last day.
        4 => to: LocalDay,
        /// The currency.
        5 => currency: Currency,
        /// What is billed, by metering point and day.
        6 => lines: Vec<Line>,
        /// What is not, and why.
        7 => unbilled: Vec<UnbilledDays>,
        /// The sum of the lines' quantities, in the tariff's unit.
        8 => quantity: Decimal,
        /// The sum of the lines' amounts, exactly.
        9 => exact: Decimal,
        /// That sum in whole minor units: the one place where anything is rounded.
        10 => total: i64,
        /// Who pays it.
        11 => payer: Role,
        /// To whom. The shares add up to the total.
        12 => shares: Vec<Share>,
    }
}

impl Statement {
    /// The statement's id.
    #[must_use]
    pub fn id(&self) -> Hash {
        sha256(&[&self.encode()])
    }
}

record! {
    /// A statement as it is stored and answered.
    pub struct StatementView, "a statement's view", version 1 {
        /// Its id.
        1 => id: Hash,
        /// What is owed.
        2 => statement: Statement,
        /// The transaction that closed the period.
        3 => tx: String,
        /// Its timestamp.
        4 => time: i64,
    }
}

record! {
    /// A closed period.
    pub struct StatementHead, "a closed period", version 1 {
        /// The statement's id.
        1 => id: Hash,
        /// The agreement.
        2 => agreement: AgreementId,
        /// The first day.
        3 => from: LocalDay,
        /// The last day.
        4 => to: LocalDay,
        /// In minor units.
        5 => total: i64,
        /// The currency.
        6 => currency: Currency,
        /// How many lines it has.
        7 => lines: u64,
        /// How many entries of days that are not billed.
        8 => unbilled: u64,
        /// The transaction that closed the period.
        9 => tx: String,
        /// Its timestamp.
        10 => time: i64,
    }
}

impl Record for Vec<StatementHead> {
    const NAME: &'static str = "closed periods";
}

record! {
    /// A period as it would have been closed, without its lines.
    pub struct SimulatedPeriod {
        /// The first day.
        0 => from: LocalDay,
        /// The last day.
        1 => to: LocalDay,
        /// How many lines the statement would have.
        2 => lines: u64,
        /// What would not be billed, and why.
        3 => unbilled: Vec<UnbilledDays>,
        /// The sum of the lines' quantities.
        4 => quantity: Decimal,
        /// The sum of their amounts, exactly.
        5 => exact: Decimal,
        /// That sum in whole minor units.
        6 => total: i64,
        /// The payees' parts.
        7 => shares: Vec<Share>,
    }
}

record! {
    /// What a draft would have billed over past days.
    pub struct Simulation, "a simulation", version 1 {
        /// The hash of the draft's terms.
        1 => terms: Hash,
        /// The currency.
        2 => currency: Currency,
        /// Who would pay.
        3 => payer: Role,
        /// The periods, each rounded for itself.
        4 => periods: Vec<SimulatedPeriod>,
        /// What they come to, in minor units.
        5 => total: i64,
    }
}
