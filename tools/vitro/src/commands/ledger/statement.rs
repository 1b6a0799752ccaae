//! Statements for people.

use std::io::Write;

use vitro_contract::{Correction, Owed, Settlement, StatementHead, StatementView};

use super::print::{Shown, short};
use crate::output::{line, table};

/// Closed periods, then corrections alone: their days are in brackets, since those close nothing.
pub(super) fn statements(out: &mut dyn Write, heads: &[StatementHead]) -> Shown {
    let rows: Vec<Vec<String>> = heads
        .iter()
        .map(|head| {
            vec![
                if head.alone { format!("({})", head.from) } else { head.from.to_string() },
                if head.alone { format!("({})", head.to) } else { head.to.to_string() },
                head.currency.show(head.total),
                head.lines.to_string(),
                head.corrections.to_string(),
                head.unbilled.to_string(),
                head.id.to_string(),
            ]
        })
        .collect();
    table(out, &["FROM", "TO", "TOTAL", "LINES", "CORRECTIONS", "UNBILLED", "STATEMENT"], &rows)
}

/// A statement.
pub(super) fn statement(out: &mut dyn Write, view: &StatementView) -> Shown {
    let statement = &view.statement;
    let currency = &statement.currency;
    line(out, &format!("statement    {}", view.id))?;
    let what = if statement.alone { "corrections of " } else { "" };
    line(out, &format!("agreement    {}, {what}{} to {}", statement.agreement, statement.from, statement.to))?;
    let rows: Vec<Vec<String>> = statement
        .lines
        .iter()
        .map(|item| {
            vec![
                item.day.to_string(),
                item.point.to_string(),
                item.thing.to_string(),
                format!("{} {}", item.quantity, item.unit),
                item.amount.to_string(),
                format!("{} {}", item.block, short(&item.hash)),
            ]
        })
        .collect();
    if !statement.alone {
        table(out, &["DAY", "METERING POINT", "DEVICE", "QUANTITY", "AMOUNT", "BLOCK"], &rows)?;
    }
    corrections(out, &statement.corrections)?;
    for left in &statement.unbilled {
        line(out, &format!("not billed   {} to {}  {}  {}", left.from, left.to, left.point, left.reason))?;
    }
    if statement.waiting > 0 {
        line(out, &format!("waiting      {} changes of closed periods, for the next statement", statement.waiting))?;
    }
    line(out, &format!("total        {} ({} exactly)", currency.show(statement.total), statement.exact))?;
    for share in &statement.shares {
        // Below zero it is a credit: the payee gives it back.
        let (from, to) = if share.amount < 0 { (share.role, statement.payer) } else { (statement.payer, share.role) };
        let amount = currency.show(share.amount.saturating_abs());
        line(out, &format!("share        {from} pays {to} {amount}"))?;
    }
    line(out, &format!("closed by    {}", view.tx))
}

/// Days of earlier periods, with what they were billed at and what is owed for them.
fn corrections(out: &mut dyn Write, corrections: &[Correction]) -> Shown {
    if corrections.is_empty() {
        return Ok(());
    }
    let shown = |owed: Option<&Owed>| owed.map_or_else(|| "-".to_owned(), |owed| owed.quantity.to_string());
    let rows: Vec<Vec<String>> = corrections
        .iter()
        .map(|one| {
            let now = match (&one.line, one.reason) {
                (Some(line), _) => format!("{} {}", line.quantity, line.unit),
                (None, Some(reason)) => reason.to_string(),
                (None, None) => "served by another".to_owned(),
            };
            vec![
                one.day.to_string(),
                one.point.to_string(),
                one.thing.to_string(),
                shown(one.before.as_ref()),
                now,
                one.amount.to_string(),
                short(&one.corrects),
            ]
        })
        .collect();
    table(out, &["CORRECTED DAY", "METERING POINT", "DEVICE", "WAS", "IS", "DIFFERENCE", "CORRECTS"], &rows)
}

/// What became of corrections that were asked for.
pub(super) fn settlement(out: &mut dyn Write, settlement: &Settlement) -> Shown {
    match &settlement.statement {
        Some(view) => statement(out, view),
        None => line(out, &format!("nothing is billed otherwise; {} changes wait", settlement.waiting)),
    }
}

#[cfg(test)]
mod tests {
    use vitro_contract::testing::{MemoryLedger, TestDevice, admin};
    use vitro_contract::{Agreement, DeviceApproval, Item, Record, Role, calls};
    use vitro_proof::LocalDay;

    use super::*;

    #[test]
    fn a_credit_is_told_with_what_it_corrects() {
        let day = |text: &str| text.parse::<LocalDay>().unwrap();
        let mut ledger = MemoryLedger::configured(1_800_000_000).unwrap();
        let mut dev = TestDevice::new("dev-1", 1, day("2026-03-01")).unwrap();
        let mut run =
            |role: Role, function: &str, args: &[Vec<u8>]| ledger.submit(&admin(role), function, args).unwrap().payload;
        run(Role::Operator, "registry:register_device", &[dev.entry.encode()]);
        let approvals = vec![DeviceApproval { thing: dev.thing().clone(), entry: dev.entry.hash() }];
        let terms: Agreement = serde_json::from_value(serde_json::json!({
            "id": "a-1", "shard": "north", "points": null, "fields": [{"sensor": "yield", "unit": "kWh"}],
            "tariff": {"kind": "per_unit", "sensor": "yield", "unit": "kWh", "price": "0.25"},
            "currency": {"code": "EUR", "digits": 2}, "term": {"period": "days", "from": "2026-03-01", "to": null},
            "payer": "dv", "payees": [{"role": "rc", "share": 7}, {"role": "sp", "share": 3}],
        }))
        .unwrap();
        run(Role::Rc, "agreement:propose", &[terms.encode()]);
        for role in Role::ALL {
            let approve = calls::approve(&terms.id, terms.hash());
            run(role, approve.function, &approve.args);
        }
        for role in [Role::Rc, Role::Dv] {
            run(role, "registry:approve_devices", &[approvals.encode()]);
        }
        let days: Vec<_> = (0..2).map(|_| dev.seal_day(Some(&4.into())).unwrap()).collect();
        let items: Vec<Item> = days.iter().map(|day| Item::day(day.message.clone(), &day.account)).collect();
        run(Role::Operator, "data:publish", &[items.encode()]);
        let mut close = |from: &str| {
            let call = calls::close(&terms.id, day(from), day(from).next().unwrap());
            call.read(&run(Role::Operator, call.function, &call.args)).unwrap()
        };
        let first = close("2026-03-01");
        let mut worse = days[1].account.clone();
        worse.missing = vec![(worse.first, worse.first)];
        let publish = vec![vec![Item::account(&worse)].encode()];
        ledger.submit(&admin(Role::Operator), "data:publish", &publish).unwrap();
        let call = calls::close(&terms.id, day("2026-03-03"), day("2026-03-04"));
        let payload = ledger.submit(&admin(Role::Operator), call.function, &call.args).unwrap().payload;
        let view = call.read(&payload).unwrap();
        let mut out = Vec::new();
        statement(&mut out, &view).unwrap();
        let text = String::from_utf8(out).unwrap();
        for told in [
            "CORRECTED DAY",
            "2026-03-02",
            "differs",
            "-1",
            &short(&first.id),
            "-1.00 EUR (-1 exactly)",
            "rc pays dv 0.70 EUR",
        ] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}
