//! Where a device's chain of blocks stands: the night's own attributes of its row in `devices`.
//!
//! `head_block` and `head_hash` are the last accepted block, `head_daily` the number of the last accepted daily one, `pending_blocks`
//! the numbers of blocks that wait for their predecessor, `closed_through` the last sequence number whose day is archived. Each is
//! changed on a condition, and none of them ever goes back.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use vitro_proof::block::ChainLink;
use vitro_proof::{BlockNumber, CommandNumber, DeviceId, Hash, UnixMillis};

use crate::error::CloudError;

const SERVICE: &str = "dynamodb";

/// Where a chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainHead {
    /// The last accepted block.
    pub block: Option<ChainLink>,
    /// The number of the last accepted daily block.
    pub daily: Option<BlockNumber>,
    /// Blocks that came before their predecessor.
    pub pending: BTreeSet<u64>,
    /// The last sequence number whose day is archived.
    pub closed_through: Option<u64>,
}

/// Where chains are kept.
#[async_trait]
pub trait ChainStore: Send + Sync {
    /// Where the device's chain stands now (strongly consistent).
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if the device is not registered.
    async fn head(&self, thing: &DeviceId) -> Result<ChainHead, CloudError>;

    /// Makes `link` the head, if it is the block after the head; says whether it was.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn advance(&self, thing: &DeviceId, link: ChainLink, is_daily: bool) -> Result<bool, CloudError>;

    /// Notes that a block waits for its predecessor.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn add_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError>;

    /// Notes that it waits no more.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn remove_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError>;

    /// Moves `closed_through` from `from` to `to`; says whether it was at `from`.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn close(&self, thing: &DeviceId, from: Option<u64>, to: u64) -> Result<bool, CloudError>;

    /// The number of the next command to a device. It always grows: it is the time in milliseconds, or one more than the last where
    /// two fall into one millisecond or a clock goes back. So it grows even if the table were lost.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if the device is not registered.
    async fn next_command(&self, thing: &DeviceId, now: UnixMillis) -> Result<CommandNumber, CloudError>;
}

/// Chains in the table `devices`.
#[derive(Clone, Debug)]
pub struct DynamoChains {
    client: Client,
    table: String,
}

/// A conditional change of one device's row.
struct Change {
    update: String,
    condition: String,
    values: Vec<(&'static str, AttributeValue)>,
}

impl DynamoChains {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Applies a change to a registered device and returns the changed attributes; nothing if the condition does not hold.
    async fn change(
        &self,
        thing: &DeviceId,
        change: Change,
    ) -> Result<Option<HashMap<String, AttributeValue>>, CloudError> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("device", AttributeValue::S(thing.to_string()))
            .update_expression(change.update)
            .condition_expression(format!("attribute_exists(device) AND {}", change.condition))
            .return_values(ReturnValue::UpdatedNew);
        for (name, value) in change.values {
            request = request.expression_attribute_values(name, value);
        }
        match request.send().await {
            Ok(updated) => Ok(Some(updated.attributes.unwrap_or_default())),
            Err(e) if e.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
                Ok(None)
            }
            Err(e) => Err(CloudError::service(SERVICE, "UpdateItem", e)),
        }
    }
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn read_number(
    item: &HashMap<String, AttributeValue>,
    thing: &DeviceId,
    name: &str,
) -> Result<Option<u64>, CloudError> {
    let damaged = || CloudError::damaged(format!("the device {thing}"), format!("attribute {name}"));
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(text)) => text.parse().map(Some).map_err(|_| damaged()),
        Some(_) => Err(damaged()),
    }
}

fn read(item: &HashMap<String, AttributeValue>, thing: &DeviceId) -> Result<ChainHead, CloudError> {
    let damaged = |name: &str| CloudError::damaged(format!("the device {thing}"), format!("attribute {name}"));
    let block = match (read_number(item, thing, "head_block")?, item.get("head_hash")) {
        (None, _) => None,
        (Some(number), Some(AttributeValue::B(hash))) => Some(ChainLink {
            number: BlockNumber(number),
            hash: Hash::from_slice(hash.as_ref()).map_err(|_| damaged("head_hash"))?,
        }),
        _ => return Err(damaged("head_hash")),
    };
    let pending = match item.get("pending_blocks") {
        None => BTreeSet::new(),
        Some(AttributeValue::Ns(numbers)) => {
            numbers.iter().map(|n| n.parse()).collect::<Result<_, _>>().map_err(|_| damaged("pending_blocks"))?
        }
        Some(_) => return Err(damaged("pending_blocks")),
    };
    Ok(ChainHead {
        block,
        daily: read_number(item, thing, "head_daily")?.map(BlockNumber),
        pending,
        closed_through: read_number(item, thing, "closed_through")?,
    })
}

#[async_trait]
impl ChainStore for DynamoChains {
    async fn head(&self, thing: &DeviceId) -> Result<ChainHead, CloudError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("device", AttributeValue::S(thing.to_string()))
            .projection_expression("device, head_block, head_hash, head_daily, pending_blocks, closed_through")
            .consistent_read(true)
            .send()
            .await
            .map_err(|e| CloudError::service(SERVICE, "GetItem", e))?;
        let item = found.item.ok_or_else(|| CloudError::NotFound(format!("the device {thing}")))?;
        read(&item, thing)
    }

    async fn advance(&self, thing: &DeviceId, link: ChainLink, is_daily: bool) -> Result<bool, CloudError> {
        let mut values =
            vec![(":number", number(link.number)), (":hash", AttributeValue::B(Blob::new(link.hash.0.as_slice())))];
        let condition = match link.number.0.checked_sub(1) {
            None => "attribute_not_exists(head_block)".to_owned(),
            Some(before) => {
                values.push((":before", number(before)));
                "head_block = :before".to_owned()
            }
        };
        let daily = if is_daily { ", head_daily = :number" } else { "" };
        let update = format!("SET head_block = :number, head_hash = :hash{daily}");
        Ok(self.change(thing, Change { update, condition, values }).await?.is_some())
    }

    async fn add_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError> {
        self.pending(thing, number, "ADD").await
    }

    async fn remove_pending(&self, thing: &DeviceId, number: BlockNumber) -> Result<(), CloudError> {
        self.pending(thing, number, "DELETE").await
    }

    async fn close(&self, thing: &DeviceId, from: Option<u64>, to: u64) -> Result<bool, CloudError> {
        let mut values = vec![(":to", number(to))];
        let condition = match from {
            None => "attribute_not_exists(closed_through)".to_owned(),
            Some(from) => {
                values.push((":from", number(from)));
                "closed_through = :from".to_owned()
            }
        };
        let update = "SET closed_through = :to".to_owned();
        Ok(self.change(thing, Change { update, condition, values }).await?.is_some())
    }

    async fn next_command(&self, thing: &DeviceId, now: UnixMillis) -> Result<CommandNumber, CloudError> {
        let now = u64::try_from(now.0).unwrap_or_default();
        let by_time = Change {
            update: "SET command_number = :now".to_owned(),
            condition: "(attribute_not_exists(command_number) OR command_number < :now)".to_owned(),
            values: vec![(":now", number(now))],
        };
        if self.change(thing, by_time).await?.is_some() {
            return Ok(CommandNumber(now));
        }
        let by_one = Change {
            update: "SET command_number = command_number + :one".to_owned(),
            condition: "attribute_exists(command_number)".to_owned(),
            values: vec![(":one", number(1))],
        };
        let not_there = || CloudError::NotFound(format!("the device {thing}"));
        let changed = self.change(thing, by_one).await?.ok_or_else(not_there)?;
        read_number(&changed, thing, "command_number")?.map(CommandNumber).ok_or_else(not_there)
    }
}

impl DynamoChains {
    async fn pending(&self, thing: &DeviceId, block: BlockNumber, verb: &str) -> Result<(), CloudError> {
        let change = Change {
            update: format!("{verb} pending_blocks :number"),
            condition: "attribute_exists(device)".to_owned(),
            values: vec![(":number", AttributeValue::Ns(vec![block.to_string()]))],
        };
        match self.change(thing, change).await? {
            Some(_) => Ok(()),
            None => Err(CloudError::NotFound(format!("the device {thing}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_from_its_attributes() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let mut item = HashMap::new();
        assert_eq!(read(&item, &thing).unwrap(), ChainHead::default());
        item.insert("head_block".to_owned(), number(4));
        assert!(read(&item, &thing).is_err(), "a number without its hash");
        item.insert("head_hash".to_owned(), AttributeValue::B(Blob::new([9; 32])));
        item.insert("head_daily".to_owned(), number(3));
        item.insert("closed_through".to_owned(), number(99));
        item.insert("pending_blocks".to_owned(), AttributeValue::Ns(vec!["6".into(), "7".into()]));
        let head = read(&item, &thing).unwrap();
        assert_eq!(head.block, Some(ChainLink { number: BlockNumber(4), hash: Hash([9; 32]) }));
        assert_eq!((head.daily, head.closed_through), (Some(BlockNumber(3)), Some(99)));
        assert_eq!(head.pending, BTreeSet::from([6, 7]));
    }
}
