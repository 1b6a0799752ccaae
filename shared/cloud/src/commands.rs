//! Signed commands to devices: numbered, signed with the customer's command key, published over the IoT data plane.

use async_trait::async_trait;
use aws_sdk_iotdataplane::primitives::Blob;
use vitro_proof::command::{Action, Command};
use vitro_proof::{CommandNumber, Customer, DeviceId};

use crate::chain::ChainStore;
use crate::clock::Clock;
use crate::command_key::CommandSigner;
use crate::error::CloudError;

/// Who carries commands to devices.
#[async_trait]
pub trait Commands: Send + Sync {
    /// Signs a command and hands it to the broker, which delivers it at least once. `id` names it in the device's reply; `expires` is
    /// in Unix seconds.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn send(
        &self,
        thing: &DeviceId,
        id: [u8; 16],
        expires: i64,
        action: Action,
    ) -> Result<CommandNumber, CloudError>;
}

/// The topic on which a device hears commands.
#[must_use]
pub fn command_topic(customer: &Customer, thing: &DeviceId) -> String {
    format!("vitro/{customer}/{thing}/command")
}

/// Brings signed commands to devices.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// Hands a signed command to the broker, which delivers it at least once.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn deliver(&self, thing: &DeviceId, envelope: Vec<u8>) -> Result<(), CloudError>;
}

/// Publishes on the devices' topics over the IoT data plane.
#[derive(Clone, Debug)]
pub struct IotDelivery {
    client: aws_sdk_iotdataplane::Client,
    customer: Customer,
}

impl IotDelivery {
    /// To devices of this customer.
    #[must_use]
    pub fn new(client: aws_sdk_iotdataplane::Client, customer: Customer) -> Self {
        Self { client, customer }
    }
}

#[async_trait]
impl Delivery for IotDelivery {
    async fn deliver(&self, thing: &DeviceId, envelope: Vec<u8>) -> Result<(), CloudError> {
        let topic = command_topic(&self.customer, thing);
        let sent = self.client.publish().topic(topic).qos(1).payload(Blob::new(envelope)).send().await;
        sent.map(|_| ()).map_err(|e| CloudError::service("iot", "Publish", e))
    }
}

/// Commands that are numbered, signed and delivered.
pub struct SignedCommands<K, N, D, C> {
    key: K,
    numbers: N,
    delivery: D,
    clock: C,
}

impl<K: CommandSigner, N: ChainStore, D: Delivery, C: Clock> SignedCommands<K, N, D, C> {
    /// Signs with `key`, takes numbers from `numbers`.
    pub fn new(key: K, numbers: N, delivery: D, clock: C) -> Self {
        Self { key, numbers, delivery, clock }
    }
}

/// A client of the data plane. `host` is the account's own, or nothing for what the SDK finds.
#[must_use]
pub fn iot_client(config: &aws_config::SdkConfig, host: Option<&str>) -> aws_sdk_iotdataplane::Client {
    let mut builder = aws_sdk_iotdataplane::config::Builder::from(config);
    if let Some(host) = host {
        builder.set_endpoint_url(Some(if host.contains("://") { host.to_owned() } else { format!("https://{host}") }));
    }
    aws_sdk_iotdataplane::Client::from_conf(builder.build())
}

#[async_trait]
impl<K: CommandSigner, N: ChainStore, D: Delivery, C: Clock> Commands for SignedCommands<K, N, D, C> {
    async fn send(
        &self,
        thing: &DeviceId,
        id: [u8; 16],
        expires: i64,
        action: Action,
    ) -> Result<CommandNumber, CloudError> {
        let number = self.numbers.next_command(thing, self.clock.now()).await?;
        let command = Command { thing: thing.clone(), id, expires, action };
        self.delivery.deliver(thing, self.key.seal(&command, number).await?).await?;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_hears_its_own_topic() {
        assert_eq!(command_topic(&"acme".parse().unwrap(), &"dev-1".parse().unwrap()), "vitro/acme/dev-1/command");
    }
}
