//! Signed commands to devices: numbered, signed with the customer's command key, published over the IoT data plane.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_iotdataplane::primitives::Blob;
use vitro_proof::command::{Action, Command, key_id};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{CommandNumber, Customer, DeviceId, Signer};

use crate::chain::ChainStore;
use crate::clock::Clock;
use crate::error::CloudError;
use crate::secrets::FromSecret;

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

/// Where the command key comes from.
#[async_trait]
pub trait CommandKey: Send + Sync {
    /// The key, possibly one that was read before.
    ///
    /// # Errors
    /// [`CloudError`].
    async fn signer(&self) -> Result<Arc<dyn Signer + Send + Sync>, CloudError>;
}

/// A command key as PKCS#8 in PEM in Secrets Manager, read at most every five minutes.
pub struct SecretKey<C>(FromSecret<SoftwareSigner, C>);

impl<C: Clock> SecretKey<C> {
    /// The secret by its name.
    pub fn new(client: aws_sdk_secretsmanager::Client, secret: impl Into<String>, clock: C) -> Self {
        let read = |pem: &str| {
            SoftwareSigner::from_pkcs8_pem(pem).map_err(|_| "it is no P-256 key as PKCS#8 in PEM".to_owned())
        };
        Self(FromSecret::new(client, secret, clock, read, "vitro command-key new"))
    }
}

#[async_trait]
impl<C: Clock> CommandKey for SecretKey<C> {
    async fn signer(&self) -> Result<Arc<dyn Signer + Send + Sync>, CloudError> {
        let signer: Arc<dyn Signer + Send + Sync> = self.0.get().await?;
        Ok(signer)
    }
}

/// Commands over the IoT data plane.
pub struct IotCommands<K, N, C> {
    client: aws_sdk_iotdataplane::Client,
    customer: Customer,
    key: K,
    numbers: N,
    clock: C,
}

impl<K: CommandKey, N: ChainStore, C: Clock> IotCommands<K, N, C> {
    /// Signs with `key`, takes numbers from `numbers`.
    pub fn new(client: aws_sdk_iotdataplane::Client, customer: Customer, key: K, numbers: N, clock: C) -> Self {
        Self { client, customer, key, numbers, clock }
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
impl<K: CommandKey, N: ChainStore, C: Clock> Commands for IotCommands<K, N, C> {
    async fn send(
        &self,
        thing: &DeviceId,
        id: [u8; 16],
        expires: i64,
        action: Action,
    ) -> Result<CommandNumber, CloudError> {
        let signer = self.key.signer().await?;
        let number = self.numbers.next_command(thing, self.clock.now()).await?;
        let command = Command { thing: thing.clone(), id, expires, action };
        let envelope = command.seal(number, &key_id(&signer.public_key()), signer.as_ref())?;
        self.client
            .publish()
            .topic(command_topic(&self.customer, thing))
            .qos(1)
            .payload(Blob::new(envelope))
            .send()
            .await
            .map_err(|e| CloudError::service("iot", "Publish", e))?;
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
