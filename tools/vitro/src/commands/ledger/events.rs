//! `vitro ledger events`: what the contract told, block by block.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use vitro_client::{Client, ClientError};
use vitro_contract::{
    ACTIVE_EVENT, ALIVE_EVENT, AMENDED_EVENT, AgreementView, AliveView, CLOSED_EVENT, DayChange, DeviceStatus,
    EXCHANGED_EVENT, ExchangeView, PUBLISHED_EVENT, Record, Roles, STATUS_EVENT, StatementHead, TERMINATED_EVENT,
};
use vitro_ledger::{BlockTransaction, Ledger, TxValidationCode};

use super::{EventsArgs, Screen};
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;

/// How often the height is asked for while nothing new is there.
const POLL: Duration = Duration::from_secs(1);

/// An event of a valid transaction.
#[derive(Serialize)]
struct Told<'a> {
    block: u64,
    time: i64,
    transaction: &'a str,
    event: &'a str,
    /// What it says, as far as this version of the contract knows it; else its bytes in hexadecimal.
    content: Value,
}

/// Prints the events of blocks, a line each, and with `--follow` those of every further block until it is stopped.
///
/// # Errors
/// [`CliError`].
pub(super) async fn run(args: &EventsArgs, client: &Client<Ledger>, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let ledger = client.channel();
    let mut next = args.from;
    loop {
        let height = ledger.chain_info().await.map_err(ClientError::from)?.height;
        let end = args.to.map_or(height, |to| height.min(to.saturating_add(1)));
        while next < end {
            let block = ledger.block(next).await.map_err(ClientError::from)?;
            for transaction in block.transactions.iter().filter(|one| is_told(one, args.name.as_deref())) {
                show(next, transaction, screen)?;
            }
            next += 1;
        }
        if !args.follow || args.to.is_some_and(|to| next > to) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Only of a transaction that is valid: what others say did not happen.
fn is_told(transaction: &BlockTransaction, name: Option<&str>) -> bool {
    transaction.code == TxValidationCode::Valid
        && !transaction.event.is_empty()
        && name.is_none_or(|name| name == transaction.event)
}

fn show(block: u64, transaction: &BlockTransaction, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let told = Told {
        block,
        time: transaction.timestamp,
        transaction: &transaction.tx_id,
        event: &transaction.event,
        content: content(&transaction.event, &transaction.event_payload),
    };
    if screen.json {
        // A line each, so that it can be followed.
        let line = serde_json::to_string(&told).map_err(|error| CliError::malformed("an event", error))?;
        return output::line(screen.out, &line);
    }
    let time = show_seconds(told.time);
    output::line(screen.out, &format!("{block}  {time}  {}  {}  {}", told.event, told.transaction, told.content))
}

fn content(event: &str, payload: &[u8]) -> Value {
    let read = match event {
        "configured" => as_json::<Roles>(payload),
        ACTIVE_EVENT | AMENDED_EVENT | TERMINATED_EVENT => as_json::<AgreementView>(payload),
        PUBLISHED_EVENT => as_json::<Vec<DayChange>>(payload),
        ALIVE_EVENT => as_json::<AliveView>(payload),
        CLOSED_EVENT => as_json::<StatementHead>(payload),
        STATUS_EVENT => as_json::<DeviceStatus>(payload),
        EXCHANGED_EVENT => as_json::<ExchangeView>(payload),
        _ => None,
    };
    read.unwrap_or_else(|| json!(hex::encode(payload)))
}

fn as_json<T: Record + Serialize>(payload: &[u8]) -> Option<Value> {
    serde_json::to_value(T::decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told_in_words_and_the_rest_as_it_is() {
        let msp = |name: &str| name.parse().unwrap();
        let roles = Roles { operator: msp("OMSP"), rc: msp("RMSP"), dv: msp("DMSP"), sp: msp("SMSP") };
        assert_eq!(content("configured", &roles.encode())["rc"], "RMSP");
        assert_eq!(content("configured", &[1, 2]), "0102", "of another version, perhaps");
        assert_eq!(content("another", &[3]), "03");
        let one = |code, event: &str| BlockTransaction { code, event: event.into(), ..BlockTransaction::default() };
        assert!(is_told(&one(TxValidationCode::Valid, "closed"), None));
        assert!(!is_told(&one(TxValidationCode::MvccReadConflict, "closed"), None));
        assert!(!is_told(&one(TxValidationCode::Valid, "closed"), Some("published")));
        assert!(!is_told(&one(TxValidationCode::Valid, ""), None));
    }
}
