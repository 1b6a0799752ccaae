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
        /// Its quantity has more digits than any meter, or comes to more money than any day can, and the amount could not be written.
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
    /// What a day came to.
    pub struct Owed {
        /// What the counter counted.
        0 => quantity: Decimal,
        /// What that costs, exactly, in major units.
        1 => amount: Decimal,
    }
}

impl Owed {
    /// What a line says.
    pub(crate) fn of(line: &Line) -> Self {
        Self { quantity: line.quantity.clone(), amount: line.amount.clone() }
    }

    /// What is owed for a day that is not billed.
    pub(crate) fn nothing() -> Self {
        Self { quantity: Decimal::zero(), amount: Decimal::zero() }
    }
}

record! {
    /// A day of an earlier period that is billed otherwise than it was.
    pub struct Correction {
        /// Where it was metered.
        0 => point: MeteringPoint,
        /// By which device.
        1 => thing: DeviceId,
        /// On which day.
        2 => day: LocalDay,
        /// The statement that spoke last of the day: by a line, a correction, or by billing nothing.
        3 => corrects: Hash,
        /// The hash of the version that holds on the day: its price is the day's.
        4 => terms: Hash,
        /// What the day was billed at so far; nothing if it was not billed.
        5 => before: Option<Owed>,
        /// The line that takes the place of what was there; nothing if the day is not billed any more.
        6 => line: Option<Line>,
        /// Why it is not billed; nothing if it is, or if another device serves the point that day.
        7 => reason: Option<Unbilled>,
        /// The difference in quantity: below zero if it was too much.
        8 => quantity: Decimal,
        /// The difference in amount, exactly.
        9 => amount: Decimal,
    }
}

record! {
    /// What a day came to with all its corrections.
    pub(crate) struct Corrected, "a corrected day", version 1 {
        /// The statements that corrected it, oldest first.
        1 => statements: Vec<Hash>,
        /// What it is billed at now.
        2 => billed: Option<Owed>,
    }
}

impl Corrected {
    /// The statement that spoke last of it.
    pub(crate) fn newest(&self) -> Option<Hash> {
        self.statements.last().copied()
    }
}

record! {
    /// How often and how far a shard's periods were closed.
    pub(crate) struct ShardClosed, "a shard's closed periods", version 1 {
        /// The last day that a statement of any agreement closed.
        1 => through: LocalDay,
        /// Counts the statements from 0.
        2 => epoch: u64,
    }
}

record! {
    /// How far the marks of a part were looked at.
    pub(crate) struct Place {
        /// Where the next statement begins.
        0 => next: String,
        /// The last day of that mark that was looked at, if it was begun.
        1 => day: Option<LocalDay>,
    }
}

record! {
    /// How far a shard's marks were looked at.
    pub(crate) struct Examined, "places among marks", version 1 {
        /// The part with which the next statement begins, so that each has its turn.
        1 => turn: u64,
        /// The parts.
        2 => places: Vec<Place>,
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
        /// The sum of the lines' quantities and the corrections', in the tariff's unit.
        8 => quantity: Decimal,
        /// The sum of the lines' amounts and the corrections', exactly.
        9 => exact: Decimal,
        /// That sum in whole minor units: the one place where anything is rounded. Below zero the payees owe it to the payer.
        10 => total: i64,
        /// Who pays it.
        11 => payer: Role,
        /// To whom. The shares add up to the total.
        12 => shares: Vec<Share>,
    } since 2 {
        /// Days of earlier periods that are billed otherwise than they were.
        13 => corrections: Vec<Correction>,
        /// Whether it closes no period: then it holds corrections alone, and its days are those from the first of them to the last.
        14 => alone: bool,
        /// Changes that wait for the next statement, since this one has no room for them.
        15 => waiting: u64,
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
    } since 2 {
        /// How many corrections it has.
        11 => corrections: u64,
        /// Whether it closes no period and holds corrections alone.
        12 => alone: bool,
        /// Changes that wait for the next statement.
        13 => waiting: u64,
    }
}

record! {
    /// What became of the corrections that were asked for.
    pub struct Settlement, "a settlement", version 1 {
        /// The statement; nothing if all that changed comes to what was billed.
        1 => statement: Option<StatementView>,
        /// Changes that wait for the next one.
        2 => waiting: u64,
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
