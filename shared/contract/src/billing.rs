//! Statements: computed from published summaries of days that agree, once for each period, with corrections of earlier ones.

use vitro_proof::{Decimal, DeviceId, LocalDay};

use crate::acceptance::Acceptance;
use crate::access::{self, Identity, exactly, hash, text};
use crate::agreement::{self, InForce};
use crate::calendar;
use crate::call::{Context, Response};
use crate::corrections::{self, Found, Group, LINE, ROOM, Search};
use crate::data::{by_number, continuity};
use crate::error::ContractError;
use crate::ids::{AgreementId, MeteringPoint, Role, Shard};
use crate::keys;
use crate::model::{
    Agreement, Continuity, Correction, DayOutcome, DayRecord, DeviceStatus, Held, Line, PerUnit, PeriodKind, Service,
    Settlement, Share, Statement, StatementHead, StatementView, Tariff, Unbilled, UnbilledDays,
};
use crate::money;
use crate::status;
use crate::tx::{self, Tx};
use crate::wire::Record;

/// The longest period in days.
pub(crate) const MAX_DAYS: usize = 366;
/// The most lines, and the most entries of unbilled days: a statement is written and answered in one transaction, and Managed
/// Blockchain takes 1 MB of both.
pub const MAX_LINES: usize = 1_000;
/// The most digits of a day's quantity before the point, and after it: with a price's twelve, an amount and a sum of amounts stay
/// within what can be written down and read back.
const QUANTITY_DIGITS: u64 = 40;
/// The most digits of a line's amount in minor units, before the point: no register counts that much in a day, and as many lines as a
/// statement has add up to a total that can be written. So one absurd register is left out, and keeps nobody else from being billed.
const MINOR_DIGITS: u64 = 15;
/// The name of the event that closing raises.
pub const CLOSED_EVENT: &str = "closed";

/// Closes a period. The same period again gives the same statement.
pub(crate) fn close(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [id, from, to] = exactly(args)?;
    let id = text::<AgreementId>("an agreement's id", id)?;
    let (from, to) = (text::<LocalDay>("the first day", from)?, text::<LocalDay>("the last day", to)?);
    let heads = closed(tx, &id)?;
    for head in &heads {
        if (head.from, head.to) == (from, to) {
            return Ok(Response::of(&load(tx, head.id)?));
        }
        if head.from <= to && from <= head.to {
            return Err(ContractError::PeriodOverlaps(format!("{} to {} is closed", head.from, head.to)));
        }
    }
    let InForce { agreement, hash: agreement_hash, held } = agreement::holding(tx, &id, from, to)?;
    check_period(ctx, agreement.term.period, &held, from, to)?;
    let days = calendar::days(from, to, MAX_DAYS)?;
    let mut bill = Bill::default();
    for (point, services) in agreement::points(tx, &agreement)? {
        bill.point(tx, &agreement, &point, &services, &days)?;
    }
    let (versions, group) = (agreement::in_force(tx, &id)?, Group::of(&agreement));
    let search = Search::new(&id, group, &versions, &heads, ROOM.saturating_sub(LINE * bill.lines.len()));
    bill.corrections = search.run(tx, Some((&agreement.shard, to)))?;
    let statement = bill.statement(&agreement, agreement_hash, from, to)?;
    let view = drawn(ctx, tx, statement)?;
    let head = view.head();
    tx.store(&keys::closed(&id, from), &head);
    Ok(Response::of(&view).with_event(CLOSED_EVENT, head.encode()))
}

/// Draws a statement of corrections alone, for what cannot wait for a period's end, has no room there, or has none to wait for: of the
/// days of those versions that have payer, payees, currency and unit of the one that is named.
pub(crate) fn correct(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [id, version] = exactly(args)?;
    let (id, version) = (text::<AgreementId>("an agreement's id", id)?, hash("a version's hash", version)?);
    let (heads, versions) = (closed(tx, &id)?, agreement::in_force(tx, &id)?);
    let not_active = || ContractError::AgreementNotActive(format!("{id} with hash {version}"));
    let InForce { agreement, .. } = versions.iter().find(|there| there.hash == version).ok_or_else(not_active)?;
    let search = Search::new(&id, Group::of(agreement), &versions, &heads, ROOM);
    let found = search.run(tx, None)?;
    let waiting = found.waiting;
    let days = || found.corrections.iter().map(|correction| correction.day);
    let (Some(first), Some(last)) = (days().min(), days().max()) else {
        return match found.examined {
            0 if waiting == 0 => Err(ContractError::NothingToCorrect(id.to_string())),
            // What was looked at is not looked at again.
            _ => Ok(Response::of(&Settlement { statement: None, waiting })),
        };
    };
    let bill = Bill { corrections: found, alone: true, ..Bill::default() };
    let view = drawn(ctx, tx, bill.statement(agreement, version, first, last)?)?;
    let head = view.head();
    let number = tx.under(&keys::all_settled(&id))?.len() as u64;
    tx.store(&keys::settled(&id, number), &head);
    let payload = head.encode();
    Ok(Response::of(&Settlement { statement: Some(view), waiting }).with_event(CLOSED_EVENT, payload))
}

/// Stores a statement, and what its corrections bring their days to.
fn drawn(ctx: &Context, tx: &mut Tx<'_>, statement: Statement) -> Result<StatementView, ContractError> {
    let view = StatementView { id: statement.id(), statement, tx: ctx.tx_id.clone(), time: ctx.timestamp };
    corrections::keep(tx, &view.statement.agreement, view.id, &view.statement.corrections)?;
    tx.store(&keys::statement(view.id), &view);
    Ok(view)
}

fn check_period(
    ctx: &Context,
    period: PeriodKind,
    held: &Held,
    from: LocalDay,
    to: LocalDay,
) -> Result<(), ContractError> {
    if !period.admits(held, from, to) {
        return Err(ContractError::BadPeriod(format!("{from} to {to} is not a period of kind {period}")));
    }
    if !calendar::may_be_over(to, ctx.timestamp) {
        return Err(ContractError::PeriodNotOver(to.to_string()));
    }
    Ok(())
}

/// A statement by its id.
pub(crate) fn statement(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [id] = exactly(args)?;
    Ok(Response::of(&load(tx, hash("a statement's id", id)?)?))
}

/// The statements of an agreement: those of its closed periods in order, then those of corrections alone.
pub(crate) fn statements(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [id] = exactly(args)?;
    let id = text("an agreement's id", id)?;
    let mut heads = closed(tx, &id)?;
    heads.extend(settled(tx, &id)?);
    Ok(Response::of(&heads))
}

pub(crate) fn load(tx: &mut Tx<'_>, id: vitro_proof::Hash) -> Result<StatementView, ContractError> {
    tx.load(&keys::statement(id))?.ok_or_else(|| ContractError::UnknownStatement(id.to_string()))
}

pub(crate) fn closed(tx: &mut Tx<'_>, id: &AgreementId) -> Result<Vec<StatementHead>, ContractError> {
    tx.under(&keys::closed_periods(id))?.iter().map(|(key, bytes)| tx::read(key, bytes)).collect()
}

/// A closed period that ends on the day or later, of an agreement that covers the metering point then.
pub(crate) fn closed_since(
    tx: &mut Tx<'_>,
    shard: &Shard,
    point: &MeteringPoint,
    day: LocalDay,
) -> Result<Option<StatementHead>, ContractError> {
    for id in agreement::ids(tx)? {
        for head in closed(tx, &id)? {
            if head.to < day {
                continue;
            }
            let terms = agreement::holding(tx, &id, head.from, head.to)?.agreement;
            if terms.is_about(shard, point) {
                return Ok(Some(head));
            }
        }
    }
    Ok(None)
}

fn settled(tx: &mut Tx<'_>, id: &AgreementId) -> Result<Vec<StatementHead>, ContractError> {
    tx.under(&keys::all_settled(id))?.iter().map(|(key, bytes)| tx::read(key, bytes)).collect()
}

/// A device's service at a metering point, with what decides whether it is billed.
struct Served<'a> {
    service: &'a Service,
    /// Nothing where it is not asked whether the device counts.
    acceptance: Acceptance,
    status: DeviceStatus,
}

impl<'a> Served<'a> {
    fn of(tx: &mut Tx<'_>, agreement: &Agreement, service: &'a Service) -> Result<Self, ContractError> {
        let acceptance = Acceptance::of(tx, agreement, &service.thing)?;
        Ok(Self { service, acceptance, status: status::of(tx, &service.thing)? })
    }
}

/// What would be said today of a device's day at one of the points that it served; nothing if it did not serve it that day.
pub(crate) fn today(
    tx: &mut Tx<'_>,
    agreement: &Agreement,
    services: &[Service],
    thing: &DeviceId,
    day: LocalDay,
) -> Result<Option<Result<Line, Unbilled>>, ContractError> {
    match services.iter().find(|service| service.thing == *thing && service.holds(day)) {
        Some(service) => {
            let served = Served::of(tx, agreement, service)?;
            line(tx, agreement, &served, day).map(Some)
        }
        None => Ok(None),
    }
}

/// A statement in the making.
#[derive(Default)]
pub(crate) struct Bill {
    lines: Vec<Line>,
    unbilled: Vec<UnbilledDays>,
    corrections: Found,
    alone: bool,
}

impl Bill {
    /// Bills a metering point's days, each by the devices that served it then: on the day of an exchange, by both.
    pub(crate) fn point(
        &mut self,
        tx: &mut Tx<'_>,
        agreement: &Agreement,
        point: &MeteringPoint,
        services: &[Service],
        days: &[LocalDay],
    ) -> Result<(), ContractError> {
        let mut served = Vec::with_capacity(services.len());
        for service in services {
            served.push(Served::of(tx, agreement, service)?);
        }
        for day in days {
            if served.is_empty() {
                self.leave_out(point, None, *day, Unbilled::NoDevice);
            }
            for served in served.iter().filter(|served| served.service.holds(*day)) {
                match line(tx, agreement, served, *day)? {
                    Ok(line) => self.lines.push(line),
                    Err(reason) => self.leave_out(point, Some(&served.service.thing), *day, reason),
                }
            }
            if self.lines.len() > MAX_LINES || self.unbilled.len() > MAX_LINES {
                return Err(ContractError::TooManyLines(format!("more than {MAX_LINES}: close a shorter period")));
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, point: &MeteringPoint, thing: Option<&DeviceId>, day: LocalDay, reason: Unbilled) {
        let same = |last: &&mut UnbilledDays| {
            last.point == *point && last.thing.as_ref() == thing && last.reason == reason && last.to.next() == Some(day)
        };
        match self.unbilled.last_mut().filter(same) {
            Some(last) => last.to = day,
            None => self.unbilled.push(UnbilledDays {
                point: point.clone(),
                thing: thing.cloned(),
                from: day,
                to: day,
                reason,
            }),
        }
    }

    pub(crate) fn statement(
        self,
        agreement: &Agreement,
        agreement_hash: vitro_proof::Hash,
        from: LocalDay,
        to: LocalDay,
    ) -> Result<Statement, ContractError> {
        let corrections = self.corrections.corrections;
        let sum = |of: fn(&Line) -> &Decimal, more: fn(&Correction) -> &Decimal| {
            let all = self.lines.iter().map(of).chain(corrections.iter().map(more));
            all.fold(Decimal::zero(), |sum, next| &sum + next)
        };
        let quantity = sum(|line| &line.quantity, |correction| &correction.quantity);
        let exact = sum(|line| &line.amount, |correction| &correction.amount);
        let total = money::round(&exact, agreement.currency.digits)?;
        let weights: Vec<u64> = agreement.payees.iter().map(|payee| payee.share).collect();
        let amounts = money::split(total, &weights);
        let shares =
            agreement.payees.iter().zip(amounts).map(|(payee, amount)| Share { role: payee.role, amount }).collect();
        Ok(Statement {
            agreement: agreement.id.clone(),
            agreement_hash,
            from,
            to,
            currency: agreement.currency.clone(),
            lines: self.lines,
            unbilled: self.unbilled,
            quantity,
            exact,
            total,
            payer: agreement.payer,
            shares,
            corrections,
            alone: self.alone,
            waiting: self.corrections.waiting,
        })
    }
}

/// A device's day as a line, or why it is none.
fn line(
    tx: &mut Tx<'_>,
    agreement: &Agreement,
    served: &Served<'_>,
    day: LocalDay,
) -> Result<Result<Line, Unbilled>, ContractError> {
    let Service { point, thing, .. } = served.service;
    let Tariff::PerUnit(PerUnit { sensor, unit, price }) = &agreement.tariff;
    let record = tx.load::<DayRecord>(&keys::day(thing, day))?;
    let stored = match record.as_ref().and_then(|record| record.block.as_ref()) {
        Some(block) => by_number(tx, thing, block.number)?,
        None => None,
    };
    if served.acceptance.on(tx, day, stored.as_ref().map(|stored| &stored.opened.block))?.is_none() {
        return Ok(Err(Unbilled::NotApproved));
    }
    let Some(record) = record else { return Ok(Err(Unbilled::NotPublished)) };
    let (Some(stored), Some(account)) = (stored, record.accounts.last()) else { return Ok(Err(Unbilled::NoBlock)) };
    match record.outcome(Some(&stored.opened)) {
        DayOutcome::Agrees => {}
        DayOutcome::Differs => return Ok(Err(Unbilled::Differs)),
        DayOutcome::NoBlock => return Ok(Err(Unbilled::NoBlock)),
    }
    let block = &stored.opened.block;
    // It was published before the device was suspended or exchanged; its later numbers do not count, and nobody splits a sum.
    if !served.status.is_good_before(block.end()) {
        return Ok(Err(Unbilled::BeyondLastGood));
    }
    if block.count > 0 && block.first < served.service.first() {
        return Ok(Err(Unbilled::BeforeService));
    }
    match continuity(tx, thing, &stored.opened)? {
        Some(Continuity::Continues) => {}
        Some(Continuity::HoleBefore) => return Ok(Err(Unbilled::HoleBefore)),
        Some(Continuity::Broken) | None => return Ok(Err(Unbilled::Broken)),
    }
    let Some(summary) = stored.opened.summaries.iter().find(|summary| summary.sensor == *sensor) else {
        return Ok(Err(Unbilled::NoSensor));
    };
    let Some(quantity) = summary.increase().filter(|_| summary.unit == *unit) else {
        return Ok(Err(Unbilled::OtherSensor));
    };
    if !quantity.is_within(QUANTITY_DIGITS, QUANTITY_DIGITS) {
        return Ok(Err(Unbilled::OutOfRange));
    }
    let amount = &quantity * price;
    if !amount.is_within(MINOR_DIGITS.saturating_sub(agreement.currency.digits), 2 * QUANTITY_DIGITS) {
        return Ok(Err(Unbilled::OutOfRange));
    }
    let block = stored.reference();
    Ok(Ok(Line {
        point: point.clone(),
        thing: thing.clone(),
        day,
        block: block.number,
        hash: block.hash,
        tx: block.tx,
        account_tx: account.tx.clone(),
        sensor: sensor.clone(),
        unit: unit.clone(),
        opening: summary.opening.clone(),
        closing: summary.closing().cloned(),
        amount,
        quantity,
    }))
}

impl StatementView {
    /// The statement without its lines.
    #[must_use]
    pub fn head(&self) -> StatementHead {
        let statement = &self.statement;
        StatementHead {
            id: self.id,
            agreement: statement.agreement.clone(),
            from: statement.from,
            to: statement.to,
            total: statement.total,
            currency: statement.currency.clone(),
            lines: statement.lines.len() as u64,
            unbilled: statement.unbilled.len() as u64,
            tx: self.tx.clone(),
            time: self.time,
            corrections: statement.corrections.len() as u64,
            alone: statement.alone,
            waiting: statement.waiting,
        }
    }
}
