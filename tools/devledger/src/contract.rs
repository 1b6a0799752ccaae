//! Vitro's contract as the chaincode of this ledger.

use vitro_contract::{Context, Creator, Event, OuRole, State, StateError, invoke};
use vitro_proof::Hash;

use crate::chaincode::{Answer, CallContext, Chaincode, Refusal, Simulation};
use crate::members::Role;

/// `shared/contract`, run in process.
#[derive(Clone, Copy, Debug, Default)]
pub struct VitroContract;

impl Chaincode for VitroContract {
    fn invoke(
        &self,
        context: &CallContext<'_>,
        state: &mut Simulation<'_>,
        function: &str,
        args: &[Vec<u8>],
    ) -> Result<Answer, Refusal> {
        let creator = Creator {
            msp: context.creator.msp.clone(),
            role: match context.creator.role {
                Role::Client => OuRole::Client,
                Role::Admin => OuRole::Admin,
                Role::Peer => OuRole::Peer,
                Role::Orderer => OuRole::Orderer,
            },
            certificate_hash: Hash(context.creator.certificate_hash),
        };
        let context = Context {
            tx_id: context.tx_id.to_owned(),
            timestamp: context.timestamp,
            channel: context.channel.to_owned(),
            creator,
        };
        match invoke(&context, &mut Committed(state), function, args) {
            Ok(response) => {
                let event = response.event.map(|Event { name, payload }| (name, payload));
                Ok(Answer { payload: response.payload, event })
            }
            Err(error) => Err(Refusal { status: 500, message: error.to_string() }),
        }
    }
}

/// The simulation as the contract's state. Keys are checked as a peer does, so that none works here that fails there.
struct Committed<'a, 'b>(&'a mut Simulation<'b>);

fn check(key: &str) -> Result<(), StateError> {
    if key.is_empty() || key.starts_with('\u{0}') || key.contains(char::MAX) {
        return Err(StateError(format!("{key:?} is not a plain key")));
    }
    Ok(())
}

impl State for Committed<'_, '_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        check(key)?;
        Ok(self.0.get(key))
    }

    fn put(&mut self, key: &str, value: Vec<u8>) -> Result<(), StateError> {
        check(key)?;
        if value.is_empty() {
            // A peer stores an empty value as a removal of the key.
            return Err(StateError(format!("{key:?} would get an empty value")));
        }
        self.0.put(key, value);
        Ok(())
    }

    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        Ok(self.0.range(start, end))
    }
}
