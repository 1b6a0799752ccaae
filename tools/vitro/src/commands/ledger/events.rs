//! `vitro ledger events`: what the contract told, block by block.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use vitro_client::{Client, ClientError};
use vitro_contract::{
    ACTIVE_EVENT, ALIVE_EVENT, AMENDED_EVENT, AgreementView, AliveView, CLOSED_EVENT, DayChange, DeviceStatus,
    EXCHANGED_EVENT, ExchangeView, PUBLISHED_EVENT, Record, Roles, STATUS_EVENT, StatementHead, TERMINATED_EVENT,
};
use vitro_ledger::{Block, BlockTransaction, Ledger, LedgerError, TxValidationCode};

use super::{EventsArgs, Screen};
use crate::error::CliError;
use crate::instant::show_seconds;
use crate::output;

/// How often the height is asked for while nothing new is there.
const POLL: Duration = Duration::from_secs(1);

/// The longest wait before peers that did not answer are asked again.
const LONGEST: Duration = Duration::from_secs(60);

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

/// What events are read from.
trait Chain {
    /// How many blocks there are.
    async fn height(&self) -> Result<u64, LedgerError>;

    /// One of them.
    async fn at(&self, number: u64) -> Result<Block, LedgerError>;
}

impl Chain for Ledger {
    async fn height(&self) -> Result<u64, LedgerError> {
        Ok(self.chain_info().await?.height)
    }

    async fn at(&self, number: u64) -> Result<Block, LedgerError> {
        self.block(number).await
    }
}

/// Prints the events of blocks, a line each, and with `--follow` those of every further block until it is stopped, whoever is away meanwhile.
///
/// # Errors
/// [`CliError`].
pub(super) async fn run(args: &EventsArgs, client: &Client<Ledger>, screen: &mut Screen<'_>) -> Result<(), CliError> {
    // A closed standard error leaves nothing to tell anybody.
    let warn = |text: &str| drop(writeln!(std::io::stderr(), "vitro: {text}"));
    follow(args, client.channel(), screen, POLL, warn).await
}

/// Reads blocks from the first that is asked for on. `poll` is how long to wait for news, and the first wait of an outage.
async fn follow(
    args: &EventsArgs,
    chain: &impl Chain,
    screen: &mut Screen<'_>,
    poll: Duration,
    mut warn: impl FnMut(&str),
) -> Result<(), CliError> {
    let mut next = args.from;
    let mut outage = poll;
    loop {
        let before = next;
        let wait = match pass(args, chain, &mut next, screen).await {
            Ok(()) if !args.follow || args.to.is_some_and(|to| next > to) => return Ok(()),
            Ok(()) => {
                outage = poll;
                poll
            }
            Err(error) if args.follow && may_pass(&error) => {
                if next > before {
                    outage = poll;
                }
                let wait = outage;
                outage = LONGEST.min(outage.saturating_mul(2));
                warn(&format!("{}; going on from block {next} in {wait:?}", vitro_cloud::batch::chain(&error)));
                wait
            }
            Err(error) => {
                if may_pass(&error) {
                    warn(&format!("to go on later: --from {next}"));
                }
                return Err(error);
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Prints what there is by now; `next` becomes the block behind the last one that was printed whole.
async fn pass(args: &EventsArgs, chain: &impl Chain, next: &mut u64, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let height = chain.height().await.map_err(ClientError::from)?;
    let end = args.to.map_or(height, |to| height.min(to.saturating_add(1)));
    while *next < end {
        let block = chain.at(*next).await.map_err(ClientError::from)?;
        for transaction in block.transactions.iter().filter(|one| is_told(one, args.name.as_deref())) {
            show(*next, transaction, screen)?;
        }
        *next += 1;
    }
    Ok(())
}

/// Whether it may be over later. A block below the height that is not there: another peer answered, which lags behind the one before.
fn may_pass(error: &CliError) -> bool {
    error.retryable() || matches!(error, CliError::Ledger(error) if error.is_not_found())
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
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use vitro_ledger::Failures;

    use super::*;

    /// A chain of as many blocks, each with one event; its faults come first, one a question.
    struct Faulty {
        height: u64,
        faults: RefCell<VecDeque<Option<LedgerError>>>,
    }

    impl Faulty {
        fn new(height: u64, faults: impl IntoIterator<Item = Option<LedgerError>>) -> Self {
            Self { height, faults: RefCell::new(faults.into_iter().collect()) }
        }

        fn fault(&self) -> Result<(), LedgerError> {
            self.faults.borrow_mut().pop_front().flatten().map_or(Ok(()), Err)
        }
    }

    impl Chain for Faulty {
        async fn height(&self) -> Result<u64, LedgerError> {
            self.fault().map(|()| self.height)
        }

        async fn at(&self, number: u64) -> Result<Block, LedgerError> {
            self.fault()?;
            let code = TxValidationCode::Valid;
            let one = BlockTransaction { code, event: "told".into(), ..BlockTransaction::default() };
            Ok(Block {
                number,
                hash: Vec::new(),
                previous_hash: Vec::new(),
                data_hash: Vec::new(),
                data_hash_matches: true,
                transactions: vec![one],
            })
        }
    }

    fn away() -> Option<LedgerError> {
        Some(LedgerError::Unavailable { what: "a block", failures: Failures::default() })
    }

    /// The blocks whose events were printed, the warnings, and how it ended.
    async fn followed(chain: &Faulty, follow_on: bool) -> (Vec<u64>, Vec<String>, Result<(), CliError>) {
        let args = EventsArgs { from: 3, to: Some(6), name: None, follow: follow_on };
        let (mut out, mut warnings) = (Vec::new(), Vec::new());
        let mut screen = Screen { out: &mut out, json: true };
        let warn = |text: &str| warnings.push(text.to_owned());
        let ended = follow(&args, chain, &mut screen, Duration::from_millis(1), warn).await;
        let text = String::from_utf8(out).unwrap();
        let block = |line: &str| serde_json::from_str::<Value>(line).unwrap()["block"].as_u64().unwrap();
        (text.lines().map(block).collect(), warnings, ended)
    }

    #[tokio::test]
    async fn an_outage_ends_no_following_and_no_event_is_lost_or_told_twice() {
        let lagging = Some(LedgerError::NotFound("block 5".into()));
        let chain = Faulty::new(9, [away(), away(), None, None, None, lagging, None, None, away()]);
        let (blocks, warnings, ended) = followed(&chain, true).await;
        ended.unwrap();
        assert_eq!(blocks, [3, 4, 5, 6]);
        let places: Vec<_> = warnings.iter().map(|text| text.split_once("going on from ").unwrap().1).collect();
        assert_eq!(places, ["block 3 in 1ms", "block 3 in 2ms", "block 5 in 1ms", "block 6 in 1ms"], "{warnings:?}");
    }

    #[tokio::test]
    async fn what_does_not_pass_ends_it_and_an_outage_without_following_names_the_block() {
        let (blocks, warnings, ended) = followed(&Faulty::new(9, [None, None, away()]), false).await;
        assert_eq!((blocks, ended.unwrap_err().exit_code()), (vec![3], 75));
        assert_eq!(warnings, ["to go on later: --from 4"]);
        let (blocks, warnings, ended) = followed(&Faulty::new(9, [None, Some(LedgerError::Key)]), true).await;
        assert_eq!((blocks, warnings, ended.unwrap_err().exit_code()), (vec![], vec![], 1));
    }

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
