//! The life of a chaincode on a channel (Fabric 2.0 and later): its package is installed at an organization's peers, each organization
//! approves a definition by its admin, and once enough did any of them commits it.
//!
//! The endorsement policy of a definition is made from the profile's plan ([`crate::policy`]), so that clients endorse by what they
//! committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::client::Ledger;
use crate::commit::Committed;
use crate::endorse::{refusal, speaks_for_contract};
use crate::error::{Failures, LedgerError};
use crate::node::Node;
use crate::policy;
use crate::profile::{EndorserGroup, Endorsers};
use crate::proposal::{Call, Proposal};
use crate::proto::common::ApplicationPolicy;
use crate::proto::lifecycle::{
    ChaincodeSource, CheckCommitReadinessResult, DefinitionArgs, InstallChaincodeArgs, InstallChaincodeResult,
    QueryChaincodeDefinitionArgs, QueryChaincodeDefinitionResult, QueryInstalledChaincodesArgs,
    QueryInstalledChaincodesResult, chaincode_source,
};

/// The system chaincode.
const LIFECYCLE: &str = "_lifecycle";
/// The status of a definition that too few approved, told before anything is submitted.
const NOT_READY: i32 = 400;
/// An installation builds the package at the peer, which takes its time.
const INSTALL: Duration = Duration::from_secs(300);

/// What the organizations agree on. The name is the profile's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// 1 for the first definition of a name, and one more for each after it.
    pub sequence: u32,
    /// In words, such as `0.1.0`.
    pub version: String,
}

/// A package at a peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Installed {
    /// The peer.
    pub peer: String,
    /// `label:sha256`.
    pub package_id: String,
    /// Whether it was there before.
    pub was_there: bool,
}

/// A definition that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Its sequence.
    pub sequence: i64,
    /// Its version.
    pub version: String,
    /// Its endorsement policy in words.
    pub policy: String,
    /// Who approved it, by MSP id.
    pub approvals: BTreeMap<String, bool>,
}

impl Ledger {
    /// Installs a package at every peer of the identity's own organization (admin). A peer that has it already keeps it.
    ///
    /// # Errors
    /// [`LedgerError::Refused`] if a peer refuses it, [`LedgerError::Unavailable`] if one is away: what is installed at others stays.
    pub async fn install(&self, package: &[u8]) -> Result<Vec<Installed>, LedgerError> {
        let hash = hex::encode(Sha256::digest(package));
        let args = InstallChaincodeArgs { chaincode_install_package: package.to_vec() }.encode_to_vec();
        let mut done = Vec::new();
        for peer in self.own_peers() {
            let there = self.installed_at(peer).await?;
            if let Some(package_id) = there.into_iter().find(|id| id.ends_with(&hash)) {
                done.push(Installed { peer: peer.name.clone(), package_id, was_there: true });
                continue;
            }
            let answer = self.ask_peer(peer, "InstallChaincode", args.clone()).await?;
            let InstallChaincodeResult { package_id, .. } = decode("InstallChaincode", &answer)?;
            done.push(Installed { peer: peer.name.clone(), package_id, was_there: false });
        }
        Ok(done)
    }

    /// What is installed at the peers of the identity's own organization (admin).
    ///
    /// # Errors
    /// As [`Ledger::install`].
    pub async fn installed(&self) -> Result<BTreeSet<Installed>, LedgerError> {
        let mut found = BTreeSet::new();
        for peer in self.own_peers() {
            let there = self.installed_at(peer).await?.into_iter();
            found.extend(there.map(|package_id| Installed { peer: peer.name.clone(), package_id, was_there: true }));
        }
        Ok(found)
    }

    /// Approves a definition for the identity's own organization (admin). `package_id` is what its peers run; nothing if they run none.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub async fn approve_definition(
        &self,
        definition: &Definition,
        package_id: Option<&str>,
    ) -> Result<Committed, LedgerError> {
        let source = match package_id {
            Some(id) => chaincode_source::Type::LocalPackage(chaincode_source::Local { package_id: id.to_owned() }),
            None => chaincode_source::Type::Unavailable(chaincode_source::Unavailable {}),
        };
        let args = DefinitionArgs { source: Some(ChaincodeSource { r#type: Some(source) }), ..self.args(definition) };
        // It is kept where its own organization's peers alone see it.
        let own = Endorsers { required: vec![self.msp().to_owned()], any_of: Vec::new() };
        self.submit_by(&own, LIFECYCLE, "ApproveChaincodeDefinitionForMyOrg", &[args.encode_to_vec()]).await
    }

    /// Which organizations have approved just this definition, by MSP id.
    ///
    /// # Errors
    /// As [`Ledger::query`].
    pub async fn readiness(&self, definition: &Definition) -> Result<BTreeMap<String, bool>, LedgerError> {
        let args = self.args(definition).encode_to_vec();
        let answer = self.evaluate(LIFECYCLE, "CheckCommitReadiness", &[args]).await?;
        Ok(decode::<CheckCommitReadinessResult>("CheckCommitReadiness", &answer)?.approvals)
    }

    /// Puts a definition in force, endorsed by most organizations of the channel, as its default policy for this has it: by those that
    /// approved it, since the others' peers refuse. Fabric's defaults let every writer of the channel do it, no admin alone.
    ///
    /// # Errors
    /// As [`Ledger::submit`]; [`LedgerError::Refused`] names who is missing if too few approved it, and the policy that they would approve.
    pub async fn commit_definition(&self, definition: &Definition) -> Result<Committed, LedgerError> {
        let plan = majority(&self.readiness(definition).await?).map_err(|message| {
            // Another policy is another definition, and an approval of it does not count here.
            let message = format!("{message}; its policy is {}", self.policy_in_words());
            LedgerError::Refused { status: NOT_READY, message }
        })?;
        let args = self.args(definition).encode_to_vec();
        self.submit_by(&plan, LIFECYCLE, "CommitChaincodeDefinition", &[args]).await
    }

    /// The definition of the profile's chaincode that is in force.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] if there is none; as [`Ledger::query`].
    pub async fn definition(&self) -> Result<InForce, LedgerError> {
        let args = QueryChaincodeDefinitionArgs { name: self.chaincode().to_owned() }.encode_to_vec();
        let answer = match self.evaluate(LIFECYCLE, "QueryChaincodeDefinition", &[args]).await {
            // 2.2 and later: "namespace NAME is not defined".
            Err(LedgerError::Refused { message, .. }) if message.contains("is not defined") => {
                return Err(LedgerError::NotFound(format!("chaincode definition of {}", self.chaincode())));
            }
            answer => answer?,
        };
        let found: QueryChaincodeDefinitionResult = decode("QueryChaincodeDefinition", &answer)?;
        let policy: ApplicationPolicy = decode("QueryChaincodeDefinition", &found.validation_parameter)?;
        Ok(InForce {
            sequence: found.sequence,
            version: found.version,
            policy: policy::in_words(&policy),
            approvals: found.approvals,
        })
    }

    /// The endorsement policy that [`Ledger::approve_definition`] approves, in words.
    #[must_use]
    pub fn policy_in_words(&self) -> String {
        policy::in_words(&policy::of_plan(self.plan()))
    }

    fn args(&self, definition: &Definition) -> DefinitionArgs {
        DefinitionArgs {
            sequence: i64::from(definition.sequence),
            name: self.chaincode().to_owned(),
            version: definition.version.clone(),
            endorsement_plugin: "escc".into(),
            validation_plugin: "vscc".into(),
            validation_parameter: policy::of_plan(self.plan()).encode_to_vec(),
            init_required: false,
            source: None,
        }
    }

    fn own_peers(&self) -> impl Iterator<Item = &Node> {
        self.peers().iter().filter(|peer| peer.msp == self.msp())
    }

    async fn installed_at(&self, peer: &Node) -> Result<Vec<String>, LedgerError> {
        let args = QueryInstalledChaincodesArgs {}.encode_to_vec();
        let answer = self.ask_peer(peer, "QueryInstalledChaincodes", args).await?;
        let found: QueryInstalledChaincodesResult = decode("QueryInstalledChaincodes", &answer)?;
        Ok(found.installed_chaincodes.into_iter().map(|one| one.package_id).collect())
    }

    /// Asks one peer of what is its own and no channel's.
    async fn ask_peer(&self, peer: &Node, function: &str, args: Vec<u8>) -> Result<Vec<u8>, LedgerError> {
        let call = Call { channel: "", chaincode: LIFECYCLE, function, args: &[args] };
        let proposal = Proposal::new(&call, self.creator(), &self.nonce()?, self.environment.now());
        let signed = proposal.with_signature(self.identity.sign(&proposal.bytes)?);
        let answer = peer.process_proposal(&signed, INSTALL).await.map_err(|error| {
            let mut failures = Failures::default();
            failures.note(&peer.name, error);
            if failures.is_denial() {
                return LedgerError::Denied(failures);
            }
            LedgerError::Unavailable { what: "the peer does not answer", failures }
        })?;
        if let Some(no) = refusal(&answer).or_else(|| answer.response.clone().filter(|_| !speaks_for_contract(&answer)))
        {
            return Err(LedgerError::Refused { status: no.status, message: format!("{}: {}", peer.name, no.message) });
        }
        Ok(answer.response.unwrap_or_default().payload)
    }
}

/// More than half of a channel's organizations, of those that approved; else a sentence with those that did not.
fn majority(approvals: &BTreeMap<String, bool>) -> Result<Endorsers, String> {
    let (approved, missing): (Vec<_>, Vec<_>) = approvals.iter().partition(|(_, yes)| **yes);
    let count = approvals.len() / 2 + 1;
    if approved.len() < count {
        let missing: Vec<_> = missing.into_iter().map(|(msp, _)| msp.as_str()).collect();
        return Err(format!(
            "{} of {} organizations approved this definition, {count} are needed: {} did not",
            approved.len(),
            approvals.len(),
            missing.join(", ")
        ));
    }
    let of = approved.into_iter().map(|(msp, _)| msp.clone()).collect();
    Ok(Endorsers { required: Vec::new(), any_of: vec![EndorserGroup { count, of }] })
}

fn decode<M: Message + Default>(function: &str, bytes: &[u8]) -> Result<M, LedgerError> {
    M::decode(bytes)
        .map_err(|error| LedgerError::Protocol { node: LIFECYCLE.to_owned(), detail: format!("{function}: {error}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_organizations_commit_and_only_those_that_approved() {
        let approvals = |yes: &[&str]| {
            ["A", "B", "C", "D"].map(|msp| (msp.to_owned(), yes.contains(&msp))).into_iter().collect::<BTreeMap<_, _>>()
        };
        let plan = majority(&approvals(&["A", "C", "D"])).unwrap();
        assert_eq!((plan.any_of[0].count, plan.any_of[0].of.join("")), (3, "ACD".into()));
        assert_eq!(majority(&approvals(&["A", "B", "C", "D"])).unwrap().any_of[0].count, 3);
        let refused = majority(&approvals(&["A", "C"])).unwrap_err();
        assert_eq!(refused, "2 of 4 organizations approved this definition, 3 are needed: B, D did not");
        assert!(majority(&BTreeMap::new()).is_err());
    }
}
