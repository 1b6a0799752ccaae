//! Whom a registrar makes known to a Fabric CA.

use std::str::FromStr;

use serde::Serialize;

use crate::error::CliError;

/// An identity to come.
#[derive(Clone, Debug, Serialize)]
pub struct Registration {
    /// Its enrollment id.
    pub id: String,
    /// Its type, which becomes its role by NodeOUs: client, admin, peer, orderer.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its affiliation; empty for the registrar's own.
    pub affiliation: String,
    /// How often the secret may be used; none for what the CA allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_enrollments: Option<i32>,
    /// What else the CA knows of it.
    #[serde(rename = "attrs", skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Registration {
    /// The body of `register`. The CA draws the secret itself.
    pub(super) fn body(&self, ca_name: Option<&str>) -> Result<String, CliError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            registration: &'a Registration,
            #[serde(skip_serializing_if = "Option::is_none")]
            caname: Option<&'a str>,
        }
        let body = Body { registration: self, caname: ca_name };
        serde_json::to_string(&body).map_err(|e| CliError::malformed("the registration", e))
    }
}

/// An attribute, written `NAME=VALUE`, or `NAME=VALUE:ecert` for one that every enrolment certificate shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether certificates show it without being asked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ecert: bool,
}

impl FromStr for Attribute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
        let (value, ecert) = value.strip_suffix(":ecert").map_or((value, false), |value| (value, true));
        if name.is_empty() {
            return Err("an attribute has a name".into());
        }
        Ok(Self { name: name.into(), value: value.into(), ecert })
    }
}
