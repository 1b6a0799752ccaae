//! `data:publish`: many blocks and accounts in one transaction, a verdict for each.
//!
//! A refused item writes nothing and holds nobody up. Nothing here touches a key that two devices share.

use vitro_proof::block::{OpenError, OpenedBlock};
use vitro_proof::crypto::P256Key;
use vitro_proof::{Account, BlockMessage, DeviceId, Envelope, LocalDay, Reason};

use crate::access::{self, Identity, exactly};
use crate::calendar;
use crate::call::{Context, Response};
use crate::data::{MAX_ITEMS, PUBLISHED_EVENT, by_number, chain, continuity};
use crate::error::ContractError;
use crate::ids::Role;
use crate::keys;
use crate::late;
use crate::model::{
    Continuity, DayChange, DayOutcome, DayRecord, DeviceEntry, Item, PublishedAccount, Standing, Verdict,
};
use crate::registry;
use crate::status;
use crate::tx::Tx;
use crate::wire::Record;

/// A device's clock may be ahead of the submitter's by this many seconds when it seals an interim block.
const CLOCK_SKEW: i64 = 300;

/// Why an item is refused.
pub(crate) struct Refusal {
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

/// What ends the work on an item.
pub(crate) enum Fail {
    /// The item is refused; the others go on.
    Refused(Refusal),
    /// The transaction fails.
    Contract(ContractError),
}

impl From<ContractError> for Fail {
    fn from(error: ContractError) -> Self {
        Self::Contract(error)
    }
}

fn refuse(code: &'static str, detail: impl ToString) -> Fail {
    Fail::Refused(Refusal { code, detail: detail.to_string() })
}

/// What an accepted item did.
struct Accepted {
    code: &'static str,
    outcome: Option<DayOutcome>,
    continuity: Option<Continuity>,
}

/// Publishes a list of items.
pub(crate) fn publish(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [items] = exactly(args)?;
    let items = Vec::<Item>::decode(items)?;
    if items.len() > MAX_ITEMS {
        return Err(ContractError::BadArguments(format!("more than {MAX_ITEMS} items")));
    }
    let mut verdicts = Vec::with_capacity(items.len());
    let mut changes = Vec::new();
    for item in &items {
        let mut about = About::default();
        let verdict = match one(ctx, tx, item, &mut about) {
            Ok(accepted) => {
                tx.keep();
                if let (Some(thing), Some(day)) = (&about.thing, about.day)
                    && accepted.code != "unchanged"
                {
                    let code = accepted.code.to_owned();
                    changes.push(DayChange { thing: thing.clone(), day, code, outcome: accepted.outcome });
                }
                about.verdict(true, accepted.code, String::new(), accepted.outcome, accepted.continuity)
            }
            Err(Fail::Refused(refusal)) => {
                tx.drop_item();
                about.verdict(false, refusal.code, refusal.detail.chars().take(200).collect(), None, None)
            }
            Err(Fail::Contract(error)) => return Err(error),
        };
        verdicts.push(verdict);
    }
    let response = Response::of(&verdicts);
    Ok(if changes.is_empty() { response } else { response.with_event(PUBLISHED_EVENT, changes.encode()) })
}

/// What an item is about, as far as it could be read.
#[derive(Default)]
struct About {
    thing: Option<DeviceId>,
    day: Option<LocalDay>,
}

impl About {
    fn verdict(
        self,
        accepted: bool,
        code: &str,
        detail: String,
        outcome: Option<DayOutcome>,
        continuity: Option<Continuity>,
    ) -> Verdict {
        Verdict { thing: self.thing, day: self.day, accepted, code: code.to_owned(), detail, outcome, continuity }
    }
}

fn one(ctx: &Context, tx: &mut Tx<'_>, item: &Item, about: &mut About) -> Result<Accepted, Fail> {
    let account = item.account.as_ref().map(|bytes| read_account(&bytes.0)).transpose()?;
    if let Some(account) = &account {
        (about.thing, about.day) = (Some(account.thing.clone()), Some(account.day));
    }
    let message = match &item.block {
        Some(bytes) => Some(BlockMessage::decode(&bytes.0).map_err(|fault| refuse(fault.reason(), fault))?),
        None => None,
    };
    let thing = match (&account, &message) {
        (Some(account), _) => account.thing.clone(),
        (None, Some(message)) => signer_of(message)?,
        (None, None) => return Err(refuse("empty_item", "neither a block nor an account")),
    };
    about.thing = Some(thing.clone());
    let record = registry::find(tx, &thing)?.ok_or_else(|| refuse("unknown_device", &thing))?;
    let entry = record.open()?;
    let mut published = None;
    if let (Some(message), Some(bytes)) = (&message, &item.block) {
        let opened = open(ctx, &entry, message)?;
        about.day = Some(opened.block.day);
        check_account(&opened, account.as_ref())?;
        let new = chain::place(ctx, tx, &thing, &opened, &bytes.0)?;
        if new {
            check_status(tx, &thing, &opened)?;
        }
        published = Some((opened, new));
    }
    match account {
        Some(account) => {
            let accepted = record_day(ctx, tx, &account, item.number, published)?;
            if accepted.code != "unchanged" {
                late::day(tx, &entry.shard, &thing, account.day, &ctx.tx_id)?;
            }
            Ok(accepted)
        }
        // An interim block, which comes without an account, makes no day.
        None => {
            let new = published.is_some_and(|(_, new)| new);
            Ok(Accepted { code: if new { "published" } else { "unchanged" }, outcome: None, continuity: None })
        }
    }
}

fn read_account(bytes: &[u8]) -> Result<Account, Fail> {
    let account = Account::decode(bytes).map_err(|error| refuse("not_an_account", error))?;
    if account.encode() != bytes {
        return Err(refuse("not_an_account", "not deterministic CBOR"));
    }
    Ok(account)
}

fn signer_of(message: &BlockMessage) -> Result<DeviceId, Fail> {
    let envelope = Envelope::parse(&message.envelope).map_err(|fault| refuse(fault.reason(), fault))?;
    envelope.header().kid.parse().map_err(|error| refuse("unknown_header", error))
}

/// Verifies all that can be verified of a block under the device's entry alone.
fn open(ctx: &Context, entry: &DeviceEntry, message: &BlockMessage) -> Result<OpenedBlock, Fail> {
    let key = P256Key::new(&entry.public_key).map_err(|error| ContractError::Damaged(error.to_string()))?;
    let opened = message.open(&entry.thing, &key).map_err(|error: OpenError| refuse(error.reason(), error))?;
    let block = &opened.block;
    if block.zone != entry.zone {
        return Err(refuse("other_zone", format!("{} is registered, not {}", entry.zone, block.zone)));
    }
    if !calendar::may_begin_at(block.day, block.bounds.from) {
        return Err(refuse("bad_label", format!("{} does not begin at {}", block.day, block.bounds.from)));
    }
    if block.is_daily() && block.bounds.to > ctx.timestamp {
        return Err(refuse("day_not_over", format!("{} ends at {}", block.day, block.bounds.to)));
    }
    if block.bounds.to > ctx.timestamp.saturating_add(CLOCK_SKEW) {
        return Err(refuse("sealed_in_the_future", block.bounds.to));
    }
    let version = block.table_version;
    let table = entry.table(version).ok_or_else(|| refuse("unknown_table", format!("version {version}")))?;
    let declared = table.sensors().iter().map(|sensor| {
        let counter = matches!(sensor.kind, vitro_proof::SensorKind::Counter { .. });
        (&sensor.name, sensor.unit.as_str(), counter)
    });
    let signed = opened.summaries.iter().map(|summary| (&summary.sensor, summary.unit.as_str(), summary.counter));
    if !declared.eq(signed) {
        return Err(refuse("table_mismatch", format!("the summaries are not of sensor table {version}")));
    }
    Ok(opened)
}

/// Of a suspended or retired device, runs up to its last good number are taken. What is on the ledger already stays there.
fn check_status(tx: &mut Tx<'_>, thing: &DeviceId, opened: &OpenedBlock) -> Result<(), Fail> {
    let status = status::of(tx, thing)?;
    if status.is_good_before(opened.block.end()) {
        return Ok(());
    }
    let code = if status.standing == Standing::Retired { "device_retired" } else { "device_suspended" };
    let good = status.halt.and_then(|halt| halt.last_good).map_or_else(|| "none".to_owned(), |good| good.to_string());
    Err(refuse(code, format!("the run ends before {}, the last good number is {good}", opened.block.end())))
}

/// A daily block comes with an account of that day that names it; an interim block comes alone.
fn check_account(opened: &OpenedBlock, account: Option<&Account>) -> Result<(), Fail> {
    match (opened.block.is_daily(), account) {
        (true, Some(account)) if account.day != opened.block.day => {
            Err(refuse("other_day", format!("the block is of {}, the account of {}", opened.block.day, account.day)))
        }
        (true, Some(account)) if account.block != Some(opened.number) => {
            Err(refuse("other_block", format!("the account does not name block {}", opened.number)))
        }
        (true, None) => Err(refuse("no_account", "a daily block comes with an account")),
        (false, Some(_)) => Err(refuse("account_of_interim", "an interim block comes without an account")),
        _ => Ok(()),
    }
}

/// Whether an account is to be added. A late repetition never displaces a newer one: by its number it is known, or it comes too late;
/// without a number, one that was ever there is not added again.
fn is_new(accounts: &[PublishedAccount], bytes: &[u8], number: Option<u64>) -> Result<bool, Fail> {
    let Some(number) = number else {
        return Ok(accounts.iter().all(|published| published.account.0 != bytes));
    };
    if let Some(there) = accounts.iter().find(|published| published.number == Some(number)) {
        return match there.account.0 == bytes {
            true => Ok(false),
            false => {
                Err(refuse("account_taken", format!("transaction {} published another number {number}", there.tx)))
            }
        };
    }
    if let Some(newer) = accounts.iter().filter_map(|published| published.number).find(|newer| *newer > number) {
        return Err(refuse("account_superseded", format!("number {newer} is there already")));
    }
    // One that was published before the operator counted them.
    Ok(accounts.last().is_none_or(|newest| newest.number.is_some() || newest.account.0 != bytes))
}

/// Adds block and account to the device's day.
fn record_day(
    ctx: &Context,
    tx: &mut Tx<'_>,
    account: &Account,
    number: Option<u64>,
    published: Option<(OpenedBlock, bool)>,
) -> Result<Accepted, Fail> {
    let thing = &account.thing;
    let key = keys::day(thing, account.day);
    let mut record = tx.load::<DayRecord>(&key)?.unwrap_or(DayRecord { block: None, accounts: Vec::new() });
    let mut code = "unchanged";
    if let Some((opened, new)) = &published {
        let taken = record.block.as_ref().filter(|block| block.hash != opened.hash);
        if let Some(other) = taken {
            return Err(refuse("day_taken", format!("block {} is of {}", other.number, account.day)));
        }
        if *new {
            code = "published";
            record.block = by_number(tx, thing, opened.number.0)?.map(|stored| stored.reference());
        }
    }
    let opened = match (&record.block, published) {
        (_, Some((opened, _))) => Some(opened),
        (Some(block), None) => by_number(tx, thing, block.number)?.map(|stored| stored.opened),
        (None, None) => None,
    };
    if account.block != opened.as_ref().map(|opened| opened.number) {
        let there = record.block.as_ref().map_or("none".to_owned(), |block| block.number.to_string());
        return Err(refuse("other_block", format!("the ledger's block of {} is {there}", account.day)));
    }
    if opened.is_none() && !calendar::may_be_over(account.day, ctx.timestamp) {
        return Err(refuse("day_not_over", account.day));
    }
    let bytes = account.encode();
    if is_new(&record.accounts, &bytes, number)? {
        let account = crate::ids::Bytes(bytes);
        record.accounts.push(PublishedAccount { account, tx: ctx.tx_id.clone(), time: ctx.timestamp, number });
        if code == "unchanged" {
            code = "account_added";
        }
    }
    if code != "unchanged" {
        tx.store(&key, &record);
    }
    let outcome = record.outcome(opened.as_ref());
    let continuity = match &opened {
        Some(opened) => continuity(tx, thing, opened)?,
        None => None,
    };
    Ok(Accepted { code, outcome: Some(outcome), continuity })
}
