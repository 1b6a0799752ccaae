//! Agreements: proposed by any party, active when all four approved the same bytes, never changed in place.
//!
//! An amendment is a new version that all four approve, a termination an end that all four approve. Both take effect where a
//! billing period ends: so each statement stands on one text, with one payer, one currency, one set of shares, and is rounded once.
//! Neither touches a day that is billed.

use std::collections::BTreeSet;

use vitro_proof::{Hash, LocalDay};

use crate::access::{self, Identity, exactly, hash, text};
use crate::billing;
use crate::call::{Context, Response};
use crate::corrections::Group;
use crate::error::ContractError;
use crate::ids::{AgreementId, MeteringPoint, Role, Shard};
use crate::keys;
use crate::model::{
    Agreement, AgreementPage, AgreementView, Amendment, Approval, Deed, DeedKind, Held, HeldAgreement, HeldVersion,
    InForcePage, Proposal, Service, Termination, Version, Versions,
};
use crate::registry::{self, approval};
use crate::status;
use crate::tx::{self, Tx};
use crate::wire::Record;

/// Proposals on a page: each may name a thousand metering points.
const PROPOSALS_A_PAGE: usize = 20;
/// Agreements on a page of those in force.
const AGREEMENTS_A_PAGE: usize = 100;
/// The name of the event that the fourth approval of an agreement raises.
pub const ACTIVE_EVENT: &str = "agreement_active";
/// The name of the event that the fourth approval of an amendment raises.
pub const AMENDED_EVENT: &str = "agreement_amended";
/// The name of the event that the fourth approval of a termination raises.
pub const TERMINATED_EVENT: &str = "agreement_terminated";

/// Takes the first terms under an id. Proposing is not approving; the same bytes again change nothing.
pub(crate) fn propose(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [bytes] = exactly(args)?;
    let agreement = Agreement::decode(bytes)?;
    agreement.check()?;
    take(ctx, tx, role, Deed::Agreement(agreement))
}

/// Takes other terms from a day on.
pub(crate) fn amend(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [bytes] = exactly(args)?;
    let amendment = Amendment::decode(bytes)?;
    amendment.terms.check()?;
    take(ctx, tx, role, Deed::Amendment(amendment))
}

/// Takes the proposal to end an agreement.
pub(crate) fn terminate(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [bytes] = exactly(args)?;
    take(ctx, tx, role, Deed::Termination(Termination::decode(bytes)?))
}

fn take(ctx: &Context, tx: &mut Tx<'_>, role: Role, deed: Deed) -> Result<Response, ContractError> {
    let (id, hash) = (deed.id().clone(), deed.hash());
    check_open(tx, &deed)?;
    let key = keys::agreement(&id, hash);
    if tx.load::<Proposal>(&key)?.is_none() {
        tx.store(&key, &Proposal { deed, proposed: approval(ctx, role) });
    }
    Ok(Response::of(&view(tx, &id, hash)?))
}

/// A party's approval of a proposal by its hash. The fourth makes it active.
pub(crate) fn approve(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &Role::ALL, Identity::Admin)?;
    let [id, hash_text] = exactly(args)?;
    let (id, hash) = (text::<AgreementId>("an agreement's id", id)?, hash("an agreement's hash", hash_text)?);
    // What was never proposed cannot be approved.
    let deed = load(tx, &id, hash)?.deed;
    check_open(tx, &deed)?;
    let key = keys::agreement_approval(&id, hash, role);
    if tx.load::<Approval>(&key)?.is_none() {
        tx.store(&key, &approval(ctx, role));
    }
    let before = view(tx, &id, hash)?;
    if before.active || before.approvals.len() < Role::ALL.len() {
        return Ok(Response::of(&before));
    }
    let mut in_force = versions(tx, &id)?.unwrap_or(Versions { versions: Vec::new(), ended: None });
    let event = match deed {
        Deed::Agreement(agreement) => {
            in_force.versions.push(Version { hash, from: agreement.term.from });
            ACTIVE_EVENT
        }
        Deed::Amendment(amendment) => {
            in_force.versions.push(Version { hash, from: amendment.terms.term.from });
            AMENDED_EVENT
        }
        Deed::Termination(termination) => {
            in_force.ended = Some(Version { hash, from: termination.last });
            TERMINATED_EVENT
        }
    };
    tx.store(&keys::agreement_active(&id), &in_force);
    let view = view(tx, &id, hash)?;
    let payload = view.encode();
    Ok(Response::of(&view).with_event(event, payload))
}

/// An agreement's newest version that is active; the one that holds on a day; or what has a hash, active or not.
pub(crate) fn get(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let (id, which) = match args {
        [id] => (id, None),
        [id, which] => (id, Some(which)),
        _ => return Err(ContractError::BadArguments("an id, and a hash, a day or nothing, are expected".into())),
    };
    let id = text::<AgreementId>("an agreement's id", id)?;
    let not_active = |when: String| ContractError::AgreementNotActive(format!("{id}{when}"));
    let hash = match which {
        None => {
            let newest = versions(tx, &id)?.and_then(|there| there.versions.last().map(|version| version.hash));
            newest.ok_or_else(|| not_active(String::new()))?
        }
        Some(day) if day.len() < 64 => {
            let day = text::<LocalDay>("a day or a hash", day)?;
            let found = in_force(tx, &id)?.into_iter().find(|version| version.held.covers(day, day));
            found.ok_or_else(|| not_active(format!(" on {day}")))?.hash
        }
        Some(hash_text) => hash("an agreement's hash", hash_text)?,
    };
    Ok(Response::of(&view(tx, &id, hash)?))
}

/// Proposals, active or not, a page at a time: of an id, or of all ids where it is empty; from a cursor on.
pub(crate) fn list(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [id, cursor] = exactly(args)?;
    let prefix = match id.as_slice() {
        [] => keys::AGREEMENTS.to_owned(),
        id => keys::agreement_proposals(&text("an agreement's id", id)?),
    };
    let (start, end) = (after(keys::AGREEMENTS, &prefix, cursor)?, keys::end_of(&prefix));
    let mut page = AgreementPage { agreements: Vec::new(), next: None };
    for (key, bytes) in tx.range(&start, &end)? {
        if page.agreements.len() == PROPOSALS_A_PAGE {
            page.next = Some(key[keys::AGREEMENTS.len()..].to_owned());
            break;
        }
        let proposal: Proposal = tx::read(&key, &bytes)?;
        page.agreements.push(view(tx, proposal.deed.id(), proposal.deed.hash())?);
    }
    Ok(Response::of(&page))
}

/// The agreements that hold on some day, with their versions, a page at a time: from a cursor on.
pub(crate) fn all_in_force(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [cursor] = exactly(args)?;
    let prefix = keys::AGREEMENTS_ACTIVE;
    let (start, end) = (after(prefix, prefix, cursor)?, keys::end_of(prefix));
    let mut page = InForcePage { agreements: Vec::new(), next: None };
    for (key, _) in tx.range(&start, &end)? {
        let id = key[prefix.len()..].parse::<AgreementId>()?;
        if page.agreements.len() == AGREEMENTS_A_PAGE {
            page.next = Some(id);
            break;
        }
        let held = |InForce { agreement, hash, held }| {
            let settles = Group::of(&agreement).hash();
            HeldVersion { hash, period: agreement.term.period, held, settles }
        };
        let versions = in_force(tx, &id)?.into_iter().map(held).collect();
        page.agreements.push(HeldAgreement { id, versions });
    }
    Ok(Response::of(&page))
}

/// The key with which a page begins: its cursor is what follows `base` in a key under `prefix`.
fn after(base: &str, prefix: &str, cursor: &[u8]) -> Result<String, ContractError> {
    if cursor.is_empty() {
        return Ok(prefix.to_owned());
    }
    let key = format!("{base}{}", text::<String>("a cursor", cursor)?);
    if key.starts_with(prefix) {
        Ok(key)
    } else {
        Err(ContractError::BadArguments("the cursor is of another list".into()))
    }
}

fn versions(tx: &mut Tx<'_>, id: &AgreementId) -> Result<Option<Versions>, ContractError> {
    tx.load(&keys::agreement_active(id))
}

fn load(tx: &mut Tx<'_>, id: &AgreementId, hash: Hash) -> Result<Proposal, ContractError> {
    tx.load(&keys::agreement(id, hash))?
        .ok_or_else(|| ContractError::UnknownAgreement(format!("{id} with hash {hash}")))
}

/// The ids under which something is active.
pub(crate) fn ids(tx: &mut Tx<'_>) -> Result<Vec<AgreementId>, ContractError> {
    let keys = tx.under(keys::AGREEMENTS_ACTIVE)?;
    keys.iter().map(|(key, _)| key[keys::AGREEMENTS_ACTIVE.len()..].parse()).collect()
}

/// Whether some version of an agreement was ever about a shard.
pub(crate) fn ever_of(tx: &mut Tx<'_>, id: &AgreementId, shard: &Shard) -> Result<bool, ContractError> {
    for version in versions(tx, id)?.map(|there| there.versions).unwrap_or_default() {
        if terms(tx, id, version.hash)?.shard == *shard {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The terms that a hash stands for: of a termination, those that it ends.
pub(crate) fn terms(tx: &mut Tx<'_>, id: &AgreementId, hash: Hash) -> Result<Agreement, ContractError> {
    match load(tx, id, hash)?.deed {
        Deed::Agreement(agreement) => Ok(agreement),
        Deed::Amendment(amendment) => Ok(amendment.terms),
        // It was checked to name a version when it was proposed, and a version is no termination.
        Deed::Termination(termination) => terms(tx, id, termination.ends),
    }
}

/// Whether a deed may still be proposed and approved. What is active already may be approved again; it changes nothing.
fn check_open(tx: &mut Tx<'_>, deed: &Deed) -> Result<(), ContractError> {
    let (id, hash) = (deed.id(), deed.hash());
    let there = versions(tx, id)?;
    if let Some(there) = &there
        && there.versions.iter().chain(&there.ended).any(|version| version.hash == hash)
    {
        return Ok(());
    }
    let (replaces, from, last) = match deed {
        Deed::Agreement(_) => {
            return match there {
                Some(_) => Err(ContractError::AgreementActive(id.to_string())),
                None => Ok(()),
            };
        }
        Deed::Amendment(Amendment { replaces, terms }) => (*replaces, Some(terms.term.from), None),
        Deed::Termination(Termination { ends, last, .. }) => (*ends, last.next(), Some(*last)),
    };
    let bad = |why: String| Err(ContractError::BadAmendment(format!("{id}: {why}")));
    let not_active = || ContractError::AgreementNotActive(id.to_string());
    let there = there.ok_or_else(not_active)?;
    if let Some(ended) = &there.ended {
        return Err(ContractError::AgreementTerminated(format!("{id} ends with {}", ended.from)));
    }
    let newest = there.versions.last().ok_or_else(not_active)?;
    if newest.hash != replaces {
        return Err(ContractError::AgreementSuperseded(format!("{id}: the newest version is {}", newest.hash)));
    }
    let Some(from) = from else { return bad("the calendar ends".into()) };
    if from < newest.from {
        return bad(format!("the newest version begins with {}", newest.from));
    }
    let old = terms(tx, id, newest.hash)?.term;
    if !old.period.begins(from) {
        return bad(format!("no period of kind {} begins with {from}", old.period));
    }
    if let Some(to) = old.to
        && last.is_some_and(|last| last > to)
    {
        return bad(format!("it ends with {to} already"));
    }
    if let Deed::Amendment(Amendment { terms, .. }) = deed
        && !terms.term.period.begins(from)
    {
        return bad(format!("no period of kind {} begins with {from}", terms.term.period));
    }
    match billing::closed(tx, id)?.into_iter().find(|head| head.to >= from) {
        Some(head) => bad(format!("{} to {} is billed already", head.from, head.to)),
        None => Ok(()),
    }
}

fn view(tx: &mut Tx<'_>, id: &AgreementId, hash: Hash) -> Result<AgreementView, ContractError> {
    let Proposal { deed, proposed } = load(tx, id, hash)?;
    let mut approvals = Vec::new();
    for role in Role::ALL {
        approvals.extend(tx.load::<Approval>(&keys::agreement_approval(id, hash, role))?);
    }
    let (kind, replaces, last) = match &deed {
        Deed::Agreement(_) => (DeedKind::Agreement, None, None),
        Deed::Amendment(amendment) => (DeedKind::Amendment, Some(amendment.replaces), None),
        Deed::Termination(termination) => (DeedKind::Termination, Some(termination.ends), Some(termination.last)),
    };
    let there = versions(tx, id)?;
    let active = there.is_some_and(|there| there.versions.iter().chain(&there.ended).any(|v| v.hash == hash));
    let holds = in_force(tx, id)?.into_iter().find(|version| version.hash == hash).map(|version| version.held);
    let agreement = terms(tx, id, hash)?;
    Ok(AgreementView { agreement, hash, proposed, approvals, active, kind, replaces, last, holds })
}

/// Terms that all four approved, with the days on which they hold.
pub(crate) struct InForce {
    /// The terms.
    pub(crate) agreement: Agreement,
    /// What the parties approved.
    pub(crate) hash: Hash,
    /// From the term's first day until its last one, the next version or the end, whatever comes first.
    pub(crate) held: Held,
}

/// The versions of an agreement that hold on some day, in the order of their days; none if it is not active.
pub(crate) fn in_force(tx: &mut Tx<'_>, id: &AgreementId) -> Result<Vec<InForce>, ContractError> {
    let Some(there) = versions(tx, id)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (n, version) in there.versions.iter().enumerate() {
        let agreement = terms(tx, id, version.hash)?;
        let next = there.versions.get(n + 1).map(|next| next.from.previous());
        let ends = [agreement.term.to.map(Some), next, there.ended.as_ref().map(|ended| Some(ended.from))];
        // A version that is replaced from the first day of the calendar never held; nothing else has no day before it.
        let to = ends.into_iter().flatten().min();
        if to.is_some_and(|to| to.is_none_or(|to| to < version.from)) {
            continue;
        }
        found.push(InForce { agreement, hash: version.hash, held: Held { from: version.from, to: to.flatten() } });
    }
    Ok(found)
}

/// The version that holds on all days of a period, both included.
pub(crate) fn holding(
    tx: &mut Tx<'_>,
    id: &AgreementId,
    from: LocalDay,
    to: LocalDay,
) -> Result<InForce, ContractError> {
    if versions(tx, id)?.is_none() {
        return Err(ContractError::AgreementNotActive(id.to_string()));
    }
    let found = in_force(tx, id)?.into_iter().find(|version| version.held.covers(from, to));
    found.ok_or_else(|| {
        ContractError::BadPeriod(format!("{from} to {to} is not within the term of one version of {id}"))
    })
}

/// The metering points that an agreement covers, in order, each with the devices that served it, one after another. Only an agreement
/// about all of a shard walks through the shard; one that names its points reads those, and no other registration gets in its way.
pub(crate) fn points(
    tx: &mut Tx<'_>,
    agreement: &Agreement,
) -> Result<Vec<(MeteringPoint, Vec<Service>)>, ContractError> {
    match &agreement.points {
        Some(points) => {
            points.iter().map(|point| Ok((point.clone(), of_shard(tx, point, &agreement.shard)?))).collect()
        }
        None => {
            let mut points = BTreeSet::new();
            for (_, point) in tx.under(&keys::shard_devices(&agreement.shard))? {
                points.insert(String::from_utf8_lossy(&point).parse::<MeteringPoint>()?);
            }
            points.into_iter().map(|point| Ok((point.clone(), status::services(tx, &point)?))).collect()
        }
    }
}

/// The devices that served a metering point, if it is one of the shard's: all of a point's devices are of one shard.
fn of_shard(tx: &mut Tx<'_>, point: &MeteringPoint, shard: &Shard) -> Result<Vec<Service>, ContractError> {
    let services = status::services(tx, point)?;
    match services.first() {
        Some(first) if registry::load(tx, &first.thing)?.1.shard == *shard => Ok(services),
        _ => Ok(Vec::new()),
    }
}
