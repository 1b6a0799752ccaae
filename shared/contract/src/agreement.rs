//! Agreements: proposed by any party, active when all four approved the same bytes, never changed in place.

use std::collections::BTreeSet;

use vitro_proof::Hash;

use crate::access::{self, Identity, exactly, hash, text};
use crate::call::{Context, Response};
use crate::error::ContractError;
use crate::ids::{AgreementId, MeteringPoint, Role};
use crate::keys;
use crate::model::{Agreement, AgreementView, Approval, Proposal, Service};
use crate::registry::approval;
use crate::status;
use crate::tx::{self, Tx};
use crate::wire::Record;

/// Takes a proposal. Proposing is not approving; the same bytes again change nothing.
pub(crate) fn propose(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [bytes] = exactly(args)?;
    let agreement = Agreement::decode(bytes)?;
    agreement.check()?;
    let (id, hash) = (agreement.id.clone(), agreement.hash());
    check_free(tx, &id, hash)?;
    let key = keys::agreement(&id, hash);
    if tx.load::<Proposal>(&key)?.is_none() {
        tx.store(&key, &Proposal { agreement, proposed: approval(ctx, role) });
    }
    Ok(Response::of(&view(tx, &id, hash)?))
}

/// A party's approval of a proposal by its hash. The fourth makes it active.
pub(crate) fn approve(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [id, hash_text] = exactly(args)?;
    let (id, hash) = (text::<AgreementId>("an agreement's id", id)?, hash("an agreement's hash", hash_text)?);
    check_free(tx, &id, hash)?;
    // What was never proposed cannot be approved.
    view(tx, &id, hash)?;
    let key = keys::agreement_approval(&id, hash, role);
    if tx.load::<Approval>(&key)?.is_none() {
        tx.store(&key, &approval(ctx, role));
    }
    let mut view = view(tx, &id, hash)?;
    let mut response = Response::of(&view);
    if view.approvals.len() == Role::ALL.len() && !view.active {
        tx.put(&keys::agreement_active(&id), hash.0.to_vec());
        view.active = true;
        response = Response::of(&view).with_event("agreement_active", view.encode());
    }
    Ok(response)
}

/// An agreement by its id and hash; without a hash the active one.
pub(crate) fn get(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let view = match args {
        [id] => {
            let id = text::<AgreementId>("an agreement's id", id)?;
            let hash = active_hash(tx, &id)?.ok_or_else(|| ContractError::AgreementNotActive(id.to_string()))?;
            view(tx, &id, hash)?
        }
        [id, hash_text] => view(tx, &text("an agreement's id", id)?, hash("an agreement's hash", hash_text)?)?,
        _ => return Err(ContractError::BadArguments("an id, and a hash or none, are expected".into())),
    };
    Ok(Response::of(&view))
}

/// All proposals, active or not: of an id, or of all ids where none is given.
pub(crate) fn list(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let prefix = match args {
        [] => keys::AGREEMENTS.to_owned(),
        [id] => keys::agreement_proposals(&text("an agreement's id", id)?),
        _ => return Err(ContractError::BadArguments("an id or nothing is expected".into())),
    };
    let mut views = Vec::new();
    for (key, bytes) in tx.under(&prefix)? {
        let proposal: Proposal = tx::read(&key, &bytes)?;
        views.push(view(tx, &proposal.agreement.id, proposal.agreement.hash())?);
    }
    Ok(Response::of(&views))
}

fn active_hash(tx: &mut Tx<'_>, id: &AgreementId) -> Result<Option<Hash>, ContractError> {
    let bytes = tx.get(&keys::agreement_active(id))?;
    bytes.map(|bytes| Hash::from_slice(&bytes).map_err(|error| ContractError::Damaged(error.to_string()))).transpose()
}

/// Once an agreement is active under an id, no other can be proposed or approved under it.
fn check_free(tx: &mut Tx<'_>, id: &AgreementId, hash: Hash) -> Result<(), ContractError> {
    match active_hash(tx, id)? {
        Some(active) if active != hash => Err(ContractError::AgreementActive(id.to_string())),
        _ => Ok(()),
    }
}

fn view(tx: &mut Tx<'_>, id: &AgreementId, hash: Hash) -> Result<AgreementView, ContractError> {
    let proposal: Proposal = tx
        .load(&keys::agreement(id, hash))?
        .ok_or_else(|| ContractError::UnknownAgreement(format!("{id} with hash {hash}")))?;
    let mut approvals = Vec::new();
    for role in Role::ALL {
        approvals.extend(tx.load::<Approval>(&keys::agreement_approval(id, hash, role))?);
    }
    let active = active_hash(tx, id)? == Some(hash);
    Ok(AgreementView { agreement: proposal.agreement, hash, proposed: proposal.proposed, approvals, active })
}

/// The active agreement of an id with its hash.
pub(crate) fn active(tx: &mut Tx<'_>, id: &AgreementId) -> Result<(Agreement, Hash), ContractError> {
    let hash = active_hash(tx, id)?.ok_or_else(|| ContractError::AgreementNotActive(id.to_string()))?;
    Ok((view(tx, id, hash)?.agreement, hash))
}

/// The metering points that an agreement covers, in order, each with the devices that served it, one after another.
pub(crate) fn points(
    tx: &mut Tx<'_>,
    agreement: &Agreement,
) -> Result<Vec<(MeteringPoint, Vec<Service>)>, ContractError> {
    let mut of_shard = BTreeSet::new();
    for (_, point) in tx.under(&keys::shard_devices(&agreement.shard))? {
        of_shard.insert(String::from_utf8_lossy(&point).parse::<MeteringPoint>()?);
    }
    let points: Vec<&MeteringPoint> = match &agreement.points {
        None => of_shard.iter().collect(),
        Some(points) => points.iter().collect(),
    };
    let served = |tx: &mut Tx<'_>, point: &MeteringPoint| match of_shard.contains(point) {
        true => status::services(tx, point),
        false => Ok(Vec::new()),
    };
    points.into_iter().map(|point| Ok((point.clone(), served(tx, point)?))).collect()
}
