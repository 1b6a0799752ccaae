//! Roles and devices.

use vitro_proof::chain::{Certificate, check_anchor};
use vitro_proof::{DeviceId, Hash};

use crate::acceptance;
use crate::access::{self, Identity, exactly, text};
use crate::call::{Context, Response};
use crate::error::ContractError;
use crate::ids::{Bytes, Role, Shard};
use crate::keys;
use crate::late;
use crate::model::{
    Approval, DeviceApproval, DeviceChain, DeviceEntry, DevicePage, DeviceRecord, DeviceView, MAX_CERTIFICATE, Roles,
    RolesStatus, RolesVote,
};
use crate::status;
use crate::tx::Tx;
use crate::wire::Record;

/// Devices on a page of `registry:devices`.
const PAGE: usize = 100;

/// The roles come into force when all four MSPs that they name submitted the same bytes; then they stay.
pub(crate) fn configure(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let [bytes] = exactly(args)?;
    let proposal = Roles::decode(bytes)?;
    proposal.check()?;
    let caller = proposal.role_of(&ctx.creator.msp).ok_or_else(|| ContractError::NotAParty(ctx.creator.msp.clone()))?;
    access::check_identity(ctx, Identity::Admin)?;
    if let Some(in_force) = tx.load::<Roles>(keys::ROLES)? {
        return if in_force == proposal {
            roles_status(tx, Some(in_force), None)
        } else {
            Err(ContractError::AlreadyConfigured)
        };
    }
    let vote_key = keys::roles_vote(proposal.msp(caller));
    let before = tx.load::<RolesVote>(&vote_key)?;
    if before.is_none_or(|vote| vote.proposal.0 != *bytes) {
        tx.store(&vote_key, &RolesVote { proposal: Bytes(bytes.clone()), tx: ctx.tx_id.clone(), time: ctx.timestamp });
    }
    let mut all = true;
    for role in Role::ALL {
        let vote = tx.load::<RolesVote>(&keys::roles_vote(proposal.msp(role)))?;
        all &= vote.is_some_and(|vote| vote.proposal.0 == *bytes);
    }
    if !all {
        return roles_status(tx, None, Some(&proposal));
    }
    tx.store(keys::ROLES, &proposal);
    let payload = proposal.encode();
    Ok(roles_status(tx, Some(proposal), None)?.with_event("configured", payload))
}

/// Anybody on the channel may ask who plays which role.
pub(crate) fn roles(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let [] = exactly(args)?;
    access::check_identity(ctx, Identity::Anyone)?;
    let in_force = tx.load::<Roles>(keys::ROLES)?;
    let own = match ctx.creator.msp.parse() {
        Ok(msp) => tx.load::<RolesVote>(&keys::roles_vote(&msp))?,
        Err(_) => None,
    };
    let wanted = own.map(|vote| Roles::decode(&vote.proposal.0)).transpose()?;
    roles_status(tx, in_force, wanted.as_ref())
}

fn roles_status(tx: &mut Tx<'_>, in_force: Option<Roles>, wanted: Option<&Roles>) -> Result<Response, ContractError> {
    let mut agreed = Vec::new();
    if let Some(proposal) = in_force.as_ref().or(wanted) {
        let bytes = proposal.encode();
        for role in Role::ALL {
            let vote = tx.load::<RolesVote>(&keys::roles_vote(proposal.msp(role)))?;
            if vote.is_some_and(|vote| vote.proposal.0 == bytes) {
                agreed.push(proposal.msp(role).clone());
            }
        }
    }
    Ok(Response::of(&RolesStatus { in_force, agreed }))
}

/// Registers devices, or adds a sensor table or a renewed certificate to one. All of the entries are taken, or none.
pub(crate) fn register_device(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    register_all(ctx, tx, args, Place::Free)
}

/// Registers devices at metering points that others serve. They serve nothing until they are exchanged for those.
pub(crate) fn register_successor(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    register_all(ctx, tx, args, Place::Served)
}

/// What a new device expects of its metering point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody serves it: the device does from now on.
    Free,
    /// Another device serves it.
    Served,
}

fn register_all(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>], place: Place) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    if args.is_empty() {
        return Err(ContractError::BadArguments("at least one entry is expected".into()));
    }
    let mut devices = Vec::new();
    for bytes in args {
        let entry = DeviceEntry::decode(bytes)?;
        entry.check()?;
        register(ctx, tx, &entry, bytes, place)?;
        devices.push(view(tx, &entry.thing)?);
    }
    Ok(Response::of(&DevicePage { devices, next: None }))
}

fn register(
    ctx: &Context,
    tx: &mut Tx<'_>,
    entry: &DeviceEntry,
    bytes: &[u8],
    place: Place,
) -> Result<(), ContractError> {
    let key = keys::device(&entry.thing);
    let revision = match tx.load::<DeviceRecord>(&key)? {
        Some(there) if there.entry.0 == *bytes => return Ok(()),
        Some(there) => {
            there.open()?.check_continued_by(entry)?;
            there.revision + 1
        }
        None => {
            let point = &entry.metering_point;
            match (status::current(tx, point)?, place) {
                (Some(other), Place::Free) => {
                    return Err(ContractError::MeteringPointTaken(format!("{point} by {other}")));
                }
                (None, Place::Served) => return Err(ContractError::MeteringPointFree(point.to_string())),
                (None, Place::Free) => tx.put(&keys::point(point), entry.thing.as_str().as_bytes().to_vec()),
                (Some(_), Place::Served) => {}
            }
            let shard = keys::shard_device(&entry.shard, &entry.thing);
            tx.put(&shard, entry.metering_point.as_str().as_bytes().to_vec());
            0
        }
    };
    let record = DeviceRecord { entry: Bytes(bytes.to_vec()), revision, tx: ctx.tx_id.clone(), time: ctx.timestamp };
    tx.store(&key, &record);
    tx.store(&keys::device_revision(&entry.thing, revision), &record);
    Ok(())
}

/// Certificates of a chain: the device's, at most six authorities between, and one above them.
const MAX_CHAIN: usize = 8;

/// Chains that a device can have: all of them are read whenever it is billed. A renewal every quarter fills sixteen years.
const MAX_CHAINS: usize = 64;

/// Registers a device's certificate chain. What can be seen of it alone is checked: whether it leads to an authority that counts is
/// verified when a day is to count by it. The same again changes nothing.
pub(crate) fn certify(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require(ctx, tx, &[Role::Operator], Identity::Anyone)?;
    let [thing, certificates] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    let certificates = Vec::<Bytes>::decode(certificates)?;
    let (_, entry) = load(tx, &thing)?;
    let good_from = check_chain(&entry, &certificates)?;
    let mut chains = acceptance::registered(tx, &thing)?;
    if chains.iter().all(|chain| chain.certificates != certificates) {
        if chains.len() >= MAX_CHAINS {
            return Err(ContractError::BadDevice(format!(
                "{thing}: it has {MAX_CHAINS} chains, which is all it can have"
            )));
        }
        let chain = DeviceChain { certificates, tx: ctx.tx_id.clone(), time: ctx.timestamp };
        tx.store(&keys::device_chain(&thing, chains.len() as u64), &chain);
        // Who counts by approvals counts by them still; else the days change at whose end the certificate is good.
        if !counts(tx, &thing, entry.hash())? {
            late::device_since(tx, &thing, good_from, &ctx.tx_id)?;
        }
        chains.push(chain);
    }
    Ok(Response::of(&chains))
}

/// Since when the device's certificate is good, in Unix seconds.
fn check_chain(entry: &DeviceEntry, certificates: &[Bytes]) -> Result<i64, ContractError> {
    let bad = |why: String| Err(ContractError::BadDevice(format!("{}: {why}", entry.thing)));
    let Some((leaf, issuers)) = certificates.split_first() else { return bad("a chain has a certificate".into()) };
    if certificates.len() > MAX_CHAIN || certificates.iter().any(|der| der.0.len() > MAX_CERTIFICATE) {
        return bad(format!("a chain has at most {MAX_CHAIN} certificates of at most {MAX_CERTIFICATE} bytes"));
    }
    let leaf = match Certificate::read(&leaf.0) {
        Ok(leaf) => leaf,
        Err(fault) => return bad(format!("its certificate: {fault}")),
    };
    if leaf.public_key() != Some(entry.public_key) {
        return bad("the certificate is of another key".into());
    }
    if leaf.common_name() != Some(entry.thing.as_str()) {
        return bad("the certificate is of another name".into());
    }
    for issuer in issuers {
        if let Err(fault) = check_anchor(&issuer.0) {
            return bad(format!("an authority of its chain: {fault}"));
        }
    }
    Ok(leaf.not_before().seconds())
}

/// A device's certificate chains, oldest first.
pub(crate) fn chains(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing] = exactly(args)?;
    let thing = text::<DeviceId>("a device", thing)?;
    load(tx, &thing)?;
    Ok(Response::of(&acceptance::registered(tx, &thing)?))
}

/// RC's or DV's approval of entries, each by its hash. All of the list is approved, or nothing.
pub(crate) fn approve_devices(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    let role = access::require(ctx, tx, &[Role::Rc, Role::Dv], Identity::Admin)?;
    let [list] = exactly(args)?;
    let list = Vec::<DeviceApproval>::decode(list)?;
    let mut devices = Vec::new();
    for DeviceApproval { thing, entry } in &list {
        let found = load(tx, thing)?.1.hash();
        if found != *entry {
            return Err(ContractError::EntryMismatch(format!("{thing}: its entry has the hash {found}")));
        }
        let key = keys::device_approval(thing, *entry, role);
        if tx.load::<Approval>(&key)?.is_none() {
            tx.store(&key, &approval(ctx, role));
            if counts(tx, thing, *entry)? {
                late::device(tx, thing, &ctx.tx_id)?;
            }
        }
        devices.push(view(tx, thing)?);
    }
    Ok(Response::of(&DevicePage { devices, next: None }))
}

/// The caller's approval, as it is stored.
pub(crate) fn approval(ctx: &Context, role: Role) -> Approval {
    Approval {
        role,
        msp: ctx.creator.msp.clone(),
        certificate: ctx.creator.certificate_hash,
        tx: ctx.tx_id.clone(),
        time: ctx.timestamp,
    }
}

/// One device.
pub(crate) fn device(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [thing] = exactly(args)?;
    Ok(Response::of(&view(tx, &text("a device", thing)?)?))
}

/// Devices in the order of their names: of a shard (all where it is empty), from a name on.
pub(crate) fn devices(ctx: &Context, tx: &mut Tx<'_>, args: &[Vec<u8>]) -> Result<Response, ContractError> {
    access::require_reader(ctx, tx)?;
    let [shard, from] = exactly(args)?;
    let prefix = match shard.as_slice() {
        [] => keys::DEVICES.to_owned(),
        shard => keys::shard_devices(&text::<Shard>("a shard", shard)?),
    };
    let start = match from.as_slice() {
        [] => prefix.clone(),
        from => format!("{prefix}{}", text::<DeviceId>("a device", from)?),
    };
    let end = keys::end_of(&prefix);
    let mut things = Vec::new();
    for (key, _) in tx.range(&start, &end)?.into_iter().take(PAGE + 1) {
        things.push(key[prefix.len()..].parse::<DeviceId>()?);
    }
    let next = if things.len() > PAGE { things.pop() } else { None };
    let devices = things.iter().map(|thing| view(tx, thing)).collect::<Result<_, _>>()?;
    Ok(Response::of(&DevicePage { devices, next }))
}

/// A device's record and entry.
pub(crate) fn load(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<(DeviceRecord, DeviceEntry), ContractError> {
    let record: DeviceRecord = find(tx, thing)?.ok_or_else(|| ContractError::UnknownDevice(thing.to_string()))?;
    let entry = record.open()?;
    Ok((record, entry))
}

/// One of a device's entries: every revision up to the one in force is there.
pub(crate) fn revision(tx: &mut Tx<'_>, thing: &DeviceId, revision: u64) -> Result<DeviceEntry, ContractError> {
    let key = keys::device_revision(thing, revision);
    tx.load::<DeviceRecord>(&key)?.ok_or_else(|| ContractError::Damaged(key.clone()))?.open()
}

/// A device's record, if it is registered.
pub(crate) fn find(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<Option<DeviceRecord>, ContractError> {
    tx.load(&keys::device(thing))
}

/// RC's and DV's approvals of an entry.
pub(crate) fn approvals(tx: &mut Tx<'_>, thing: &DeviceId, entry: Hash) -> Result<Vec<Approval>, ContractError> {
    let mut found = Vec::new();
    for role in [Role::Rc, Role::Dv] {
        found.extend(tx.load::<Approval>(&keys::device_approval(thing, entry, role))?);
    }
    Ok(found)
}

/// Whether RC and DV approved the entry in force: then it counts for every agreement, and [`acceptance`] asks for no chain. The operator
/// alone cannot make it so.
pub(crate) fn counts(tx: &mut Tx<'_>, thing: &DeviceId, entry: Hash) -> Result<bool, ContractError> {
    Ok(approvals(tx, thing, entry)?.len() == 2)
}

fn view(tx: &mut Tx<'_>, thing: &DeviceId) -> Result<DeviceView, ContractError> {
    let (record, entry) = load(tx, thing)?;
    let hash = entry.hash();
    let approvals = approvals(tx, thing, hash)?;
    let counts = counts(tx, thing, hash)?;
    let (status, serves) = (status::of(tx, thing)?, status::serves(tx, thing, &entry.metering_point)?);
    let DeviceRecord { revision, tx, time, .. } = record;
    Ok(DeviceView { entry, hash, revision, tx, time, approvals, counts, status, serves })
}
