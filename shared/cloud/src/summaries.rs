//! The cloud's own account of a day as it lies in the archive: one JSON document under `summaries/<thing>/<day>.json`.
//!
//! It is signed by nobody; it can be computed again by anybody who has the day's envelopes, the sensor table and the block before,
//! and then is the same bytes. `day` is for people and programs. `summaries_cbor` holds the summaries in the form that the digests
//! of block and account are over (`docs/formats.md`), in base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use vitro_proof::reconcile::CloudDay;
use vitro_proof::{BlockNumber, Leaf, summary};

use crate::error::CloudError;

/// The version of the document.
pub const VERSION: u32 = 1;

/// The document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SummaryDocument {
    /// See [`VERSION`].
    pub version: u32,
    /// The block that gave the run; nothing if the day was summed up by time.
    pub block: Option<BlockNumber>,
    /// What the cloud holds of the day.
    pub day: CloudDay,
    /// Which envelope was taken where the cloud holds several under one number.
    pub chosen: BTreeMap<u64, Leaf>,
    /// The summaries as deterministic CBOR, in base64.
    pub summaries_cbor: String,
}

impl SummaryDocument {
    /// Puts a document together.
    #[must_use]
    pub fn new(block: Option<BlockNumber>, day: CloudDay, chosen: BTreeMap<u64, Leaf>) -> Self {
        let summaries_cbor = STANDARD.encode(summary::encode(&day.summaries));
        Self { version: VERSION, block, day, chosen, summaries_cbor }
    }

    /// Writes the document; the same day gives the same bytes.
    ///
    /// # Errors
    /// [`CloudError::BadMessage`] if it cannot be written as JSON.
    pub fn write(&self) -> Result<Vec<u8>, CloudError> {
        serde_json::to_vec(self).map_err(|e| CloudError::BadMessage { what: "summary document", detail: e.to_string() })
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is not one that we write: of another version, or with two halves that do not agree.
    pub fn read(bytes: &[u8]) -> Result<Self, CloudError> {
        let damaged = |detail: String| CloudError::damaged("a summary document", detail);
        let document: Self = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if document.version != VERSION {
            return Err(damaged(format!("version {}", document.version)));
        }
        if document.summaries_cbor != STANDARD.encode(summary::encode(&document.day.summaries)) {
            return Err(damaged("its two forms of the summaries differ".to_owned()));
        }
        Ok(document)
    }

    /// How many recorded gaps the day has, over all sensors.
    #[must_use]
    pub fn gap_count(&self) -> u64 {
        self.day.gaps.values().map(|gaps| gaps.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use vitro_proof::confidential::NoKeys;
    use vitro_proof::reconcile::{DayFrame, Stored};
    use vitro_proof::{DayBounds, DeviceId, SensorTable};

    use super::*;

    fn document() -> SummaryDocument {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let table: SensorTable = serde_json::from_str(
            r#"{"version":2,"sensors":[{"name":"yield","unit":"kWh","kind":"counter"},{"name":"t","unit":"Cel","kind":"gauge"}]}"#,
        )
        .unwrap();
        let openings = BTreeMap::from([("yield".parse().unwrap(), "12.5".parse().unwrap())]);
        let frame = DayFrame {
            thing: &thing,
            day: "2026-01-02".parse().unwrap(),
            bounds: DayBounds { from: 1_767_312_000, to: 1_767_398_400 },
            first: 7,
            count: 2,
            table: &table,
            openings: &openings,
        };
        let day = CloudDay::compute(&frame, std::iter::empty::<Stored<'_>>(), &NoKeys).unwrap();
        SummaryDocument::new(Some(BlockNumber(3)), day, BTreeMap::from([(8, Leaf([5; 32]))]))
    }

    #[test]
    fn a_document_comes_back_and_is_always_the_same() {
        let document = document();
        let bytes = document.write().unwrap();
        assert_eq!(SummaryDocument::read(&bytes).unwrap(), document);
        assert_eq!(SummaryDocument::read(&bytes).unwrap().write().unwrap(), bytes);
        assert_eq!(document.gap_count(), 2, "both sensors were silent all day");
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["day"]["missing"], serde_json::json!([[7, 8]]));
        assert_eq!(json["day"]["summaries"][1]["opening"], "12.5");
    }

    #[test]
    fn a_changed_half_is_told() {
        let mut document = document();
        document.day.summaries[0].unit = "K".into();
        assert!(SummaryDocument::read(&document.write().unwrap()).is_err());
    }
}
