//! The command keys in KMS: made, found and rotated.
//!
//! Three aliases: the key in use, the next one, and the one that was in use before. Every step can be repeated, and `rotate` finishes
//! what an earlier run left undone before anything else, so that one cut-short run never becomes two rotations.

use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::types::{KeySpec, KeyState, KeyUsageType, Tag};
use vitro_cloud::CloudError;
use vitro_cloud::command_key::{KmsPublicKey, current_alias, next_alias, public_key};
use vitro_device::config::CommandKeys;

use super::named;
use crate::error::CliError;
use crate::session::{Place, Session};

/// What one run works with.
struct Keys<'s> {
    client: aws_sdk_kms::Client,
    session: &'s Session,
    place: Place,
}

/// The public keys.
pub(super) async fn keys(session: &Session) -> Result<CommandKeys, CliError> {
    let client = session.kms();
    let current = found(&client, &current_alias(&session.stack)).await?;
    let current = current.ok_or_else(|| {
        let why = format!("{} has no command key yet: make one with `vitro command-key new`", session.stack);
        CliError::NotFound(why)
    })?;
    let next = found(&client, &next_alias(&session.stack)).await?;
    let next = next.filter(|next| next.arn != current.arn).map(|next| named(next.public_key));
    Ok(CommandKeys { current: named(current.public_key), next })
}

/// Makes what is missing of the two. What is there stays; who may use it is written again, because a role that was made anew is
/// another one to KMS.
pub(super) async fn create(session: &Session) -> Result<CommandKeys, CliError> {
    let keys = Keys::open(session).await?;
    for alias in [current_alias(&session.stack), next_alias(&session.stack)] {
        match found(&keys.client, &alias).await? {
            Some(key) => keys.allow(&key.arn).await?,
            None => {
                let key = keys.make().await?;
                keys.point(&alias, &key).await?;
            }
        }
    }
    self::keys(session).await
}

/// Goes over to the next key.
pub(super) async fn rotate(session: &Session) -> Result<CommandKeys, CliError> {
    let keys = Keys::open(session).await?;
    let (current, next) = (current_alias(&session.stack), next_alias(&session.stack));
    let previous = format!("{current}-previous");
    let missing = || CliError::NotFound("make the command keys with `vitro command-key new` first".into());
    let in_use = found(&keys.client, &current).await?.ok_or_else(missing)?;
    let following = found(&keys.client, &next).await?.ok_or_else(missing)?;
    let before = keys.state(&previous).await?;
    // The one before is still enabled: an earlier run was cut short after it had moved the current alias.
    let unfinished = before.as_ref().is_some_and(|(arn, state)| *arn != in_use.arn && *state == KeyState::Enabled);
    if !unfinished {
        keys.allow(&following.arn).await?;
        keys.point(&previous, &in_use.arn).await?;
        keys.point(&current, &following.arn).await?;
    }
    if !unfinished || following.arn == in_use.arn {
        let made = keys.make().await?;
        keys.point(&next, &made).await?;
    }
    let old = if unfinished { before.map(|(arn, _)| arn) } else { Some(in_use.arn) };
    if let Some(old) = old {
        // Nobody signs with it any more; it is not deleted, so an operator can still go back.
        keys.client.disable_key().key_id(&old).send().await.map_err(|e| CliError::aws("DisableKey", &e))?;
    }
    self::keys(session).await
}

async fn found(client: &aws_sdk_kms::Client, alias: &str) -> Result<Option<KmsPublicKey>, CliError> {
    match public_key(client, alias).await {
        Ok(key) => Ok(Some(key)),
        Err(CloudError::Unset { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl<'s> Keys<'s> {
    async fn open(session: &'s Session) -> Result<Self, CliError> {
        Ok(Self { client: session.kms(), session, place: session.place().await? })
    }

    /// A new key, which the function that sends commands may sign with. Gives its ARN.
    async fn make(&self) -> Result<String, CliError> {
        let tag = |key: &str, value: &str| Tag::builder().tag_key(key).tag_value(value).build();
        let stack = &self.session.stack;
        let mut request = self
            .client
            .create_key()
            .key_spec(KeySpec::EccNistP256)
            .key_usage(KeyUsageType::SignVerify)
            .description(format!("Commands to the devices of {stack}"))
            .policy(self.policy());
        for (key, value) in [("customer", stack.customer().as_str()), ("stage", stack.stage())] {
            request = request.tags(tag(key, value).map_err(|e| CliError::malformed("a tag", e))?);
        }
        let made = request.send().await.map_err(|e| CliError::aws("CreateKey", &e))?;
        let arn = made.key_metadata.and_then(|metadata| metadata.arn);
        arn.ok_or_else(|| CliError::malformed("CreateKey", "the key has no ARN"))
    }

    /// Lets the account's administrators manage the key by their own policies, and the function that sends commands sign with it.
    fn policy(&self) -> String {
        let Place { partition, account, .. } = &self.place;
        let role = self.session.stack.resource("reconcile");
        serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "AdministratorsByTheirOwnPolicies",
                    "Effect": "Allow",
                    "Principal": { "AWS": format!("arn:{partition}:iam::{account}:root") },
                    "Action": "kms:*",
                    "Resource": "*",
                },
                {
                    "Sid": "CommandsAreSignedHere",
                    "Effect": "Allow",
                    "Principal": { "AWS": format!("arn:{partition}:iam::{account}:role/{role}") },
                    "Action": ["kms:Sign", "kms:GetPublicKey"],
                    "Resource": "*",
                },
            ],
        })
        .to_string()
    }

    async fn allow(&self, key: &str) -> Result<(), CliError> {
        let put = self.client.put_key_policy().key_id(key).policy_name("default").policy(self.policy()).send().await;
        put.map(|_| ()).map_err(|e| CliError::aws("PutKeyPolicy", &e))
    }

    /// Lets an alias name this key.
    async fn point(&self, alias: &str, key: &str) -> Result<(), CliError> {
        let made = self.client.create_alias().alias_name(alias).target_key_id(key).send().await;
        match made {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("AlreadyExistsException") => {
                let moved = self.client.update_alias().alias_name(alias).target_key_id(key).send().await;
                moved.map(|_| ()).map_err(|e| CliError::aws("UpdateAlias", &e))
            }
            Err(error) => Err(CliError::aws("CreateAlias", &error)),
        }
    }

    /// ARN and state of the key behind an alias.
    async fn state(&self, alias: &str) -> Result<Option<(String, KeyState)>, CliError> {
        let described = match self.client.describe_key().key_id(alias).send().await {
            Ok(described) => described.key_metadata,
            Err(error) if error.code() == Some("NotFoundException") => None,
            Err(error) => return Err(CliError::aws("DescribeKey", &error)),
        };
        Ok(described.and_then(|metadata| metadata.arn.zip(metadata.key_state)))
    }
}
