//! The table `days`.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use vitro_proof::account::Range;
use vitro_proof::reconcile::Outcome;
use vitro_proof::{BlockNumber, DeviceId, Hash, LocalDay};

use super::{DayBlock, DayRow, DayState, DayStore, ObjectRef};
use crate::error::CloudError;

const SERVICE: &str = "dynamodb";
type Item = HashMap<String, AttributeValue>;

/// Days in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoDays {
    client: Client,
    table: String,
}

impl DynamoDays {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Writes both ends if the noted range lies within them; says whether it did.
    async fn replace(&self, thing: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<bool, CloudError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("device", text(thing))
            .key("day", text(day))
            .update_expression("SET #l = :low, #h = :high, #s = if_not_exists(#s, :open)")
            .condition_expression(
                "(attribute_not_exists(#l) OR #l >= :low) AND (attribute_not_exists(#h) OR #h <= :high)",
            )
            .expression_attribute_names("#l", "low")
            .expression_attribute_names("#h", "high")
            .expression_attribute_names("#s", "state")
            .expression_attribute_values(":low", number(low))
            .expression_attribute_values(":high", number(high))
            .expression_attribute_values(":open", text(DayState::Open))
            .send()
            .await;
        held(written, "UpdateItem")
    }

    async fn widen(&self, thing: &DeviceId, day: LocalDay, name: &str, sign: &str, to: u64) -> Result<(), CloudError> {
        let written = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("device", text(thing))
            .key("day", text(day))
            .update_expression("SET #n = :to, #s = if_not_exists(#s, :open)")
            .condition_expression(format!("attribute_not_exists(#n) OR #n {sign} :to"))
            .expression_attribute_names("#n", name)
            .expression_attribute_names("#s", "state")
            .expression_attribute_values(":to", number(to))
            .expression_attribute_values(":open", text(DayState::Open))
            .send()
            .await;
        held(written, "UpdateItem").map(|_| ())
    }
}

/// Whether a conditional write's condition held.
fn held<T, R: std::fmt::Debug + 'static>(
    written: Result<T, SdkError<UpdateItemError, R>>,
    operation: &'static str,
) -> Result<bool, CloudError> {
    match written {
        Ok(_) => Ok(true),
        Err(e) if e.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => Ok(false),
        Err(e) => Err(CloudError::service(SERVICE, operation, e)),
    }
}

impl DynamoDays {
    /// The day whose block's run holds a number: looked for from the newest day back.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or a row is damaged.
    pub async fn holding(&self, thing: &DeviceId, number: u64) -> Result<Option<DayRow>, CloudError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device")
            .filter_expression("#first <= :number")
            .expression_attribute_names("#first", "first")
            .expression_attribute_values(":device", text(thing))
            .expression_attribute_values(":number", self::number(number))
            .consistent_read(true)
            .scan_index_forward(false)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| CloudError::service(SERVICE, "Query", e))?;
            if let Some(item) = page.items().first() {
                // Runs follow one another, so the newest that begins at or before the number is the one, or none is.
                let row = read(item)?;
                let holds = row.block.as_ref().is_some_and(|block| number - block.first < block.count);
                return Ok(holds.then_some(row));
            }
        }
        Ok(None)
    }
}

#[async_trait]
impl DayStore for DynamoDays {
    async fn get(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("device", text(thing))
            .key("day", text(day))
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| CloudError::service(SERVICE, "GetItem", e))?;
        found.item.as_ref().map(read).transpose()
    }

    async fn write(&self, row: &DayRow) -> Result<bool, CloudError> {
        let mut set = vec!["#revision = :revision".to_owned()];
        let mut remove = Vec::new();
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("device", text(&row.thing))
            .key("day", text(row.day))
            .expression_attribute_names("#revision", "revision")
            .expression_attribute_values(":revision", number(row.revision + 1));
        for (name, value) in attributes(row) {
            update = update.expression_attribute_names(format!("#{name}"), name);
            match value {
                Some(value) => {
                    set.push(format!("#{name} = :{name}"));
                    update = update.expression_attribute_values(format!(":{name}"), value);
                }
                None => remove.push(format!("#{name}")),
            }
        }
        let mut expression = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&remove.join(", "));
        }
        update = update.update_expression(expression);
        update = if row.revision == 0 {
            update.condition_expression("attribute_not_exists(#revision)")
        } else {
            update
                .condition_expression("#revision = :expected")
                .expression_attribute_values(":expected", number(row.revision))
        };
        held(update.send().await, "UpdateItem")
    }

    async fn list_from(&self, thing: &DeviceId, day: LocalDay, limit: u32) -> Result<Vec<DayRow>, CloudError> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device AND #day >= :day")
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":device", text(thing))
            .expression_attribute_values(":day", text(day))
            .consistent_read(true)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|e| CloudError::service(SERVICE, "Query", e))?;
        found.items().iter().map(read).collect()
    }

    async fn before_day(&self, thing: &DeviceId, day: LocalDay) -> Result<Option<DayRow>, CloudError> {
        let found = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("device = :device AND #day < :day")
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":device", text(thing))
            .expression_attribute_values(":day", text(day))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1)
            .send()
            .await
            .map_err(|e| CloudError::service(SERVICE, "Query", e))?;
        found.items().first().map(read).transpose()
    }

    async fn note_seen(&self, thing: &DeviceId, day: LocalDay, low: u64, high: u64) -> Result<(), CloudError> {
        // Who notes usually knows what is noted, and one write does. Else another has widened the other end meanwhile.
        if self.replace(thing, day, low, high).await? {
            return Ok(());
        }
        self.widen(thing, day, "low", ">", low).await?;
        self.widen(thing, day, "high", "<", high).await
    }
}

fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn bytes(value: &[u8]) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// Every attribute that [`DayStore::write`] writes; those without a value are removed.
fn attributes(row: &DayRow) -> Vec<(&'static str, Option<AttributeValue>)> {
    let block = row.block.as_ref();
    let asked_count: u64 = row.asked.iter().map(|(from, to)| to - from + 1).sum();
    let asked = (!row.asked.is_empty()).then_some(&row.asked);
    vec![
        ("state", Some(text(row.state))),
        ("block_number", block.map(|b| number(b.number))),
        ("block_hash", block.map(|b| bytes(&b.hash.0))),
        ("block_key", block.map(|b| text(&b.object.key))),
        ("block_version", block.map(|b| text(&b.object.version))),
        ("first", block.map(|b| number(b.first))),
        ("count", block.map(|b| number(b.count))),
        ("previous_daily", block.and_then(|b| b.previous_daily).map(number)),
        ("pending_block", row.pending_block.map(number)),
        ("attempt", Some(number(row.attempt))),
        ("asked", asked.map(|_| number(asked_count))),
        ("asked_ranges", asked.map(|ranges| text(write_ranges(ranges)))),
        ("command", row.command.as_ref().map(|id| bytes(id))),
        ("reply", row.reply.as_ref().map(text)),
        ("summary_key", row.summary.as_ref().map(|o| text(&o.key))),
        ("summary_version", row.summary.as_ref().map(|o| text(&o.version))),
        ("raw_key", row.raw.as_ref().map(|o| text(&o.key))),
        ("raw_version", row.raw.as_ref().map(|o| text(&o.version))),
        ("outcome", row.outcome.map(|outcome| text(outcome.as_str()))),
        ("detail", (!row.detail.is_empty()).then(|| text(&row.detail))),
        ("gaps", row.outcome.map(|_| number(row.gaps))),
        ("account", row.account.as_deref().map(bytes)),
        ("accounts", row.account.as_ref().map(|_| number(row.accounts))),
        ("tx", row.tx.as_ref().map(text)),
        ("parked", row.parked.as_ref().map(text)),
    ]
}

/// Ranges as `3-5,9`.
fn write_ranges(ranges: &[Range]) -> String {
    let one = |&(from, to): &Range| if from == to { from.to_string() } else { format!("{from}-{to}") };
    ranges.iter().map(one).collect::<Vec<_>>().join(",")
}

fn read_ranges(text: &str) -> Option<Vec<Range>> {
    let one = |part: &str| match part.split_once('-') {
        Some((from, to)) => Some((from.parse().ok()?, to.parse().ok()?)),
        None => part.parse().ok().map(|number| (number, number)),
    };
    text.split(',').map(one).collect()
}

struct Reader<'a> {
    item: &'a Item,
    what: String,
}

impl Reader<'_> {
    fn damaged(&self, name: &str) -> CloudError {
        CloudError::damaged(self.what.clone(), format!("attribute {name}"))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, CloudError> {
        let text = match self.item.get(name) {
            None => return Ok(None),
            Some(AttributeValue::S(text) | AttributeValue::N(text)) => text,
            Some(_) => return Err(self.damaged(name)),
        };
        text.parse().map(Some).map_err(|_| self.damaged(name))
    }

    fn bytes(&self, name: &str) -> Result<Option<&[u8]>, CloudError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(_) => Err(self.damaged(name)),
        }
    }

    fn must<T>(&self, name: &str, value: Option<T>) -> Result<T, CloudError> {
        value.ok_or_else(|| self.damaged(name))
    }

    fn object(&self, key: &str, version: &str) -> Result<Option<ObjectRef>, CloudError> {
        let Some(found) = self.parsed(key)? else { return Ok(None) };
        Ok(Some(ObjectRef { key: found, version: self.parsed(version)?.unwrap_or_default() }))
    }

    fn block(&self) -> Result<Option<DayBlock>, CloudError> {
        let Some(number) = self.parsed("block_number")? else { return Ok(None) };
        let hash = self.must("block_hash", self.bytes("block_hash")?)?;
        Ok(Some(DayBlock {
            number: BlockNumber(number),
            hash: Hash::from_slice(hash).map_err(|_| self.damaged("block_hash"))?,
            object: self.must("block_key", self.object("block_key", "block_version")?)?,
            first: self.must("first", self.parsed("first")?)?,
            count: self.must("count", self.parsed("count")?)?,
            previous_daily: self.parsed("previous_daily")?.map(BlockNumber),
        }))
    }
}

fn read(item: &Item) -> Result<DayRow, CloudError> {
    let part = |name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned().unwrap_or_default();
    let r = Reader { item, what: format!("the day {} of {}", part("day"), part("device")) };
    let thing = r.must("device", r.parsed("device")?)?;
    let day = r.must("day", r.parsed("day")?)?;
    let outcome = match r.parsed::<String>("outcome")? {
        None => None,
        Some(word) => Some(r.must("outcome", outcome(&word))?),
    };
    let asked = match r.parsed::<String>("asked_ranges")? {
        None => Vec::new(),
        Some(text) => r.must("asked_ranges", read_ranges(&text))?,
    };
    let command = match r.bytes("command")? {
        None => None,
        Some(id) => Some(id.try_into().map_err(|_| r.damaged("command"))?),
    };
    Ok(DayRow {
        thing,
        day,
        state: r.parsed("state")?.unwrap_or_default(),
        low: r.parsed("low")?,
        high: r.parsed("high")?,
        block: r.block()?,
        pending_block: r.parsed("pending_block")?.map(BlockNumber),
        attempt: r.parsed("attempt")?.unwrap_or_default(),
        asked,
        command,
        reply: r.parsed("reply")?,
        summary: r.object("summary_key", "summary_version")?,
        raw: r.object("raw_key", "raw_version")?,
        outcome,
        detail: r.parsed("detail")?.unwrap_or_default(),
        gaps: r.parsed("gaps")?.unwrap_or_default(),
        account: r.bytes("account")?.map(<[u8]>::to_vec),
        accounts: r.parsed("accounts")?.unwrap_or_default(),
        tx: r.parsed("tx")?,
        parked: r.parsed("parked")?,
        revision: r.parsed("revision")?.unwrap_or_default(),
    })
}

fn outcome(word: &str) -> Option<Outcome> {
    [Outcome::Matched, Outcome::Backfilled, Outcome::Incomplete, Outcome::Mismatched, Outcome::Missing]
        .into_iter()
        .find(|outcome| outcome.as_str() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> DayRow {
        let object = |key: &str| ObjectRef { key: key.into(), version: "v1".into() };
        DayRow {
            state: DayState::Published,
            low: Some(1440),
            high: Some(2879),
            block: Some(DayBlock {
                number: BlockNumber(1),
                hash: Hash([7; 32]),
                object: object("blocks/dev-1/0000000001.cbor"),
                first: 1440,
                count: 1440,
                previous_daily: Some(BlockNumber(0)),
            }),
            pending_block: Some(BlockNumber(1)),
            attempt: 2,
            asked: vec![(1500, 1502), (1600, 1600)],
            command: Some([3; 16]),
            reply: Some("done, 4 sent again".into()),
            summary: Some(object("summaries/dev-1/2026-01-02.json")),
            raw: Some(object("raw/dev-1/2026-01-02.cbor")),
            outcome: Some(Outcome::Backfilled),
            detail: "something".into(),
            gaps: 2,
            account: Some(vec![1, 2, 3]),
            accounts: 1,
            tx: Some("abc".into()),
            parked: Some("because".into()),
            revision: 9,
            ..DayRow::new("dev-1".parse().unwrap(), "2026-01-02".parse().unwrap())
        }
    }

    fn item(row: &DayRow) -> Item {
        let mut item: Item =
            attributes(row).into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        item.insert("device".into(), text(&row.thing));
        item.insert("day".into(), text(row.day));
        item.insert("revision".into(), number(row.revision));
        for (name, seen) in [("low", row.low), ("high", row.high)] {
            if let Some(seen) = seen {
                item.insert(name.into(), number(seen));
            }
        }
        item
    }

    #[test]
    fn a_row_comes_back_as_it_was_written() {
        let empty = DayRow::new("dev-1".parse().unwrap(), "2026-01-02".parse().unwrap());
        for row in [full(), empty] {
            assert_eq!(read(&item(&row)).unwrap(), row);
        }
        assert_eq!(item(&full())["asked"], number(4));
    }

    #[test]
    fn what_only_ingest_wrote_is_an_open_day() {
        let item: Item = [("device", text("dev-1")), ("day", text("2026-01-02")), ("low", number(5))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let row = read(&item).unwrap();
        assert_eq!((row.state, row.low, row.high, row.revision), (DayState::Open, Some(5), None, 0));
    }

    #[test]
    fn damage_is_named() {
        let mut broken = item(&full());
        broken.insert("block_hash".into(), bytes(&[1; 31]));
        let error = read(&broken).unwrap_err();
        assert!(error.to_string().contains("block_hash") && !error.retryable(), "{error}");
    }
}
