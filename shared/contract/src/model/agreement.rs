//! What the parties sign.

use serde::{Deserialize, Serialize};
use vitro_proof::chain::check_anchor;
use vitro_proof::crypto::sha256;
use vitro_proof::{Decimal, Hash, LocalDay, SensorName};

use crate::error::ContractError;
use crate::ids::{AgreementId, Bytes, MeteringPoint, Role, Shard};
use crate::model::Held;
use crate::money;
use crate::wire::{Encoder, Record, Wire, Written, expect_fields, record, wire, words};

/// The most digits of a price before the point, and after it.
const PRICE_DIGITS: u64 = 12;

record! {
    /// A sensor whose summaries an agreement is about.
    pub struct Field {
        /// The sensor.
        0 => sensor: SensorName,
        /// Its unit.
        1 => unit: String,
    }
}

record! {
    /// A price for each unit that a counter counts.
    pub struct PerUnit {
        /// The counter.
        0 => sensor: SensorName,
        /// Its unit.
        1 => unit: String,
        /// The price of one unit, in major units of the currency.
        2 => price: Decimal,
    }
}

/// What is owed for what was metered. On the wire `[tag, content]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Tariff {
    /// Tag 0: a price for each unit.
    PerUnit(PerUnit),
}

impl Wire for Tariff {
    fn write(&self, e: &mut Encoder<'_>) -> Written {
        match self {
            Self::PerUnit(per_unit) => per_unit.write(e.array(2)?.u8(0)?),
        }
    }

    fn read(d: &mut minicbor::Decoder<'_>) -> Result<Self, ContractError> {
        expect_fields(d.array().map_err(wire)?, 2)?;
        match d.u64().map_err(wire)? {
            0 => Ok(Self::PerUnit(Wire::read(d)?)),
            other => Err(ContractError::malformed("a tariff", format!("{other} is no known kind"))),
        }
    }
}

record! {
    /// A currency of ISO 4217.
    pub struct Currency {
        /// Its code: three capitals.
        0 => code: String,
        /// How many decimal digits its minor unit has.
        1 => digits: u64,
    }
}

impl Currency {
    /// The currency of a code, with the digits that ISO 4217 gives it.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self { code: code.to_owned(), digits: money::digits_of(code) }
    }

    /// An amount of minor units as people write it: `0.77 EUR`.
    #[must_use]
    pub fn show(&self, minor: i64) -> String {
        let digits = usize::try_from(self.digits).unwrap_or(0).min(18);
        let text = format!("{:0width$}", minor.unsigned_abs(), width = digits + 1);
        let (major, rest) = text.split_at(text.len() - digits);
        let sign = if minor < 0 { "-" } else { "" };
        let point = if digits > 0 { "." } else { "" };
        format!("{sign}{major}{point}{rest} {}", self.code)
    }
}

words! {
    /// Which periods an agreement is billed by.
    pub enum PeriodKind {
        /// Any whole days.
        0 "days" => Days,
        /// A single day.
        1 "day" => Day,
        /// A calendar month.
        2 "month" => Month,
    }
}

impl PeriodKind {
    /// Whether a period begins with this day.
    #[must_use]
    pub fn begins(self, day: LocalDay) -> bool {
        self != Self::Month || day.parts().2 == 1
    }

    /// Cuts days, both included, where periods end. The first and the last part of months may be less than a whole one.
    pub(crate) fn cut(self, days: &[LocalDay]) -> Vec<(LocalDay, LocalDay)> {
        let mut periods: Vec<(LocalDay, LocalDay)> = Vec::new();
        for day in days {
            match periods.last_mut() {
                Some(last) if self == Self::Days || (self == Self::Month && !self.begins(*day)) => last.1 = *day,
                _ => periods.push((*day, *day)),
            }
        }
        periods
    }

    /// The first day of the period that ends with a day, of terms that hold on some days: of a month that these begin or end within, the
    /// part of it. Nothing if no period ends there, or periods are any days.
    #[must_use]
    pub fn ending(self, held: &Held, to: LocalDay) -> Option<LocalDay> {
        if !held.covers(to, to) {
            return None;
        }
        match self {
            Self::Days => None,
            Self::Day => Some(to),
            Self::Month => {
                let ends = held.to == Some(to) || to.next().is_none_or(|next| self.begins(next));
                let (year, month, _) = to.parts();
                let first = LocalDay::new(year, month, 1).ok().filter(|_| ends)?;
                Some(first.max(held.from))
            }
        }
    }

    /// Whether the days, both included, are such a period of terms that hold on some days.
    #[must_use]
    pub fn admits(self, held: &Held, from: LocalDay, to: LocalDay) -> bool {
        match self {
            Self::Days => from <= to && held.covers(from, to),
            Self::Day | Self::Month => self.ending(held, to) == Some(from),
        }
    }
}

record! {
    /// When an agreement holds, in local days of the site.
    pub struct Term {
        /// Which periods are billed.
        0 => period: PeriodKind,
        /// Its first day.
        1 => from: LocalDay,
        /// Its last day; nothing if it is open.
        2 => to: Option<LocalDay>,
    }
}

record! {
    /// A party that is paid.
    pub struct Payee {
        /// The party.
        0 => role: Role,
        /// Its weight among the shares.
        1 => share: u64,
    }
}

record! {
    /// What the parties agree on. They approve the hash of these bytes.
    pub struct Agreement, "an agreement", version 1 {
        /// Its id.
        1 => id: AgreementId,
        /// The shard whose devices it covers.
        2 => shard: Shard,
        /// The metering points it covers, sorted; nothing for all of the shard.
        3 => points: Option<Vec<MeteringPoint>>,
        /// The sensors it is about, sorted by name.
        4 => fields: Vec<Field>,
        /// What is owed.
        5 => tariff: Tariff,
        /// In which currency.
        6 => currency: Currency,
        /// When it holds.
        7 => term: Term,
        /// Who pays.
        8 => payer: Role,
        /// Who is paid, by their shares.
        9 => payees: Vec<Payee>,
    } since 2 {
        /// Authorities whose devices count without anybody's approval: their certificates in DER, sorted. A device's chain is verified up
        /// to one of these; nothing above them is asked.
        10 => authorities: Vec<Bytes>,
    }
}

/// The most metering points that an agreement names: a statement has as many lines.
const MAX_POINTS: usize = crate::billing::MAX_LINES;
/// The most authorities that an agreement pins: each may cost some signatures a device.
const MAX_AUTHORITIES: usize = 8;
/// The longest certificate that is taken, in bytes.
pub(crate) const MAX_CERTIFICATE: usize = 4_096;

/// The largest weight of a share: enough for millionths.
const MAX_SHARE: u64 = 1_000_000_000;

impl Agreement {
    /// The hash that is approved.
    #[must_use]
    pub fn hash(&self) -> Hash {
        sha256(&[&self.encode()])
    }

    /// Whether it is about this sensor.
    #[must_use]
    pub fn covers(&self, sensor: &SensorName) -> bool {
        self.fields.iter().any(|field| field.sensor == *sensor)
    }

    /// Whether it is about a shard's metering point.
    pub(crate) fn is_about(&self, shard: &Shard, point: &MeteringPoint) -> bool {
        self.shard == *shard && self.points.as_ref().is_none_or(|points| points.contains(point))
    }

    /// Checks what can be checked of the agreement alone.
    ///
    /// # Errors
    /// [`ContractError::BadAgreement`] names the first rule that is broken.
    pub fn check(&self) -> Result<(), ContractError> {
        let bad = |why: &str| Err(ContractError::BadAgreement(why.to_owned()));
        if let Some(points) = &self.points
            && (points.is_empty() || points.windows(2).any(|pair| pair[0] >= pair[1]))
        {
            return bad("metering points are sorted, each occurs once, and there is one at least");
        }
        if self.points.as_ref().is_some_and(|points| points.len() > MAX_POINTS) {
            return bad("more metering points than a statement has lines, even of one day");
        }
        if self.fields.is_empty() || self.fields.windows(2).any(|pair| pair[0].sensor >= pair[1].sensor) {
            return bad("fields are sorted by sensor, each occurs once, and there is one at least");
        }
        let Tariff::PerUnit(tariff) = &self.tariff;
        if !self.fields.iter().any(|field| field.sensor == tariff.sensor && field.unit == tariff.unit) {
            return bad("the tariff's sensor and unit are not among the fields");
        }
        if tariff.price.is_negative() {
            return bad("the price is below zero");
        }
        if !tariff.price.is_within(PRICE_DIGITS, PRICE_DIGITS) {
            return bad("the price has more than twelve digits before the point or after it");
        }
        let capitals = self.currency.code.bytes().all(|b| b.is_ascii_uppercase());
        if self.currency.code.len() != 3 || !capitals {
            return bad("a currency has a code of three capitals");
        }
        if self.currency.digits != money::digits_of(&self.currency.code) {
            return bad("the minor unit is not the one that ISO 4217 gives the currency");
        }
        if self.term.to.is_some_and(|to| to < self.term.from) {
            return bad("it ends before it begins");
        }
        let twice = self.payees.windows(2).any(|pair| pair[0].role >= pair[1].role);
        if self.payees.is_empty() || twice || self.payees.iter().any(|payee| payee.role == self.payer) {
            return bad("payees are sorted by role (operator, rc, dv, sp), each occurs once, and none is the payer");
        }
        if self.payees.iter().any(|payee| payee.share == 0 || payee.share > MAX_SHARE) {
            return bad("a share is a whole number from 1 to 1000000000");
        }
        self.check_authorities()
    }

    fn check_authorities(&self) -> Result<(), ContractError> {
        let bad = |why: String| Err(ContractError::BadAgreement(why));
        if self.authorities.len() > MAX_AUTHORITIES {
            return bad(format!("more than {MAX_AUTHORITIES} authorities"));
        }
        if self.authorities.windows(2).any(|pair| pair[0] >= pair[1]) {
            return bad("authorities are sorted by the bytes of their certificates, and each occurs once".into());
        }
        for authority in &self.authorities {
            if authority.0.len() > MAX_CERTIFICATE {
                return bad(format!("an authority's certificate has more than {MAX_CERTIFICATE} bytes"));
            }
            if let Err(fault) = check_anchor(&authority.0) {
                return bad(format!("a pinned authority: {fault}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_with_its_digits() {
        assert_eq!(Currency::of("EUR").show(77), "0.77 EUR");
        assert_eq!(Currency::of("EUR").show(-1205), "-12.05 EUR");
        assert_eq!(Currency::of("JPY").show(5), "5 JPY");
        assert_eq!(Currency::of("KWD").show(1), "0.001 KWD");
    }

    #[test]
    fn periods_are_of_their_kind() {
        let held =
            |from: &str, to: Option<&str>| Held { from: from.parse().unwrap(), to: to.map(|to| to.parse().unwrap()) };
        let always = held("2000-01-01", None);
        let of = |kind: PeriodKind, held: &Held, from: &str, to: &str| {
            kind.admits(held, from.parse().unwrap(), to.parse().unwrap())
        };
        let admits = |kind: PeriodKind, from: &str, to: &str| of(kind, &always, from, to);
        assert!(admits(PeriodKind::Month, "2024-02-01", "2024-02-29"));
        assert!(!admits(PeriodKind::Month, "2024-02-01", "2024-02-28"));
        assert!(!admits(PeriodKind::Month, "2023-02-01", "2024-02-29"));
        assert!(admits(PeriodKind::Day, "2024-02-28", "2024-02-28"));
        assert!(!admits(PeriodKind::Days, "2024-02-28", "2024-02-27"));
        // Of months that the terms begin and end within, the parts.
        let part = held("2024-02-10", Some("2024-05-20"));
        for (from, to, is_one) in [
            ("2024-02-10", "2024-02-29", true),
            ("2024-02-01", "2024-02-29", false),
            ("2024-02-11", "2024-02-29", false),
            ("2024-03-01", "2024-03-31", true),
            ("2024-05-01", "2024-05-20", true),
            ("2024-05-01", "2024-05-19", false),
            ("2024-05-01", "2024-05-31", false),
        ] {
            assert_eq!(of(PeriodKind::Month, &part, from, to), is_one, "{from} to {to}");
        }
        let within = held("2024-02-10", Some("2024-02-12"));
        assert!(of(PeriodKind::Month, &within, "2024-02-10", "2024-02-12"));
        assert!(!of(PeriodKind::Days, &within, "2024-02-09", "2024-02-12"));
        assert!(!of(PeriodKind::Day, &within, "2024-02-09", "2024-02-09"));
    }

    #[test]
    fn an_agreement_reads_from_json() {
        let json = r#"{"id":"a-1","shard":"north","points":null,"fields":[{"sensor":"yield","unit":"kWh"}],
            "tariff":{"kind":"per_unit","sensor":"yield","unit":"kWh","price":"0.25"},
            "currency":{"code":"EUR","digits":2},"term":{"period":"days","from":"2026-01-01","to":null},
            "payer":"dv","payees":[{"role":"rc","share":7},{"role":"sp","share":3}]}"#;
        let agreement: Agreement = serde_json::from_str(json).unwrap();
        agreement.check().unwrap();
        assert_eq!(Agreement::decode(&agreement.encode()).unwrap(), agreement);
        assert!(serde_json::from_str::<Agreement>(&json.replace("\"price\"", "\"pric\"")).is_err());
    }
}
