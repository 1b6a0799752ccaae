//! Whether a device whose chain is good is taken in, and as what. Pure.

use std::collections::BTreeMap;

use vitro_cloud::config::StackName;
use vitro_cloud::devices::{Device, Status};
use vitro_cloud::manifest::Expected;
use vitro_proof::DeviceId;
use vitro_proof::chain::VerifiedChain;

use crate::refusal::Refusal;

/// What is known of who announced itself.
pub(crate) struct Facts<'a> {
    /// Its name, as its certificate says.
    pub(crate) thing: &'a DeviceId,
    /// Its verified chain.
    pub(crate) chain: &'a VerifiedChain,
    /// Who is registered under its name.
    pub(crate) registered: Option<Device>,
    /// Who holds its key.
    pub(crate) holder: Option<DeviceId>,
    /// Attributes of the thing of its name.
    pub(crate) attributes: Option<BTreeMap<String, String>>,
    /// What the manifest expects under its name.
    pub(crate) expected: Option<Expected>,
    /// The device that it is expected to replace, as it is registered.
    pub(crate) replaced: Option<Device>,
}

/// What becomes of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It becomes a device, as the manifest has it.
    New(Box<Expected>),
    /// It is a device, with another certificate for its key.
    Renewal(Box<Device>),
    /// It is a suspended device: its certificate is registered and stays inactive.
    Held(Box<Device>),
}

/// Decides. What belongs to somebody is told before what nobody expects: a stranger under a known name is more than an unknown one.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn decide(facts: Facts<'_>, stack: &StackName) -> Result<Plan, Refusal> {
    let Facts { thing, chain, registered, holder, attributes, expected, replaced } = facts;
    if let Some(holder) = holder.filter(|holder| holder != thing) {
        return Err(Refusal::KeyInUse { thing: thing.clone(), holder });
    }
    if let Some(attributes) = attributes.filter(|attributes| *attributes != attributes_of(stack)) {
        let of = |name: &str| attributes.get(name).map_or("nobody", String::as_str).to_owned();
        return Err(Refusal::OtherCustomer {
            thing: thing.clone(),
            owner: format!("{}, {}", of("customer"), of("stage")),
        });
    }
    if let Some(device) = registered {
        if device.public_key != chain.public_key {
            return Err(Refusal::OtherThing(thing.clone()));
        }
        return match device.status {
            Status::Active => Ok(Plan::Renewal(Box::new(device))),
            Status::Suspended => Ok(Plan::Held(Box::new(device))),
            Status::Retired => Err(Refusal::DeviceRetired(thing.clone())),
        };
    }
    let expected = expected.ok_or_else(|| Refusal::NotInManifest(thing.to_string()))?;
    let mismatch = |what| Err(Refusal::ManifestMismatch { thing: thing.clone(), what });
    if expected.public_key.is_some_and(|key| key != chain.public_key) {
        return mismatch("key");
    }
    if expected.serial.as_ref().is_some_and(|serial| *serial != chain.serial.to_string()) {
        return mismatch("serial number");
    }
    // It serves nothing before it is exchanged, and then just what the other one served.
    let is_successor = |old: &Device| {
        old.metering_point == expected.metering_point
            && old.zone == expected.zone
            && old.shard == expected.shard
            && old.exchange.as_ref().is_none_or(|exchange| exchange.by == *thing)
    };
    if expected.replaces.is_some() && !replaced.as_ref().is_some_and(is_successor) {
        return mismatch("device to replace");
    }
    Ok(Plan::New(Box::new(expected)))
}

/// What every thing of an installation carries, so that things of several in one account are told apart.
pub(crate) fn attributes_of(stack: &StackName) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("customer".to_owned(), stack.customer().to_string()),
        ("stage".to_owned(), stack.stage().to_owned()),
    ])
}
