//! What a draft would have billed, before anybody approves it.

use vitro_proof::LocalDay;

use crate::access::{self, hash, text};
use crate::agreement;
use crate::billing::{self, Bill, MAX_LINES};
use crate::calendar;
use crate::call::{Context, Response};
use crate::error::ContractError;
use crate::ids::AgreementId;
use crate::model::{Agreement, SimulatedPeriod, Simulation};
use crate::tx::Tx;
use crate::wire::Record;

/// The most days of metering points in one simulation: what twenty statements hold. It is one query, and a peer gives a query 30 seconds.
pub(crate) const MAX_POINT_DAYS: usize = 20_000;

/// Bills past days by a draft's terms as if they had held then. The draft is given as it is, or by the hash under which it was
/// proposed. Its own term does not matter, and neither does what was billed for these days; what `billing:close` would refuse for the
/// number of its lines is refused here too, and so is what would keep a peer for long ([`MAX_POINT_DAYS`]).
pub(crate) fn simulate(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let (draft, from, to) = match args {
        [draft, from, to] => {
            let draft = Agreement::decode(draft)?;
            draft.check()?;
            (draft, from, to)
        }
        [id, hash_text, from, to] => {
            let id = text::<AgreementId>("an agreement's id", id)?;
            (agreement::terms(tx, &id, hash("an agreement's hash", hash_text)?)?, from, to)
        }
        _ => {
            let expected = "the draft, or its id and hash, and first and last day, are expected";
            return Err(ContractError::BadArguments(expected.into()));
        }
    };
    let (from, to) = (text::<LocalDay>("the first day", from)?, text::<LocalDay>("the last day", to)?);
    let days = calendar::days(from, to, billing::MAX_DAYS)?;
    if !calendar::may_be_over(to, ctx.timestamp) {
        return Err(ContractError::PeriodNotOver(to.to_string()));
    }
    let points = agreement::points(tx, &draft)?;
    if points.len().saturating_mul(days.len()) > MAX_POINT_DAYS {
        let told = format!("{} days of {} metering points are more than {MAX_POINT_DAYS}", days.len(), points.len());
        return Err(ContractError::TooManyLines(format!("{told}: simulate fewer days or points")));
    }
    let (mut periods, mut unbilled, mut total) = (Vec::new(), 0, 0_i64);
    for (from, to) in draft.term.period.cut(&days) {
        let days: Vec<LocalDay> = days.iter().copied().filter(|day| (from..=to).contains(day)).collect();
        let mut bill = Bill::default();
        for (point, services) in &points {
            bill.point(tx, &draft, point, services, &days)?;
        }
        let statement = bill.statement(&draft, draft.hash(), from, to)?;
        unbilled += statement.unbilled.len();
        if unbilled > MAX_LINES {
            return Err(ContractError::TooManyLines(format!("more than {MAX_LINES} gaps: simulate fewer days")));
        }
        total = total
            .checked_add(statement.total)
            .ok_or_else(|| ContractError::AmountTooLarge("the sum of the periods".into()))?;
        periods.push(SimulatedPeriod {
            from,
            to,
            lines: statement.lines.len() as u64,
            unbilled: statement.unbilled,
            quantity: statement.quantity,
            exact: statement.exact,
            total: statement.total,
            shares: statement.shares,
        });
    }
    let terms = draft.hash();
    Ok(Response::of(&Simulation { terms, currency: draft.currency, payer: draft.payer, periods, total }))
}
