//! Who may call what: by the role that the caller's MSP plays, and by what its certificate is for (NodeOUs).

use std::str::FromStr;

use vitro_proof::Hash;

use crate::call::{Context, OuRole};
use crate::error::ContractError;
use crate::ids::Role;
use crate::keys;
use crate::model::Roles;
use crate::tx::Tx;

/// Which certificates of an organization may call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Programs and people: client or admin.
    Anyone,
    /// Who binds the organization: admin alone, so that no program's key can agree to anything.
    Admin,
}

/// Checks the certificate's NodeOU role.
pub(crate) fn check_identity(ctx: &Context, identity: Identity) -> Result<(), ContractError> {
    match (ctx.creator.role, identity) {
        (OuRole::Admin, _) | (OuRole::Client, Identity::Anyone) => Ok(()),
        (_, Identity::Admin) => Err(ContractError::WrongIdentity("this needs an admin's certificate".into())),
        _ => Err(ContractError::WrongIdentity("this needs a client's or admin's certificate".into())),
    }
}

/// The caller's role, if it is one of `roles` and its certificate fits.
pub(crate) fn require(
    ctx: &Context,
    tx: &mut Tx<'_>,
    roles: &[Role],
    identity: Identity,
) -> Result<Role, ContractError> {
    let in_force: Roles = tx.load(keys::ROLES)?.ok_or(ContractError::NotConfigured)?;
    let role = in_force.role_of(&ctx.creator.msp).ok_or_else(|| ContractError::NotAParty(ctx.creator.msp.clone()))?;
    if !roles.contains(&role) {
        return Err(ContractError::Forbidden(format!("{role} may not call this")));
    }
    check_identity(ctx, identity)?;
    Ok(role)
}

/// Any party may read.
pub(crate) fn require_reader(ctx: &Context, tx: &mut Tx<'_>) -> Result<Role, ContractError> {
    require(ctx, tx, &Role::ALL, Identity::Anyone)
}

/// Takes exactly `N` arguments.
pub(crate) fn exactly<const N: usize>(args: &[Vec<u8>]) -> Result<&[Vec<u8>; N], ContractError> {
    args.try_into().map_err(|_| ContractError::BadArguments(format!("{N} arguments are expected, not {}", args.len())))
}

/// Reads an argument that is text.
pub(crate) fn text<T: FromStr>(what: &str, arg: &[u8]) -> Result<T, ContractError>
where
    T::Err: std::fmt::Display,
{
    let text = std::str::from_utf8(arg).map_err(|_| ContractError::BadArguments(format!("{what} is not UTF-8")))?;
    text.parse().map_err(|error| ContractError::BadArguments(format!("{what}: {error}")))
}

/// Reads a hash: 64 hexadecimal digits.
pub(crate) fn hash(what: &str, arg: &[u8]) -> Result<Hash, ContractError> {
    text(what, arg)
}
