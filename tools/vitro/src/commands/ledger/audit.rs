//! What became of days, for people and for auditors.

use std::io::Write;

use serde::Serialize;
use vitro_client::{Channel, Client};
use vitro_contract::{AliveView, AuditDay, Basis, Citation, CitedCorrection, DayHistory, Hour, Hours, Shard};

use super::Screen;
use super::print::{Shown, list, short};
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output::{line, table};

/// A day with its accounts and the statements that cite it.
pub(super) fn history(out: &mut dyn Write, day: &DayHistory) -> Shown {
    let outcome = day.outcome.map_or_else(|| "nothing was published".to_owned(), |outcome| outcome.to_string());
    let continuity = day.continuity.map_or_else(|| "-".into(), |continuity| continuity.to_string());
    line(out, &format!("day       {} {}", day.thing, day.day))?;
    line(out, &format!("outcome   {outcome} (chain: {continuity})"))?;
    if let Some(block) = &day.block {
        line(out, &format!("block     {} {} by transaction {}", block.number, block.hash, block.tx))?;
    }
    for (n, step) in day.accounts.iter().enumerate() {
        let what = if n == 0 { "account   " } else { "corrected " };
        line(out, &format!("{what}{} by transaction {} at {}", step.outcome, step.tx, show_seconds(step.time)))?;
    }
    for citation in &day.statements {
        line(out, &cited(citation))?;
        for CitedCorrection { statement, correction, .. } in &citation.corrections {
            line(out, &format!("          corrected by {}: {} more", short(statement), correction.amount))?;
        }
    }
    Ok(())
}

fn cited(citation: &Citation) -> String {
    let Citation { statement, agreement, from, to, line, unbilled, stands, .. } = citation;
    let said = match (line, unbilled) {
        (Some(line), _) => format!("{} {} for {}", line.quantity, line.unit, line.amount),
        (None, Some(left)) => format!("not billed: {}", left.reason),
        (None, None) => "nothing".to_owned(),
    };
    let today = if *stands { "" } else { "; the next statement corrects it" };
    format!("statement {} of {agreement}, {from} to {to}: {said}{today}", short(statement))
}

/// A day as an auditor needs it, without the bytes.
pub(super) fn day(out: &mut dyn Write, day: &AuditDay) -> Shown {
    history(out, &day.history)?;
    if let Some(previous) = &day.previous {
        line(out, &format!("follows   block {} {}", previous.number, previous.hash))?;
    }
    for entry in &day.entries {
        let mark = if entry.revision == day.revision { "in force " } else { "" };
        let approved = list(entry.approvals.iter().map(|approval| approval.role));
        line(out, &format!("entry     {} {mark}{}, approved by {approved}", entry.revision, entry.hash))?;
        line(out, &format!("          key {}", hex::encode(entry.entry.public_key.as_bytes())))?;
        line(out, &format!("          certificate {}", entry.entry.certificate))?;
    }
    for change in &day.device.changes {
        line(out, &format!("status    {} at {}", change.standing, show_seconds(change.time)))?;
    }
    for covered in &day.agreements {
        let counts = match (covered.by, &covered.certificate) {
            (Some(Basis::Approvals), _) => "counts by the approval of rc and dv".to_owned(),
            (Some(Basis::Chain), Some(certificate)) => format!("counts by the chain of certificate {certificate}"),
            (Some(Basis::Chain), None) => "counts by its chain".to_owned(),
            (None, _) => "does not count".to_owned(),
        };
        line(out, &format!("agreement {} {} at {}: {counts}", covered.agreement, covered.hash, covered.point))?;
    }
    Ok(())
}

/// A shard's hours.
#[derive(Serialize)]
struct Signs {
    hours: Vec<AliveView>,
    missing: Vec<Hours>,
}

/// Shows a shard's hours, by instants that lie in the first and the last.
pub(super) async fn hours<C: Channel>(
    client: &Client<C>,
    shard: &Shard,
    from: i64,
    to: i64,
    screen: &mut Screen<'_>,
) -> Result<(), CliError> {
    let hour = |second| Hour::holding(second).map_err(|e| CliError::Usage(e.to_string()));
    let (hours, missing) = client.hours(shard, hour(from)?, hour(to)?).await?;
    screen.show(&Signs { hours, missing }, |out, signs| {
        let rows: Vec<Vec<String>> = signs
            .hours
            .iter()
            .map(|view| {
                let alive = &view.alive;
                vec![
                    show_seconds(alive.hour.begin()),
                    alive.alive.to_string(),
                    alive.silent.to_string(),
                    show_seconds(view.time),
                    short(&alive.root),
                ]
            })
            .collect();
        table(out, &["HOUR", "ALIVE", "SILENT", "SAID AT", "ROOT"], &rows)?;
        for gap in &signs.missing {
            let (from, to) = (show_seconds(gap.from.begin()), show_seconds(gap.to.end()));
            line(out, &format!("nothing was said of  {from} to {to}"))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use vitro_client::memory::MemoryChannel;
    use vitro_contract::testing::{MemoryLedger, TestDevice, client};
    use vitro_contract::{Alive, Item, Role};

    use super::*;

    #[tokio::test]
    async fn a_day_is_told_for_people() {
        let channel = MemoryChannel::new(MemoryLedger::configured(1_790_000_000).unwrap(), client(Role::Operator));
        let operator = Client::new(channel);
        let mut device = TestDevice::new("dev-1", 7, "2026-01-02".parse().unwrap()).unwrap();
        operator.register_devices(std::slice::from_ref(&device.entry)).await.unwrap();
        let sealed = device.seal_day(Some(&"3.0903".parse().unwrap())).unwrap();
        let mut wrong = sealed.account.clone();
        wrong.missing = vec![(0, 0)];
        operator.publish(&vec![Item::day(sealed.message, &wrong)]).await.unwrap();
        operator.publish(&vec![Item::account(&sealed.account)]).await.unwrap();
        let mut out = Vec::new();
        day(&mut out, &operator.audit_day(device.thing(), sealed.account.day).await.unwrap()).unwrap();
        let text = String::from_utf8(out).unwrap();
        for told in ["account   differs", "corrected agrees", "in force", &sealed.hash.to_string(), "approved by -"] {
            assert!(text.contains(told), "{told}: {text}");
        }
    }

    #[tokio::test]
    async fn silent_hours_are_told() {
        let channel = MemoryChannel::new(MemoryLedger::configured(1_790_000_000).unwrap(), client(Role::Operator));
        let operator = Client::new(channel);
        let shard: Shard = "west".parse().unwrap();
        let hour = Hour::holding(1_789_990_000).unwrap();
        operator.alive(&Alive::of(shard.clone(), hour, &[]).unwrap()).await.unwrap();
        let mut out = Vec::new();
        let mut screen = Screen { out: &mut out, json: false };
        hours(&operator, &shard, hour.begin() + 5, hour.end() + 5, &mut screen).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(&show_seconds(hour.begin())) && text.contains("nothing was said of"), "{text}");
        let mut screen = Screen { out: &mut Vec::new(), json: false };
        assert!(hours(&operator, &shard, -5, 5, &mut screen).await.is_err());
    }
}
