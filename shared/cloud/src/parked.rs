//! What was refused or failed for good and waits for an operator: a row that says why and where the bytes are.
//!
//! An operator has it looked at again or gives it up. A replay is noted before the thing goes back into its queue and again after that,
//! so a kill in between leaves a row that still waits ([`ParkedState::Replaying`]). What is refused again opens its row again.

use std::str::FromStr;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use vitro_proof::{DeviceId, UnixMillis};

use crate::error::CloudError;
use crate::item::{Item, Reader, n, s};

const SERVICE: &str = "dynamodb";

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedState {
    /// An operator has to decide.
    Open,
    /// It is on its way into its queue again, or was when the program that did it was cut short.
    Replaying,
    /// It was put into its queue again, and was not refused since.
    Replayed,
    /// It was given up.
    Dropped,
}

impl ParkedState {
    const ALL: [Self; 4] = [Self::Open, Self::Replaying, Self::Replayed, Self::Dropped];

    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replaying => "replaying",
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }

    /// Whether an operator still has to do something.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Open | Self::Replaying)
    }
}

impl FromStr for ParkedState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("{text:?} is no state"))
    }
}

/// What an operator decided last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who, as AWS names the caller.
    pub by: String,
    /// When.
    pub at: UnixMillis,
    /// Why, in the operator's words; empty for a replay.
    pub why: String,
}

/// A parked row with what operators made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The row.
    pub parked: Parked,
    /// How often it was replayed.
    pub replays: u64,
    /// The last decision; nothing if there was none.
    pub decision: Option<Decision>,
}

impl Entry {
    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("a parked row", item);
        let decision = match r.text_opt("decided_by")? {
            None => None,
            Some(by) => Some(Decision {
                by: by.to_owned(),
                at: UnixMillis(r.number("decided_at")?),
                why: r.text_opt("why")?.unwrap_or_default().to_owned(),
            }),
        };
        Ok(Self { parked: Parked::read(item)?, replays: r.number_opt("replays")?.unwrap_or(0), decision })
    }
}

/// A parked row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The reason code.
    pub reason: String,
    /// Sorts by time; the same for every attempt at the same thing ([`crate::rule_event::RuleEvent::id`]).
    pub id: String,
    /// What became of it.
    pub state: ParkedState,
    /// The device that it concerns, as far as it is one's name.
    pub device: Option<DeviceId>,
    /// Bucket and key of the bytes; nothing if `detail` says it all.
    pub object: Option<(String, String)>,
    /// For people.
    pub detail: String,
    /// When it came.
    pub received: UnixMillis,
}

impl Parked {
    fn write(&self) -> Item {
        let mut item = Item::from([
            ("reason".to_owned(), s(&self.reason)),
            ("id".to_owned(), s(&self.id)),
            ("state".to_owned(), s(self.state.as_str())),
            ("received".to_owned(), n(self.received.0)),
        ]);
        if let Some(device) = &self.device {
            item.insert("device".into(), s(device));
        }
        if let Some((bucket, key)) = &self.object {
            item.insert("bucket".into(), s(bucket));
            item.insert("key".into(), s(key));
        }
        if !self.detail.is_empty() {
            item.insert("detail".into(), s(&self.detail));
        }
        item
    }

    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("a parked row", item);
        Ok(Self {
            reason: r.text("reason")?.to_owned(),
            id: r.text("id")?.to_owned(),
            state: r.parsed("state")?,
            device: r.text_opt("device")?.map(str::parse).transpose().map_err(|error| r.bad("device", error))?,
            object: match (r.text_opt("bucket")?, r.text_opt("key")?) {
                (Some(bucket), Some(key)) => Some((bucket.to_owned(), key.to_owned())),
                _ => None,
            },
            detail: r.text_opt("detail")?.unwrap_or_default().to_owned(),
            received: UnixMillis(r.number("received")?),
        })
    }
}

/// The table `parked`.
#[derive(Clone, Debug)]
pub struct ParkedTable {
    client: Client,
    table: String,
}

impl ParkedTable {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Parks something. If it is parked already, whatever an operator made of it stays, but for a replay: what is refused again waits
    /// again, and its history stays with it.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        let mut item = parked.write();
        let mut update = self.client.update_item().table_name(&self.table);
        for key in ["reason", "id"] {
            if let Some(value) = item.remove(key) {
                update = update.key(key, value);
            }
        }
        let mut set = Vec::with_capacity(item.len());
        for (index, (name, value)) in item.into_iter().enumerate() {
            set.push(format!("#a{index} = :a{index}"));
            update = update
                .expression_attribute_names(format!("#a{index}"), name)
                .expression_attribute_values(format!(":a{index}"), value);
        }
        let update = update
            .update_expression(format!("SET {}", set.join(", ")))
            .condition_expression("attribute_not_exists(id) OR #state IN (:replaying, :replayed)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":replaying", s(ParkedState::Replaying.as_str()))
            .expression_attribute_values(":replayed", s(ParkedState::Replayed.as_str()));
        Self::send(update).await.map(|_| ())
    }

    /// One row by its reason and id.
    ///
    /// # Errors
    /// As [`ParkedTable::entries`].
    pub async fn entry(&self, reason: &str, id: &str) -> Result<Option<Entry>, CloudError> {
        let found = self.client.get_item().table_name(&self.table).key("reason", s(reason)).key("id", s(id));
        let found = found.consistent_read(true).send().await;
        let item = found.map_err(|error| CloudError::service(SERVICE, "GetItem", error))?.item;
        item.as_ref().map(Entry::read).transpose()
    }

    /// Everything parked for a reason, the oldest first; or everything, in no order, which reads the whole table: for the command line.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or a row is damaged.
    pub async fn entries(&self, reason: Option<&str>) -> Result<Vec<Entry>, CloudError> {
        let mut rows = Vec::new();
        let Some(reason) = reason else {
            let mut pages = self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
                for item in page.items() {
                    rows.push(Entry::read(item)?);
                }
            }
            return Ok(rows);
        };
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("reason = :reason")
            .expression_attribute_values(":reason", s(reason))
            .consistent_read(true)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                rows.push(Entry::read(item)?);
            }
        }
        Ok(rows)
    }

    /// Notes that a row is about to go back into its queue. It goes there only after this, and whoever sends it says so afterwards
    /// ([`ParkedTable::end_replay`]). Says whether the row is there.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn begin_replay(&self, reason: &str, id: &str, decision: &Decision) -> Result<bool, CloudError> {
        let update = self
            .update(reason, id)
            .update_expression("SET #state = :state, decided_by = :by, decided_at = :at ADD replays :one REMOVE why")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(ParkedState::Replaying.as_str()))
            .expression_attribute_values(":by", s(&decision.by))
            .expression_attribute_values(":at", n(decision.at.0))
            .expression_attribute_values(":one", n(1));
        Self::send(update).await
    }

    /// Notes that a row is in its queue again. Says whether it was on its way there: if it was refused again meanwhile, it is open and
    /// stays so.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn end_replay(&self, reason: &str, id: &str) -> Result<bool, CloudError> {
        let update = self
            .update(reason, id)
            .update_expression("SET #state = :state")
            .condition_expression("#state = :replaying")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(ParkedState::Replayed.as_str()))
            .expression_attribute_values(":replaying", s(ParkedState::Replaying.as_str()));
        Self::send(update).await
    }

    /// Gives a row up. It stays, with who, when and why. Says whether it waited.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn drop_row(&self, reason: &str, id: &str, decision: &Decision) -> Result<bool, CloudError> {
        let update = self
            .update(reason, id)
            .update_expression("SET #state = :state, decided_by = :by, decided_at = :at, why = :why")
            .condition_expression("#state IN (:open, :replaying)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(ParkedState::Dropped.as_str()))
            .expression_attribute_values(":open", s(ParkedState::Open.as_str()))
            .expression_attribute_values(":replaying", s(ParkedState::Replaying.as_str()))
            .expression_attribute_values(":by", s(&decision.by))
            .expression_attribute_values(":at", n(decision.at.0))
            .expression_attribute_values(":why", s(&decision.why));
        Self::send(update).await
    }

    fn update(&self, reason: &str, id: &str) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("reason", s(reason)).key("id", s(id))
    }

    /// Whether the condition held.
    async fn send(update: UpdateItemFluentBuilder) -> Result<bool, CloudError> {
        match update.send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                Ok(false)
            }
            Err(error) => Err(CloudError::service(SERVICE, "UpdateItem", error)),
        }
    }
}

/// Where a parked row goes.
#[async_trait]
pub trait Park: Send + Sync {
    /// Parks something; what is parked already stays as it is.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn park(&self, parked: &Parked) -> Result<(), CloudError>;
}

#[async_trait]
impl Park for ParkedTable {
    async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        Self::park(self, parked).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_trip() {
        let full = Parked {
            reason: "bad_signature".into(),
            id: "001700000000000-ab".into(),
            state: ParkedState::Replaying,
            device: Some("dev-1".parse().unwrap()),
            object: Some(("bucket".into(), "quarantine/x.json".into())),
            detail: "why".into(),
            received: UnixMillis(1_700_000_000_000),
        };
        let bare =
            Parked { device: None, object: None, detail: String::new(), state: ParkedState::Open, ..full.clone() };
        for row in [full, bare] {
            assert_eq!(Parked::read(&row.write()).unwrap(), row);
            let entry = Entry { parked: row.clone(), replays: 0, decision: None };
            assert_eq!(Entry::read(&row.write()).unwrap(), entry);
        }
        assert!("gone".parse::<ParkedState>().is_err());
        let waiting = ParkedState::ALL.map(|state| (state.as_str(), state.is_waiting()));
        assert_eq!(waiting, [("open", true), ("replaying", true), ("replayed", false), ("dropped", false)]);
    }

    #[test]
    fn decisions_are_read_beside_their_row() {
        let parked = Parked {
            reason: "late".into(),
            id: "001700000000000-ab".into(),
            state: ParkedState::Dropped,
            device: None,
            object: None,
            detail: String::new(),
            received: UnixMillis(5),
        };
        let mut item = parked.write();
        for (name, value) in [("decided_by", s("arn")), ("decided_at", n(7)), ("why", s("noise")), ("replays", n(2))] {
            item.insert(name.into(), value);
        }
        let decision = Some(Decision { by: "arn".into(), at: UnixMillis(7), why: "noise".into() });
        assert_eq!(Entry::read(&item).unwrap(), Entry { parked, replays: 2, decision });
    }
}
