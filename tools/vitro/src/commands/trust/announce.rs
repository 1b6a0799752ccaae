//! The way of a first connection: AWS IoT tells of it on a topic of the authority's own, and one rule an authority hands that to the
//! installation's function `register`. No rule listens to all authorities: those of other installations are none of its business.

use std::io::Write;

use aws_sdk_iot::error::ProvideErrorMetadata;
use aws_sdk_iot::types::{Action, AutoRegistrationStatus, CaCertificateStatus, SqsAction, TopicRulePayload};
use clap::Args;
use vitro_cloud::trust::{TrustStore, TrustedAuthority};

use super::find;
use crate::error::CliError;
use crate::output;
use crate::session::Session;

/// The version of the rules' language, as in template.yaml.
const SQL_VERSION: &str = "2016-03-23";

/// Arguments of `trust announce`.
#[derive(Debug, Args)]
pub struct AnnounceArgs {
    /// Name of a trusted authority that AWS IoT knows (`vitro ca register`), or its id or the beginning of it (8 digits at least)
    pub authority: String,
    /// End it: first connections of its devices are refused from now on
    #[arg(long)]
    pub off: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The rule of an authority. Its name holds the customer, as those of template.yaml do.
fn rule_name(session: &Session, authority: &TrustedAuthority) -> String {
    format!("vitro_{}_register_{}", session.stack.customer(), &authority.id.to_string()[..16])
}

/// The topic that AWS IoT tells of an authority's devices on.
fn topic(authority: &TrustedAuthority) -> String {
    format!("$aws/events/certificates/registered/{}", authority.id)
}

/// What the rule hands on: an event of the form that every rule of the installation makes, so that quarantine and replay take it.
fn sql(authority: &TrustedAuthority) -> String {
    format!(
        "SELECT encode(*, 'base64') AS envelope, certificateId AS thing, topic() AS topic, timestamp() AS received FROM '{}'",
        topic(authority)
    )
}

/// Lets the devices of an authority announce themselves, or ends it. Doing it again changes nothing.
///
/// # Errors
/// [`CliError`].
pub(super) async fn run(args: &AnnounceArgs, session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let authorities = session.trust().authorities().await?;
    let authority = find(&authorities, &args.authority)?;
    if args.off {
        // First nobody is announced any more, then nobody listens.
        set_auto_registration(session, authority, false).await?;
        remove_rule(session, authority).await?;
    } else {
        put_rule(session, authority).await?;
        set_auto_registration(session, authority, true).await?;
    }
    session.trust().set_announces(authority.id, !args.off).await?;
    let rule = rule_name(session, authority);
    if args.json {
        let shown = serde_json::json!({ "authority": authority.id.to_string(), "announces": !args.off, "rule": rule });
        return output::json(out, &shown);
    }
    let state = if args.off { "no longer announce" } else { "announce" };
    output::line(out, &format!("devices of {} {state} themselves ({rule})", authority.name))
}

async fn put_rule(session: &Session, authority: &TrustedAuthority) -> Result<(), CliError> {
    let iot = session.iot();
    let (partition, account) = session.account().await?;
    let role = format!("arn:{partition}:iam::{account}:role/{}", session.stack.resource("rules"));
    let to = |url: String| {
        let action = SqsAction::builder().role_arn(&role).queue_url(url).use_base64(false).build();
        action.map(|action| Action::builder().sqs(action).build()).map_err(|e| CliError::malformed("the rule", e))
    };
    let payload = TopicRulePayload::builder()
        .sql(sql(authority))
        .aws_iot_sql_version(SQL_VERSION)
        .description(format!("First connections of {} to {}", authority.name, session.stack))
        .actions(to(session.queue_url("register").await?)?)
        .error_action(to(session.queue_url("rule-errors").await?)?)
        .build()
        .map_err(|e| CliError::malformed("the rule", e))?;
    let name = rule_name(session, authority);
    let created = iot.create_topic_rule().rule_name(&name).topic_rule_payload(payload.clone()).send().await;
    match created {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("ResourceAlreadyExistsException") => {
            let replaced = iot.replace_topic_rule().rule_name(&name).topic_rule_payload(payload).send().await;
            replaced.map(|_| ()).map_err(|e| CliError::aws("ReplaceTopicRule", &e))
        }
        Err(error) => Err(CliError::aws("CreateTopicRule", &error)),
    }
}

async fn remove_rule(session: &Session, authority: &TrustedAuthority) -> Result<(), CliError> {
    let (iot, name) = (session.iot(), rule_name(session, authority));
    // Of a rule that is gone, AWS IoT says that access is denied: so it is looked for first.
    let mut pages = iot.list_topic_rules().topic(topic(authority)).into_paginator().send();
    while let Some(page) = pages.next().await {
        let page = page.map_err(|e| CliError::aws("ListTopicRules", &e))?;
        if page.rules().iter().any(|rule| rule.rule_name() == Some(name.as_str())) {
            let deleted = iot.delete_topic_rule().rule_name(&name).send().await;
            return deleted.map(|_| ()).map_err(|e| CliError::aws("DeleteTopicRule", &e));
        }
    }
    Ok(())
}

async fn set_auto_registration(session: &Session, authority: &TrustedAuthority, on: bool) -> Result<(), CliError> {
    let (iot, id) = (session.iot(), authority.id.to_string());
    let known = match iot.describe_ca_certificate().certificate_id(&id).send().await {
        Ok(found) => found.certificate_description,
        Err(error) if error.code() == Some("ResourceNotFoundException") => None,
        Err(error) => return Err(CliError::aws("DescribeCACertificate", &error)),
    };
    let Some(known) = known.filter(|known| !on || known.status == Some(CaCertificateStatus::Active)) else {
        let why = format!("AWS IoT knows no active authority {}: register it with `vitro ca register`", authority.name);
        return if on { Err(CliError::Refused(why)) } else { Ok(()) };
    };
    let wanted = if on { AutoRegistrationStatus::Enable } else { AutoRegistrationStatus::Disable };
    if known.auto_registration_status.as_ref() == Some(&wanted) {
        return Ok(());
    }
    let updated = iot.update_ca_certificate().certificate_id(&id).new_auto_registration_status(wanted).send().await;
    updated.map(|_| ()).map_err(|e| CliError::aws("UpdateCACertificate", &e))
}
