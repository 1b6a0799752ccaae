//! Items of DynamoDB, read and written by attribute. What is missing or of another type is told by table and attribute.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::error::CloudError;

/// An item as the SDK has it.
pub type Item = HashMap<String, AttributeValue>;

/// Text.
#[must_use]
pub fn s(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

/// A number.
#[must_use]
pub fn n(number: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Bytes.
#[must_use]
pub fn b(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// A truth value.
#[must_use]
pub fn flag(value: bool) -> AttributeValue {
    AttributeValue::Bool(value)
}

/// A set of texts. DynamoDB has no empty sets: the caller leaves those out.
#[must_use]
pub fn ss<T: ToString>(texts: impl IntoIterator<Item = T>) -> AttributeValue {
    AttributeValue::Ss(texts.into_iter().map(|text| text.to_string()).collect())
}

/// Reads an item's attributes.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    what: &'static str,
    item: &'a Item,
}

impl<'a> Reader<'a> {
    /// `what` names the kind of item in errors.
    #[must_use]
    pub fn new(what: &'static str, item: &'a Item) -> Self {
        Self { what, item }
    }

    /// The error for an attribute that cannot be read.
    pub fn bad(&self, name: &str, detail: impl fmt::Display) -> CloudError {
        CloudError::damaged(self.what, format!("{name}: {detail}"))
    }

    fn missing(&self, name: &str) -> CloudError {
        self.bad(name, "it is not there")
    }

    /// Text that may be absent.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is of another type.
    pub fn text_opt(&self, name: &str) -> Result<Option<&'a str>, CloudError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => Err(self.bad(name, "it is no text")),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is absent or of another type.
    pub fn text(&self, name: &str) -> Result<&'a str, CloudError> {
        self.text_opt(name)?.ok_or_else(|| self.missing(name))
    }

    /// Text read as something else.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is absent or cannot be read.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<T, CloudError>
    where
        T::Err: fmt::Display,
    {
        self.text(name)?.parse().map_err(|error| self.bad(name, error))
    }

    /// A number that may be absent.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is of another type or out of range.
    pub fn number_opt<T: FromStr>(&self, name: &str) -> Result<Option<T>, CloudError>
    where
        T::Err: fmt::Display,
    {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(text)) => text.parse().map(Some).map_err(|error| self.bad(name, error)),
            Some(_) => Err(self.bad(name, "it is no number")),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is absent, of another type or out of range.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<T, CloudError>
    where
        T::Err: fmt::Display,
    {
        self.number_opt(name)?.ok_or_else(|| self.missing(name))
    }

    /// A truth value; absent, it is false.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is of another type.
    pub fn flag(&self, name: &str) -> Result<bool, CloudError> {
        match self.item.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.bad(name, "it is no truth value")),
        }
    }

    /// Bytes that may be absent.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if they are of another type.
    pub fn bytes_opt(&self, name: &str) -> Result<Option<&'a [u8]>, CloudError> {
        match self.item.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(blob)) => Ok(Some(blob.as_ref())),
            Some(_) => Err(self.bad(name, "it is no binary value")),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if they are absent or of another type.
    pub fn bytes(&self, name: &str) -> Result<&'a [u8], CloudError> {
        self.bytes_opt(name)?.ok_or_else(|| self.missing(name))
    }

    /// A set of texts; empty if absent.
    ///
    /// # Errors
    /// [`CloudError::Damaged`] if it is of another type.
    pub fn texts(&self, name: &str) -> Result<BTreeSet<String>, CloudError> {
        match self.item.get(name) {
            None => Ok(BTreeSet::new()),
            Some(AttributeValue::Ss(texts)) => Ok(texts.iter().cloned().collect()),
            Some(_) => Err(self.bad(name, "it is no set of texts")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_by_type() {
        let item: Item =
            [("a", s("x")), ("b", n(7)), ("c", b([1, 2])), ("d", ss(["p", "q"]))].map(|(k, v)| (k.into(), v)).into();
        let reader = Reader::new("test item", &item);
        assert_eq!(reader.text("a").unwrap(), "x");
        assert_eq!(reader.number::<u64>("b").unwrap(), 7);
        assert_eq!(reader.bytes("c").unwrap(), [1, 2]);
        assert_eq!(reader.texts("d").unwrap().len(), 2);
        assert_eq!(reader.text_opt("z").unwrap(), None);
        assert_eq!(reader.number_opt::<u64>("z").unwrap(), None);
        assert!(reader.texts("z").unwrap().is_empty());
        for error in [reader.text("b").err(), reader.number::<u64>("a").err(), reader.bytes("z").err()] {
            let error = error.unwrap();
            assert!(error.to_string().starts_with("test item is damaged"), "{error}");
        }
    }
}
