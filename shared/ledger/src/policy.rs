//! The endorsement policy of a chaincode, made from the plan that clients endorse by: both say whose word a transaction needs.

use std::collections::BTreeSet;
use std::fmt;

use prost::Message;

use crate::profile::{EndorserGroup, Endorsers};
use crate::proto::common::application_policy::Type as Kind;
use crate::proto::common::msp_principal::Classification;
use crate::proto::common::msp_role::MspRoleType;
use crate::proto::common::signature_policy::{NOutOf, Type as Rule};
use crate::proto::common::{ApplicationPolicy, MspPrincipal, MspRole, SignaturePolicy, SignaturePolicyEnvelope};

/// The policy that a plan satisfies: a peer of all of `required`, and of each group of as many as it counts.
///
/// A plan's order is a client's preference and no part of the policy: organizations and groups are sorted and named once, so that parties
/// who mean the same approve the same bytes.
#[must_use]
pub fn of_plan(plan: &Endorsers) -> ApplicationPolicy {
    let required: BTreeSet<&String> = plan.required.iter().collect();
    let group = |EndorserGroup { count, of }: &EndorserGroup| (of.iter().cloned().collect::<BTreeSet<_>>(), *count);
    let groups: BTreeSet<_> = plan.any_of.iter().map(group).collect();
    let mut identities = Vec::new();
    let mut rules: Vec<SignaturePolicy> = required.into_iter().map(|msp| signed_by(msp, &mut identities)).collect();
    for (of, count) in groups {
        let of = of.iter().map(|msp| signed_by(msp, &mut identities)).collect();
        rules.push(out_of(count, of));
    }
    let rule = Some(out_of(rules.len(), rules));
    ApplicationPolicy { r#type: Some(Kind::SignaturePolicy(SignaturePolicyEnvelope { version: 0, rule, identities })) }
}

fn out_of(count: usize, rules: Vec<SignaturePolicy>) -> SignaturePolicy {
    // A policy of so many rules cannot be written.
    let n = i32::try_from(count).unwrap_or(i32::MAX);
    SignaturePolicy { r#type: Some(Rule::NOutOf(NOutOf { n, rules })) }
}

fn signed_by(msp: &str, identities: &mut Vec<MspPrincipal>) -> SignaturePolicy {
    let role = MspRole { msp_identifier: msp.to_owned(), role: MspRoleType::Peer as i32 };
    let principal =
        MspPrincipal { principal_classification: Classification::Role as i32, principal: role.encode_to_vec() };
    let known = identities.iter().position(|known| *known == principal);
    let index = known.unwrap_or_else(|| {
        identities.push(principal);
        identities.len() - 1
    });
    SignaturePolicy { r#type: Some(Rule::SignedBy(i32::try_from(index).unwrap_or(i32::MAX))) }
}

/// A policy in the words that Fabric's own tools take, such as `AND('OperatorMSP.peer', OutOf(2, 'RcMSP.peer', ...))`.
#[must_use]
pub fn in_words(policy: &ApplicationPolicy) -> String {
    match &policy.r#type {
        Some(Kind::SignaturePolicy(envelope)) => match &envelope.rule {
            Some(rule) => Words { rule, identities: &envelope.identities }.to_string(),
            None => "nobody".into(),
        },
        Some(Kind::ChannelConfigPolicyReference(name)) => format!("the channel's {name}"),
        None => "the channel's default".into(),
    }
}

struct Words<'a> {
    rule: &'a SignaturePolicy,
    identities: &'a [MspPrincipal],
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule.r#type {
            None => f.write_str("nobody"),
            Some(Rule::SignedBy(index)) => {
                let principal = usize::try_from(*index).ok().and_then(|index| self.identities.get(index));
                let role = principal
                    .filter(|one| one.principal_classification == Classification::Role as i32)
                    .and_then(|one| MspRole::decode(&one.principal[..]).ok());
                match role {
                    Some(role) => {
                        let kind = MspRoleType::try_from(role.role).map_or("?", |kind| kind.as_str_name());
                        write!(f, "'{}.{}'", role.msp_identifier, kind.to_lowercase())
                    }
                    None => write!(f, "identity {index}"),
                }
            }
            Some(Rule::NOutOf(group)) => {
                match (usize::try_from(group.n), group.rules.len()) {
                    (Ok(n), all) if n == all => f.write_str("AND(")?,
                    (Ok(1), _) => f.write_str("OR(")?,
                    _ => write!(f, "OutOf({}, ", group.n)?,
                }
                for (at, rule) in group.rules.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{}", Words { rule, identities: self.identities })?;
                }
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_the_four_parties_is_their_policy() {
        let plan: Endorsers = serde_json::from_str(
            r#"{"required":["OperatorMSP"],"any_of":[{"count":2,"of":["RcMSP","DvMSP","SpMSP"]}]}"#,
        )
        .unwrap();
        let policy = of_plan(&plan);
        let words = "AND('OperatorMSP.peer', OutOf(2, 'DvMSP.peer', 'RcMSP.peer', 'SpMSP.peer'))";
        assert_eq!(in_words(&policy), words);
        let read = ApplicationPolicy::decode(&policy.encode_to_vec()[..]).unwrap();
        assert_eq!(in_words(&read), words);
        // What is broken is told as such and breaks nothing.
        let Some(Kind::SignaturePolicy(envelope)) = read.r#type else { panic!() };
        let cut = SignaturePolicyEnvelope { identities: Vec::new(), ..envelope };
        let words = in_words(&ApplicationPolicy { r#type: Some(Kind::SignaturePolicy(cut)) });
        assert_eq!(words, "AND(identity 0, OutOf(2, identity 1, identity 2, identity 3))");
    }

    #[test]
    fn parties_with_other_preferences_approve_the_same_bytes() {
        let bytes = |plan: serde_json::Value| of_plan(&serde_json::from_value(plan).unwrap()).encode_to_vec();
        let group = |count: usize, of: &[&str]| serde_json::json!({ "count": count, "of": of });
        let (rc, sp) = (group(2, &["RcMSP", "DvMSP", "SpMSP"]), group(1, &["E", "F"]));
        let one = bytes(serde_json::json!({ "required": ["A", "B"], "any_of": [rc, sp] }));
        let (rc, sp) = (group(2, &["SpMSP", "RcMSP", "DvMSP", "RcMSP"]), group(1, &["F", "E"]));
        let other = bytes(serde_json::json!({ "required": ["B", "A", "B"], "any_of": [sp, rc] }));
        assert_eq!(one, other);
        let (rc, sp) = (group(1, &["SpMSP", "RcMSP", "DvMSP"]), group(1, &["F", "E"]));
        assert_ne!(one, bytes(serde_json::json!({ "required": ["A", "B"], "any_of": [rc, sp] })));
    }
}
