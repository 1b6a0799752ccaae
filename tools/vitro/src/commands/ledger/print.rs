//! The ledger's answers for people.

use std::io::Write;

use vitro_contract::{
    Agreement, AgreementView, DayView, DeedKind, DeviceChain, DeviceView, RolesStatus, Simulation, SummaryRow, Tariff,
};
use vitro_ledger::{Block, ProcessedTransaction};
use vitro_proof::UnixMillis;
use vitro_proof::chain::{Certificate, CertificateId};
use vitro_proof::summary::Figures;

use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output::{line, table};

pub(super) type Shown = Result<(), CliError>;

pub(super) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "-".into() } else { all.join(", ") }
}

pub(super) fn short(hash: &impl ToString) -> String {
    hash.to_string().chars().take(16).collect()
}

/// The roles.
pub(super) fn roles(out: &mut dyn Write, status: &RolesStatus) -> Shown {
    let state = match &status.in_force {
        Some(roles) => {
            format!("operator {}, rc {}, dv {}, sp {}", roles.operator, roles.rc, roles.dv, roles.sp)
        }
        None => format!("not in force yet; agreed so far: {}", list(&status.agreed)),
    };
    line(out, &format!("roles     {state}"))
}

/// A block.
pub(super) fn block(out: &mut dyn Write, block: &Block) -> Shown {
    line(out, &format!("block     {}", block.number))?;
    line(out, &format!("hash      {}", hex::encode(&block.hash)))?;
    line(out, &format!("previous  {}", hex::encode(&block.previous_hash)))?;
    line(
        out,
        &format!("data      {}", if block.data_hash_matches { "matches its hash" } else { "DOES NOT MATCH ITS HASH" }),
    )?;
    let rows: Vec<Vec<String>> = block
        .transactions
        .iter()
        .map(|tx| {
            let function = if tx.function.is_empty() { tx.kind.clone() } else { tx.function.clone() };
            vec![
                // Whole, since `transaction` takes no part of it.
                tx.tx_id.clone(),
                function,
                tx.creator_msp.clone(),
                tx.code.name().to_owned(),
                show_seconds(tx.timestamp),
            ]
        })
        .collect();
    table(out, &["TRANSACTION", "FUNCTION", "BY", "VERDICT", "TIME"], &rows)
}

/// A transaction.
pub(super) fn transaction(out: &mut dyn Write, found: &ProcessedTransaction) -> Shown {
    let tx = &found.transaction;
    for (name, value) in [
        ("transaction", tx.tx_id.clone()),
        ("block", found.block_number.to_string()),
        ("verdict", tx.code.name().to_owned()),
        ("function", tx.function.clone()),
        ("by", tx.creator_msp.clone()),
        ("endorsed by", list(&tx.endorsers)),
        ("time", show_seconds(tx.timestamp)),
    ] {
        line(out, &format!("{name:<12} {value}"))?;
    }
    Ok(())
}

/// Devices.
pub(super) fn devices(out: &mut dyn Write, devices: &[DeviceView]) -> Shown {
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|view| {
            vec![
                view.entry.thing.to_string(),
                view.entry.metering_point.to_string(),
                view.entry.shard.to_string(),
                list(view.approvals.iter().map(|approval| approval.role)),
                if view.counts { "yes" } else { "by chain only" }.to_owned(),
                short(&view.hash),
            ]
        })
        .collect();
    table(out, &["DEVICE", "METERING POINT", "SHARD", "APPROVED BY", "COUNTS", "ENTRY"], &rows)
}

/// Devices with what is approved of them, one after another.
pub(super) fn entries(out: &mut dyn Write, devices: &[DeviceView]) -> Shown {
    for DeviceView { entry, hash, .. } in devices {
        let sensors = entry.tables.iter().map(|table| {
            let sensors = table.sensors().iter().map(|sensor| format!("{} ({})", sensor.name, sensor.unit));
            format!("table {}: {}", table.version(), list(sensors))
        });
        for (name, value) in [
            ("device", entry.thing.to_string()),
            ("public key", entry.public_key.to_string()),
            ("meters", format!("{} of shard {}, in {}", entry.metering_point, entry.shard, entry.zone)),
            ("sensors", sensors.collect::<Vec<_>>().join("; ")),
            ("certificate", entry.certificate.to_string()),
            ("entry", hash.to_string()),
        ] {
            line(out, &format!("{name:<12} {value}"))?;
        }
        line(out, "")?;
    }
    Ok(())
}

/// An agreement.
pub(super) fn agreement(out: &mut dyn Write, view: &AgreementView) -> Shown {
    let agreement = &view.agreement;
    let Tariff::PerUnit(tariff) = &agreement.tariff;
    let points = agreement.points.as_ref().map_or_else(|| "all of the shard".into(), list);
    let show_end = |to: Option<vitro_proof::LocalDay>| to.map_or_else(|| "open".to_owned(), |to| to.to_string());
    let until = show_end(agreement.term.to);
    let state = if view.active { "active" } else { "not active" };
    if view.kind != DeedKind::Agreement {
        let replaces = view.replaces.map_or_else(|| "-".into(), |hash| hash.to_string());
        line(out, &format!("{:<12} of {replaces}", view.kind))?;
    }
    if let Some(last) = view.last {
        line(out, &format!("ends         with {last}"))?;
    }
    if let Some(held) = &view.holds {
        line(out, &format!("holds        {} to {}", held.from, show_end(held.to)))?;
    }
    let payees = agreement.payees.iter().map(|payee| format!("{} {}", payee.role, payee.share));
    for (name, value) in [
        ("agreement", format!("{} ({state})", agreement.id)),
        ("hash", view.hash.to_string()),
        ("covers", format!("{}: {points}", agreement.shard)),
        ("price", format!("{} {} per {} of {}", tariff.price, agreement.currency.code, tariff.unit, tariff.sensor)),
        ("term", format!("{} to {until}, by {}", agreement.term.from, agreement.term.period)),
        ("payment", format!("{} pays {}", agreement.payer, list(payees))),
        ("accepts", accepts(agreement)),
        ("approved by", list(view.approvals.iter().map(|approval| approval.role))),
    ] {
        line(out, &format!("{name:<12} {value}"))?;
    }
    Ok(())
}

/// By what devices count.
fn accepts(agreement: &Agreement) -> String {
    let vouched = agreement.authorities.iter().map(|authority| {
        let facts = Certificate::read(&authority.0);
        let name = facts.as_ref().ok().and_then(|facts| facts.common_name()).unwrap_or("an authority").to_owned();
        format!("devices certified by {name:?} ({})", short(&CertificateId::of(&authority.0)))
    });
    std::iter::once("devices approved by rc and dv".to_owned()).chain(vouched).collect::<Vec<_>>().join(", ")
}

/// A device's chains.
pub(super) fn chains(out: &mut dyn Write, chains: &[DeviceChain]) -> Shown {
    let rows: Vec<Vec<String>> = chains
        .iter()
        .map(|chain| {
            let leaf = chain.certificates.first().and_then(|leaf| Certificate::read(&leaf.0).ok());
            let day = |at: Option<UnixMillis>| at.map_or_else(|| "-".to_owned(), |at| show_seconds(at.seconds()));
            vec![
                chain.certificate().map_or_else(|| "-".to_owned(), |hash| short(&hash)),
                day(leaf.as_ref().map(Certificate::not_before)),
                day(leaf.as_ref().map(Certificate::not_after)),
                (chain.certificates.len().saturating_sub(1)).to_string(),
                short(&chain.tx),
            ]
        })
        .collect();
    table(out, &["CERTIFICATE", "FROM", "TO", "AUTHORITIES", "TRANSACTION"], &rows)
}

/// What a draft would have billed.
pub(super) fn simulation(out: &mut dyn Write, simulation: &Simulation) -> Shown {
    let currency = &simulation.currency;
    let rows: Vec<Vec<String>> = simulation
        .periods
        .iter()
        .map(|period| {
            let shares = period.shares.iter().map(|share| format!("{} {}", share.role, currency.show(share.amount)));
            vec![
                period.from.to_string(),
                period.to.to_string(),
                period.quantity.to_string(),
                currency.show(period.total),
                period.lines.to_string(),
                period.unbilled.len().to_string(),
                list(shares),
            ]
        })
        .collect();
    table(out, &["FROM", "TO", "QUANTITY", "TOTAL", "LINES", "UNBILLED", "SHARES"], &rows)?;
    line(out, &format!("terms        {}", simulation.terms))?;
    line(out, &format!("{} would have paid {}", simulation.payer, currency.show(simulation.total)))
}

/// Summaries.
pub(super) fn summaries(out: &mut dyn Write, rows: &[SummaryRow]) -> Shown {
    let mut cells = Vec::new();
    for row in rows {
        let front = |sensor: String, figure: String| {
            vec![
                row.day.to_string(),
                row.thing.to_string(),
                row.point.to_string(),
                row.outcome.to_string(),
                row.continuity.map_or_else(|| "-".into(), |continuity| continuity.to_string()),
                sensor,
                figure,
            ]
        };
        if row.summaries.is_empty() {
            cells.push(front("-".into(), "-".into()));
        }
        for summary in &row.summaries {
            let figure = match &summary.figures {
                Some(Figures::Counter { increase, .. }) => format!("{increase} {}", summary.unit),
                Some(Figures::Gauge { min, max, .. }) => format!("{min} to {max} {}", summary.unit),
                None => "no values".into(),
            };
            cells.push(front(summary.sensor.to_string(), figure));
        }
    }
    table(out, &["DAY", "DEVICE", "METERING POINT", "OUTCOME", "CHAIN", "SENSOR", "FIGURE"], &cells)
}

/// A day.
pub(super) fn day(out: &mut dyn Write, view: &DayView) -> Shown {
    let block = view.block.as_ref().map(|block| format!("{} {} by transaction {}", block.number, block.hash, block.tx));
    let continuity = view.continuity.map_or_else(|| "-".into(), |continuity| continuity.to_string());
    line(out, &format!("day       {} {}", view.thing, view.day))?;
    line(out, &format!("outcome   {} (chain: {continuity})", view.outcome))?;
    line(out, &format!("block     {}", block.unwrap_or_else(|| "-".into())))?;
    for account in &view.accounts {
        line(out, &format!("account   by transaction {} at {}", account.tx, show_seconds(account.time)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vitro_ledger::{BlockTransaction, TxValidationCode};

    use super::*;

    fn printed(print: impl Fn(&mut Vec<u8>) -> Shown) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_blocks_transactions_can_be_asked_for_and_tell_who_endorsed_them() {
        let one = BlockTransaction {
            tx_id: "0123456789abcdef".repeat(4),
            function: "data:publish".into(),
            creator_msp: "OperatorMSP".into(),
            code: TxValidationCode::Valid,
            endorsers: vec!["OperatorMSP".into(), "DvMSP".into(), "SpMSP".into()],
            ..BlockTransaction::default()
        };
        let whole = Block {
            number: 7,
            hash: vec![1],
            previous_hash: vec![2],
            data_hash: vec![3],
            data_hash_matches: true,
            transactions: vec![one.clone()],
        };
        let text = printed(|out| block(out, &whole));
        assert!(text.lines().any(|line| line.starts_with(&one.tx_id)), "{text}");
        let found = ProcessedTransaction { block_number: 7, transaction: one };
        let text = printed(|out| transaction(out, &found));
        assert!(text.contains("endorsed by  OperatorMSP, DvMSP, SpMSP\n"), "{text}");
        let configuration = ProcessedTransaction { block_number: 0, transaction: BlockTransaction::default() };
        assert!(printed(|out| transaction(out, &configuration)).contains("endorsed by  -\n"));
    }
}
