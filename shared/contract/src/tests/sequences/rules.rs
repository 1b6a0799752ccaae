//! Who may call what, written down once more and independently of the contract.

use super::Caller;
use crate::{OuRole, Role};

/// Whether a call of this function by this caller may ever succeed.
pub(super) fn may(function: &str, by: Caller) -> bool {
    let program = matches!(by.ou, OuRole::Client | OuRole::Admin);
    let admin = by.ou == OuRole::Admin;
    let Some(role) = by.party else { return function == "registry:roles" && program };
    match function {
        "registry:register_device"
        | "registry:register_successor"
        | "registry:certify"
        | "registry:suspend"
        | "registry:retire"
        | "registry:reinstate"
        | "registry:exchange"
        | "data:publish"
        | "data:alive"
        | "billing:close"
        | "billing:correct" => role == Role::Operator && program,
        "registry:approve_devices" => matches!(role, Role::Rc | Role::Dv) && admin,
        "registry:configure"
        | "agreement:propose"
        | "agreement:amend"
        | "agreement:terminate"
        | "agreement:approve" => admin,
        _ => program,
    }
}

#[test]
fn every_function_asks_who_calls() {
    use crate::call::{QUERIES, UPDATES};
    use crate::testing::{MemoryLedger, roles};
    use crate::{ContractError, Record};

    let ledger = MemoryLedger::configured(1_790_000_000).unwrap();
    let parties = Role::ALL.into_iter().map(Some).chain([None]);
    let callers: Vec<Caller> = parties
        .flat_map(|party| [OuRole::Client, OuRole::Admin, OuRole::Peer, OuRole::Orderer].map(|ou| Caller { party, ou }))
        .collect();
    for function in UPDATES.iter().chain(QUERIES) {
        for by in &callers {
            // Nothing is asked before it is known who asks; only a vote for roles says itself who plays which.
            let args = if *function == "registry:configure" { vec![roles().unwrap().encode()] } else { vec![] };
            let code = ledger.simulate(&super::world::who(*by), function, &args).err().map(|error| error.code());
            let refused = matches!(code, Some("forbidden" | "wrong_identity" | "not_a_party"));
            assert_eq!(refused, !may(function, *by), "{function} by {by:?}: {code:?}");
        }
        let unconfigured = MemoryLedger::new(1_790_000_000);
        let by = super::world::who(Caller { party: Some(Role::Operator), ou: OuRole::Admin });
        let code = unconfigured.simulate(&by, function, &[]).map(|_| "").map_err(|error: ContractError| error.code());
        match *function {
            "registry:roles" => assert_eq!(code, Ok("")),
            "registry:configure" => assert_eq!(code, Err("bad_arguments")),
            _ => assert_eq!(code, Err("not_configured"), "{function}"),
        }
    }
}
