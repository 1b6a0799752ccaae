//! The archive in S3: versioned, under Object Lock, one prefix a kind of evidence.
//!
//! | key | holds | changes |
//! | --- | --- | --- |
//! | `blocks/<thing>/<number>.cbor` | a block message in clear, as it came or as it was decrypted | never |
//! | `blocks/<thing>/<number>.confidential.cbor` | a confidential block message as it came | never |
//! | `blocks/<thing>/pending/<number>.json` | the rule event of a block that waits for its predecessor | never |
//! | `summaries/<thing>/<day>.json` | the cloud's own account of a day ([`crate::summaries`]) | a version an attempt |
//! | `raw/<thing>/<day>.cbor` | the day's envelopes, a CBOR sequence (RFC 8742) in order of number | a version an account |
//! | `raw/<thing>/<day>.equivocal.cbor` | other envelopes under the same numbers | as above |
//! | `accounts/<thing>/<day>/<nnnn>.cbor` | the operator's accounts, from 0001 | never |
//! | `alive/<shard>/<hour>.cbor` | the signs of life of a shard's devices at the end of an hour ([`crate::hours`]) | never |
//! | `replies/<thing>/<command's id>.cbor` | the first reply to a command, as it came | never |

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use vitro_proof::{BlockNumber, DeviceId, LocalDay};

use crate::days::ObjectRef;
use crate::error::CloudError;

const SERVICE: &str = "s3";

/// The media type of CBOR (RFC 8949).
pub const CBOR: &str = "application/cbor";
/// The media type of a CBOR sequence (RFC 8742).
pub const CBOR_SEQUENCE: &str = "application/cbor-seq";
/// The media type of JSON (RFC 8259).
pub const JSON: &str = "application/json";

/// The key of an accepted block's message.
#[must_use]
pub fn block_key(thing: &DeviceId, number: BlockNumber) -> String {
    format!("blocks/{thing}/{:010}.cbor", number.0)
}

/// The key of an accepted block's message as it came, if that was confidential.
#[must_use]
pub fn confidential_block_key(thing: &DeviceId, number: BlockNumber) -> String {
    format!("blocks/{thing}/{:010}.confidential.cbor", number.0)
}

/// The key of the rule event of a block that waits for its predecessor.
#[must_use]
pub fn pending_key(thing: &DeviceId, number: BlockNumber) -> String {
    format!("blocks/{thing}/pending/{:010}.json", number.0)
}

/// The key of the cloud's own account of a day.
#[must_use]
pub fn summary_key(thing: &DeviceId, day: LocalDay) -> String {
    format!("summaries/{thing}/{day}.json")
}

/// The key of a day's envelopes.
#[must_use]
pub fn raw_key(thing: &DeviceId, day: LocalDay) -> String {
    format!("raw/{thing}/{day}.cbor")
}

/// The key of a day's other envelopes under the same numbers.
#[must_use]
pub fn equivocal_key(thing: &DeviceId, day: LocalDay) -> String {
    format!("raw/{thing}/{day}.equivocal.cbor")
}

/// The key of a day's account, counted from 1.
#[must_use]
pub fn account_key(thing: &DeviceId, day: LocalDay, count: u64) -> String {
    format!("accounts/{thing}/{day}/{count:04}.cbor")
}

/// The key of the first reply to a command.
#[must_use]
pub fn reply_key(thing: &DeviceId, command: &[u8; 16]) -> String {
    let id: String = command.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("replies/{thing}/{id}.cbor")
}

/// The key of the signs of life of a shard's hour, by the Unix second with which it begins.
#[must_use]
pub fn alive_key(shard: &str, hour: i64) -> String {
    format!("alive/{shard}/{hour:012}.cbor")
}

/// What became of a [`Archive::put_once`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOnce {
    /// The object is new.
    Stored(ObjectRef),
    /// There was an object under this key; nothing was written.
    Exists,
}

/// Where evidence is kept for good.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Writes an object that must never change, if nothing has its key.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn put_once(&self, key: &str, body: Vec<u8>, media_type: &str) -> Result<PutOnce, CloudError>;

    /// Writes a new version of an object.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn put(&self, key: &str, body: Vec<u8>, media_type: &str) -> Result<ObjectRef, CloudError>;

    /// Reads an object in the version that is meant.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if there is no such object or version.
    async fn get(&self, object: &ObjectRef) -> Result<Vec<u8>, CloudError>;

    /// Reads the newest version of an object, and says which it is.
    ///
    /// # Errors
    /// [`CloudError::NotFound`] if there is no such object.
    async fn get_newest(&self, key: &str) -> Result<(ObjectRef, Vec<u8>), CloudError>;
}

/// The archive bucket.
#[derive(Clone, Debug)]
pub struct S3Archive {
    client: Client,
    bucket: String,
}

impl S3Archive {
    /// The bucket by its name.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    async fn fetch(&self, key: &str, version: Option<&str>) -> Result<(ObjectRef, Vec<u8>), CloudError> {
        let request = self.client.get_object().bucket(&self.bucket).key(key).set_version_id(version.map(str::to_owned));
        let found = request.send().await.map_err(|e| match e.code() {
            Some("NoSuchKey" | "NoSuchVersion") => CloudError::NotFound(format!("the archive's {key}")),
            _ => CloudError::service(SERVICE, "GetObject", e),
        })?;
        let version = found.version_id().unwrap_or_default().to_owned();
        let body = found.body.collect().await.map_err(|e| CloudError::Service {
            service: SERVICE,
            operation: "GetObject",
            code: String::new(),
            detail: e.to_string(),
        })?;
        Ok((ObjectRef { key: key.to_owned(), version }, body.to_vec()))
    }
}

#[async_trait]
impl Archive for S3Archive {
    async fn put_once(&self, key: &str, body: Vec<u8>, media_type: &str) -> Result<PutOnce, CloudError> {
        let written = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(media_type)
            .if_none_match("*")
            .body(ByteStream::from(body))
            .send()
            .await;
        match written {
            Ok(put) => {
                let version = put.version_id().unwrap_or_default().to_owned();
                Ok(PutOnce::Stored(ObjectRef { key: key.to_owned(), version }))
            }
            Err(e) if e.code() == Some("PreconditionFailed") => Ok(PutOnce::Exists),
            Err(e) => Err(CloudError::service(SERVICE, "PutObject", e)),
        }
    }

    async fn put(&self, key: &str, body: Vec<u8>, media_type: &str) -> Result<ObjectRef, CloudError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(media_type)
            .body(ByteStream::from(body))
            .send()
            .await
            .map_err(|e| CloudError::service(SERVICE, "PutObject", e))?;
        Ok(ObjectRef { key: key.to_owned(), version: put.version_id().unwrap_or_default().to_owned() })
    }

    async fn get(&self, object: &ObjectRef) -> Result<Vec<u8>, CloudError> {
        let version = (!object.version.is_empty()).then_some(object.version.as_str());
        self.fetch(&object.key, version).await.map(|(_, body)| body)
    }

    async fn get_newest(&self, key: &str) -> Result<(ObjectRef, Vec<u8>), CloudError> {
        self.fetch(key, None).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_number_and_day() {
        let thing: DeviceId = "dev-1".parse().unwrap();
        let day: LocalDay = "2026-01-02".parse().unwrap();
        assert_eq!(block_key(&thing, BlockNumber(7)), "blocks/dev-1/0000000007.cbor");
        assert_eq!(pending_key(&thing, BlockNumber(7)), "blocks/dev-1/pending/0000000007.json");
        assert_eq!(summary_key(&thing, day), "summaries/dev-1/2026-01-02.json");
        assert_eq!(raw_key(&thing, day), "raw/dev-1/2026-01-02.cbor");
        assert_eq!(equivocal_key(&thing, day), "raw/dev-1/2026-01-02.equivocal.cbor");
        assert_eq!(alive_key("west", 1_539_500_400), "alive/west/001539500400.cbor");
        assert_eq!(account_key(&thing, day, 1), "accounts/dev-1/2026-01-02/0001.cbor");
        assert_eq!(reply_key(&thing, &[0xa5; 16]), "replies/dev-1/a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5.cbor");
    }
}
