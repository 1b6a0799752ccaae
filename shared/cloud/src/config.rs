//! Configuration from the environment, typed and checked when a function starts. A function asks for what it needs and for nothing
//! else; what is missing or malformed is told by the variable's name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use vitro_proof::Customer;

use crate::error::CloudError;

/// Which stack of which customer: the prefix of every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackName {
    customer: Customer,
    stage: String,
}

impl StackName {
    /// Puts a stack's name together.
    ///
    /// # Errors
    /// [`CloudError::Config`] if the stage is not a lower-case letter followed by up to 7 lower-case letters or digits.
    pub fn new(customer: Customer, stage: &str) -> Result<Self, CloudError> {
        let fine = (1..=8).contains(&stage.len())
            && stage.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && stage.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if fine {
            Ok(Self { customer, stage: stage.to_owned() })
        } else {
            Err(CloudError::Config { name: "VITRO_STAGE", detail: format!("{stage:?} is not a stage's name") })
        }
    }

    /// The customer.
    #[must_use]
    pub fn customer(&self) -> &Customer {
        &self.customer
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> &str {
        &self.stage
    }

    /// The name of one of the stack's resources: `vitro-<customer>-<stage>-<what>`.
    #[must_use]
    pub fn resource(&self, what: &str) -> String {
        format!("{self}-{what}")
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vitro-{}-{}", self.customer, self.stage)
    }
}

/// Where settings come from: the process's environment, or a map in tests.
#[derive(Clone, Debug)]
pub struct Environment(Source);

#[derive(Clone, Debug)]
enum Source {
    Process,
    Map(BTreeMap<String, String>),
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// A given environment.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(Source::Map(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }

    /// A setting that may be absent; an empty one is absent.
    #[must_use]
    pub fn optional(&self, name: &'static str) -> Option<String> {
        match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Map(map) => map.get(name).cloned(),
        }
        .filter(|value| !value.is_empty())
    }

    /// A setting that must be there.
    ///
    /// # Errors
    /// [`CloudError::Config`] names the variable.
    pub fn required(&self, name: &'static str) -> Result<String, CloudError> {
        self.optional(name).ok_or_else(|| CloudError::Config { name, detail: "it is not set".into() })
    }

    /// A setting of another type than text, with the value that holds when it is absent.
    ///
    /// # Errors
    /// [`CloudError::Config`] names the variable if its value cannot be read.
    pub fn parsed<T>(&self, name: &'static str, default: T) -> Result<T, CloudError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.optional(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|error| CloudError::Config { name, detail: format!("{text:?} cannot be read: {error}") }),
        }
    }

    /// The stack that this function belongs to: `VITRO_CUSTOMER` and `VITRO_STAGE`.
    ///
    /// # Errors
    /// [`CloudError::Config`].
    pub fn stack(&self) -> Result<StackName, CloudError> {
        let customer = self
            .required("VITRO_CUSTOMER")?
            .parse()
            .map_err(|error| CloudError::Config { name: "VITRO_CUSTOMER", detail: format!("{error}") })?;
        StackName::new(customer, &self.required("VITRO_STAGE")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_has_a_prefix() {
        let env = Environment::of(&[("VITRO_CUSTOMER", "acme"), ("VITRO_STAGE", "dev")]);
        let stack = env.stack().unwrap();
        assert_eq!(stack.to_string(), "vitro-acme-dev");
        assert_eq!(stack.resource("readings"), "vitro-acme-dev-readings");
    }

    #[test]
    fn errors_name_the_variable() {
        let message = |pairs: &[(&str, &str)]| Environment::of(pairs).stack().unwrap_err().to_string();
        assert!(message(&[]).starts_with("VITRO_CUSTOMER"));
        assert!(message(&[("VITRO_CUSTOMER", "")]).starts_with("VITRO_CUSTOMER"));
        assert!(message(&[("VITRO_CUSTOMER", "A")]).starts_with("VITRO_CUSTOMER"));
        assert!(message(&[("VITRO_CUSTOMER", "acme")]).starts_with("VITRO_STAGE"));
        assert!(message(&[("VITRO_CUSTOMER", "acme"), ("VITRO_STAGE", "Dev")]).starts_with("VITRO_STAGE"));
        let env = Environment::of(&[("VITRO_HOT_DAYS", "many")]);
        assert!(env.parsed("VITRO_HOT_DAYS", 90u32).unwrap_err().to_string().starts_with("VITRO_HOT_DAYS"));
        assert_eq!(env.parsed("VITRO_SETTLE_SECONDS", 120u32).unwrap(), 120);
    }
}
