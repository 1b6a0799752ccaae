//! What was refused or failed for good and waits for an operator: a row that says why and where the bytes are.

use std::str::FromStr;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use vitro_proof::{DeviceId, UnixMillis};

use crate::error::CloudError;
use crate::item::{Item, Reader, n, s};

const SERVICE: &str = "dynamodb";

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkedState {
    /// An operator has to decide.
    Open,
    /// It was put into its queue again.
    Replayed,
    /// It was given up.
    Dropped,
}

impl ParkedState {
    /// The word as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Replayed => "replayed",
            Self::Dropped => "dropped",
        }
    }
}

impl FromStr for ParkedState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Open, Self::Replayed, Self::Dropped]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no state"))
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

    /// Parks something. If it is parked already, whatever an operator made of it stays.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn park(&self, parked: &Parked) -> Result<(), CloudError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(parked.write()))
            .condition_expression("attribute_not_exists(id)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(error) => Err(CloudError::service(SERVICE, "PutItem", error)),
        }
    }

    /// Everything parked for a reason, the oldest first.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or a row is damaged.
    pub async fn of_reason(&self, reason: &str) -> Result<Vec<Parked>, CloudError> {
        let mut rows = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("reason = :reason")
            .expression_attribute_values(":reason", s(reason))
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Query", error))?;
            for item in page.items() {
                rows.push(Parked::read(item)?);
            }
        }
        Ok(rows)
    }

    /// Everything parked, in no order. Reads the whole table: for the command line.
    ///
    /// # Errors
    /// As [`ParkedTable::of_reason`].
    pub async fn list(&self) -> Result<Vec<Parked>, CloudError> {
        let mut rows = Vec::new();
        let mut pages = self.client.scan().table_name(&self.table).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
            for item in page.items() {
                rows.push(Parked::read(item)?);
            }
        }
        Ok(rows)
    }

    /// Says what an operator made of an open row. Says whether it was open.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn decide(&self, reason: &str, id: &str, state: ParkedState) -> Result<bool, CloudError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("reason", s(reason))
            .key("id", s(id))
            .update_expression("SET #state = :state")
            .condition_expression("#state = :open")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":state", s(state.as_str()))
            .expression_attribute_values(":open", s(ParkedState::Open.as_str()))
            .send()
            .await;
        match update {
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
            state: ParkedState::Replayed,
            device: Some("dev-1".parse().unwrap()),
            object: Some(("bucket".into(), "quarantine/x.json".into())),
            detail: "why".into(),
            received: UnixMillis(1_700_000_000_000),
        };
        let bare =
            Parked { device: None, object: None, detail: String::new(), state: ParkedState::Open, ..full.clone() };
        for row in [full, bare] {
            assert_eq!(Parked::read(&row.write()).unwrap(), row);
        }
        assert!("gone".parse::<ParkedState>().is_err());
    }
}
