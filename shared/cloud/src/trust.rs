//! The stack's trust store: the authorities whose devices it takes, where their revocation lists are, and the last list that was
//! accepted of each.
//!
//! It lies in a table and not in a bucket because a list's number must never go back, whoever accepts one at the same time: that
//! takes a condition on a write. What a list says lies in the archive, byte for byte as it came. Nothing here verifies anything:
//! that is for `vitro_proof::chain` and those who call it.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vitro_proof::chain::CrlNumber;
use vitro_proof::{Hash, UnixMillis};

use crate::error::CloudError;
use crate::identities::CertificateIdentity;
use crate::item::{Item, Reader, b, n, s};

const SERVICE: &str = "dynamodb";

/// The media type of a revocation list (RFC 2585).
pub const PKIX_CRL: &str = "application/pkix-crl";
/// The media type of a certificate (RFC 2585).
pub const PKIX_CERTIFICATE: &str = "application/pkix-cert";

/// A list's number as it is stored: all 40 digits, so that texts compare as the numbers do.
fn stored(number: CrlNumber) -> String {
    format!("{:0>40}", number.to_string())
}

/// The last list that was accepted of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedCrl {
    /// Its number; it never goes back.
    pub number: CrlNumber,
    /// When it was made, by its own word.
    pub this_update: UnixMillis,
    /// When the next one comes at the latest, by its own word; it says nothing after that.
    pub next_update: UnixMillis,
    /// SHA-256 of its bytes.
    pub digest: Hash,
    /// Where its bytes are in the archive.
    pub key: String,
}

/// The key under which a list's bytes are archived: two lists of one number are two objects.
#[must_use]
pub fn crl_key(authority: Hash, number: CrlNumber, digest: Hash) -> String {
    format!("trust/{authority}/{}-{}.crl", stored(number), &digest.to_string()[..16])
}

/// The key under which an authority's certificate is archived.
#[must_use]
pub fn certificate_key(authority: Hash) -> String {
    format!("trust/{authority}/certificate.der")
}

/// What came of the last look at an authority's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlCheck {
    /// When.
    pub at: UnixMillis,
    /// Why the list that was found was not accepted: reason code and detail.
    pub fault: Option<(String, String)>,
}

/// An authority of the trust store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedAuthority {
    /// SHA-256 of its certificate's DER, which is its id in AWS IoT as well.
    pub id: Hash,
    /// Its certificate in DER.
    pub certificate: Vec<u8>,
    /// Its common name.
    pub name: String,
    /// SHA-256 of its SubjectPublicKeyInfo: what it signs is known by this.
    pub key_hash: Hash,
    /// What its own issuer's list would name it by.
    pub identity: CertificateIdentity,
    /// Who signed it; nothing for a root.
    pub parent: Option<Hash>,
    /// When its certificate ends.
    pub not_after: UnixMillis,
    /// Where its list is: `http://`, `https://` or `s3://`; nothing if it has none, and then nothing below it is taken.
    pub crl_url: Option<String>,
    /// When it was put here.
    pub added_at: UnixMillis,
    /// Whether AWS IoT sends its devices' first connections here.
    pub announces: bool,
    /// The last accepted list.
    pub crl: Option<AcceptedCrl>,
    /// The last look at its list.
    pub check: Option<CrlCheck>,
    /// Digest of the last list of which everything was carried out, and when that was.
    pub applied: Option<(Hash, UnixMillis)>,
    /// When its issuer's list was first seen to name it.
    pub revoked_at: Option<UnixMillis>,
}

impl TrustedAuthority {
    fn write(&self) -> Item {
        let mut item = Item::from([
            ("authority".to_owned(), s(self.id)),
            ("certificate".to_owned(), b(self.certificate.as_slice())),
            ("name".to_owned(), s(&self.name)),
            ("key_hash".to_owned(), s(self.key_hash)),
            ("identity".to_owned(), s(self.identity.name())),
            ("not_after".to_owned(), n(self.not_after.0)),
            ("added_at".to_owned(), n(self.added_at.0)),
        ]);
        if let Some(parent) = &self.parent {
            item.insert("parent".into(), s(parent));
        }
        if let Some(url) = &self.crl_url {
            item.insert("crl_url".into(), s(url));
        }
        if self.announces {
            item.insert("announces".into(), AttributeValue::Bool(true));
        }
        item
    }

    fn read(item: &Item) -> Result<Self, CloudError> {
        let r = Reader::new("an authority of the trust store", item);
        let millis = |name| -> Result<Option<UnixMillis>, CloudError> { Ok(r.number_opt(name)?.map(UnixMillis)) };
        let needed = |name| -> Result<UnixMillis, CloudError> { Ok(UnixMillis(r.number(name)?)) };
        let crl = match r.text_opt("crl_number")? {
            None => None,
            Some(number) => Some(AcceptedCrl {
                number: number.parse().map_err(|error| r.bad("crl_number", error))?,
                this_update: needed("crl_this_update")?,
                next_update: needed("crl_next_update")?,
                digest: r.parsed("crl_digest")?,
                key: r.text("crl_key")?.to_owned(),
            }),
        };
        let fault = match r.text_opt("crl_fault")? {
            None => None,
            Some(code) => Some((code.to_owned(), r.text_opt("crl_fault_detail")?.unwrap_or_default().to_owned())),
        };
        let applied = match (r.text_opt("crl_applied")?, millis("crl_applied_at")?) {
            (Some(digest), Some(at)) => Some((digest.parse().map_err(|error| r.bad("crl_applied", error))?, at)),
            _ => None,
        };
        Ok(Self {
            id: r.parsed("authority")?,
            certificate: r.bytes("certificate")?.to_vec(),
            name: r.text("name")?.to_owned(),
            key_hash: r.parsed("key_hash")?,
            identity: r.parsed("identity")?,
            parent: r.text_opt("parent")?.map(str::parse).transpose().map_err(|error| r.bad("parent", error))?,
            not_after: needed("not_after")?,
            crl_url: r.text_opt("crl_url")?.map(str::to_owned),
            added_at: needed("added_at")?,
            announces: matches!(item.get("announces"), Some(AttributeValue::Bool(true))),
            crl,
            check: millis("crl_checked_at")?.map(|at| CrlCheck { at, fault }),
            applied,
            revoked_at: millis("revoked_at")?,
        })
    }
}

/// The DER of the first certificate in a PEM text.
///
/// # Errors
/// [`CloudError::BadMessage`] if there is none.
pub fn certificate_der(pem: &str) -> Result<Vec<u8>, CloudError> {
    let bad = |detail: String| CloudError::BadMessage { what: "certificate in PEM", detail };
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----").ok_or_else(|| bad("it has no beginning".into()))?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----").ok_or_else(|| bad("it has no end".into()))?;
    let digits: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(digits).map_err(|error| bad(error.to_string()))
}

/// A certificate in PEM (RFC 7468).
#[must_use]
pub fn certificate_pem(der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// The trust store, as functions use it.
#[async_trait]
pub trait TrustStore: Send + Sync {
    /// Every authority, as of now. There are few: a customer has one root and an intermediate or two.
    ///
    /// # Errors
    /// [`CloudError`] if the table cannot be read or a row is damaged.
    async fn authorities(&self) -> Result<Vec<TrustedAuthority>, CloudError>;

    /// Makes a list the authority's last accepted one, if its number is higher than that one's. Says whether it was.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn accept(&self, authority: Hash, crl: &AcceptedCrl) -> Result<bool, CloudError>;

    /// Notes what came of a look at the authority's list.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn note_check(&self, authority: Hash, check: &CrlCheck) -> Result<(), CloudError>;

    /// Notes that everything that a list asks for was carried out.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn note_applied(&self, authority: Hash, digest: Hash, at: UnixMillis) -> Result<(), CloudError>;

    /// Notes that its issuer's list names the authority; the first instant stays.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    async fn note_revoked(&self, authority: Hash, at: UnixMillis) -> Result<(), CloudError>;
}

/// The table `trust`.
#[derive(Clone, Debug)]
pub struct TrustTable {
    client: Client,
    table: String,
}

impl TrustTable {
    /// The table by its name.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Adds an authority. One that is there keeps what is known of its list, and its address unless another is said: without one no
    /// newer list would ever be taken. Says whether it is new.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn add(&self, authority: &TrustedAuthority) -> Result<bool, CloudError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(authority.write()))
            .condition_expression("attribute_not_exists(authority)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
                if let Some(url) = &authority.crl_url {
                    let update = self
                        .update(authority.id)
                        .update_expression("SET crl_url = :url")
                        .expression_attribute_values(":url", s(url))
                        .condition_expression("attribute_exists(authority)");
                    self.send(update).await?;
                }
                Ok(false)
            }
            Err(error) => Err(CloudError::service(SERVICE, "PutItem", error)),
        }
    }

    /// Says whether AWS IoT sends the authority's devices' first connections here. Says whether the authority is there.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn set_announces(&self, authority: Hash, yes: bool) -> Result<bool, CloudError> {
        let update = self
            .update(authority)
            .update_expression("SET announces = :yes")
            .expression_attribute_values(":yes", AttributeValue::Bool(yes))
            .condition_expression("attribute_exists(authority)");
        self.send(update).await
    }

    /// Takes an authority away. What it has vouched for already stays registered.
    ///
    /// # Errors
    /// [`CloudError::Service`].
    pub async fn remove(&self, authority: Hash) -> Result<(), CloudError> {
        let removed = self.client.delete_item().table_name(&self.table).key("authority", s(authority)).send().await;
        removed.map(|_| ()).map_err(|error| CloudError::service(SERVICE, "DeleteItem", error))
    }

    fn update(&self, authority: Hash) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).key("authority", s(authority))
    }

    /// Says whether the condition held.
    async fn send(&self, update: UpdateItemFluentBuilder) -> Result<bool, CloudError> {
        match update.send().await {
            Ok(_) => Ok(true),
            Err(e) if e.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
                Ok(false)
            }
            Err(error) => Err(CloudError::service(SERVICE, "UpdateItem", error)),
        }
    }
}

#[async_trait]
impl TrustStore for TrustTable {
    async fn authorities(&self) -> Result<Vec<TrustedAuthority>, CloudError> {
        let mut found = Vec::new();
        let mut pages = self.client.scan().table_name(&self.table).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| CloudError::service(SERVICE, "Scan", error))?;
            for item in page.items() {
                found.push(TrustedAuthority::read(item)?);
            }
        }
        found.sort_by(|one, other| {
            (one.parent.is_some(), &one.name, one.id).cmp(&(other.parent.is_some(), &other.name, other.id))
        });
        Ok(found)
    }

    async fn accept(&self, authority: Hash, crl: &AcceptedCrl) -> Result<bool, CloudError> {
        let update = self
            .update(authority)
            .update_expression(
                "SET crl_number = :number, crl_this_update = :this, crl_next_update = :next, crl_digest = :digest, crl_key = :key",
            )
            .condition_expression(
                "attribute_exists(authority) AND (attribute_not_exists(crl_number) OR crl_number < :number)",
            )
            .expression_attribute_values(":number", s(stored(crl.number)))
            .expression_attribute_values(":this", n(crl.this_update.0))
            .expression_attribute_values(":next", n(crl.next_update.0))
            .expression_attribute_values(":digest", s(crl.digest))
            .expression_attribute_values(":key", s(&crl.key));
        self.send(update).await
    }

    async fn note_check(&self, authority: Hash, check: &CrlCheck) -> Result<(), CloudError> {
        let update = self
            .update(authority)
            .condition_expression("attribute_exists(authority)")
            .expression_attribute_values(":at", n(check.at.0));
        let update = match &check.fault {
            None => update.update_expression("SET crl_checked_at = :at REMOVE crl_fault, crl_fault_detail"),
            Some((code, detail)) => update
                .update_expression("SET crl_checked_at = :at, crl_fault = :code, crl_fault_detail = :detail")
                .expression_attribute_values(":code", s(code))
                .expression_attribute_values(":detail", s(detail)),
        };
        self.send(update).await.map(|_| ())
    }

    async fn note_applied(&self, authority: Hash, digest: Hash, at: UnixMillis) -> Result<(), CloudError> {
        let update = self
            .update(authority)
            .condition_expression("attribute_exists(authority)")
            .update_expression("SET crl_applied = :digest, crl_applied_at = :at")
            .expression_attribute_values(":digest", s(digest))
            .expression_attribute_values(":at", n(at.0));
        self.send(update).await.map(|_| ())
    }

    async fn note_revoked(&self, authority: Hash, at: UnixMillis) -> Result<(), CloudError> {
        let update = self
            .update(authority)
            .condition_expression("attribute_exists(authority) AND attribute_not_exists(revoked_at)")
            .update_expression("SET revoked_at = :at")
            .expression_attribute_values(":at", n(at.0));
        self.send(update).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authority() -> TrustedAuthority {
        TrustedAuthority {
            id: Hash([1; 32]),
            certificate: vec![0x30, 0],
            name: "Acme devices".into(),
            key_hash: Hash([2; 32]),
            identity: CertificateIdentity::new(Hash([3; 32]), "4a".parse().unwrap()),
            parent: Some(Hash([4; 32])),
            not_after: UnixMillis(9),
            crl_url: Some("https://crl.example/acme.crl".into()),
            added_at: UnixMillis(1),
            announces: true,
            crl: None,
            check: None,
            applied: None,
            revoked_at: None,
        }
    }

    #[test]
    fn authorities_round_trip() {
        let full = authority();
        let root = TrustedAuthority { parent: None, crl_url: None, announces: false, ..full.clone() };
        for authority in [full, root] {
            assert_eq!(TrustedAuthority::read(&authority.write()).unwrap(), authority);
        }
    }

    #[test]
    fn what_functions_note_is_read() {
        let mut item = authority().write();
        let number = CrlNumber::from(7);
        for (name, value) in [
            ("crl_number", s(stored(number))),
            ("crl_this_update", n(10)),
            ("crl_next_update", n(20)),
            ("crl_digest", s(Hash([5; 32]))),
            ("crl_key", s("trust/x.crl")),
            ("crl_checked_at", n(11)),
            ("crl_fault", s("crl_unreadable")),
            ("crl_fault_detail", s("why")),
            ("crl_applied", s(Hash([5; 32]))),
            ("crl_applied_at", n(12)),
            ("revoked_at", n(13)),
        ] {
            item.insert(name.into(), value);
        }
        let read = TrustedAuthority::read(&item).unwrap();
        let crl = read.crl.unwrap();
        assert_eq!((crl.number, crl.this_update, crl.next_update), (number, UnixMillis(10), UnixMillis(20)));
        let fault = Some(("crl_unreadable".to_owned(), "why".to_owned()));
        assert_eq!(read.check, Some(CrlCheck { at: UnixMillis(11), fault }));
        assert_eq!(read.applied, Some((Hash([5; 32]), UnixMillis(12))));
        assert_eq!(read.revoked_at, Some(UnixMillis(13)));
        item.remove("crl_next_update");
        assert!(TrustedAuthority::read(&item).unwrap_err().to_string().contains("crl_next_update"));
    }

    proptest! {
        #[test]
        fn numbers_compare_as_their_texts(one in any::<[u8; 20]>(), other in any::<[u8; 20]>()) {
            let (one, other) = (CrlNumber::from_bytes(&one).unwrap(), CrlNumber::from_bytes(&other).unwrap());
            prop_assert_eq!(one.cmp(&other), stored(one).cmp(&stored(other)));
            prop_assert_eq!(stored(one).parse::<CrlNumber>().unwrap(), one);
        }
    }

    #[test]
    fn certificates_go_to_pem_and_back() {
        for length in [0, 1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|at: u32| (at % 251) as u8).collect();
            let pem = certificate_pem(&der);
            assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
            assert_eq!(certificate_der(&format!("text before\r\n{}", pem.replace('\n', "\r\n"))).unwrap(), der);
        }
        for bad in ["", "-----BEGIN CERTIFICATE-----\nAA", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"]
        {
            assert!(certificate_der(bad).is_err(), "{bad}");
        }
    }
}
