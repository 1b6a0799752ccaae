//! The contract behind the shim.

use std::sync::Arc;

use fabric_shim::{Chaincode, ChaincodeStub, Response, async_trait};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use vitro_contract::{Context, ContractError, State, StateError, invoke};

use crate::caller::creator;
use crate::state::StubState;

/// Calls that run at once; each has a thread while it runs. Others wait for their turn, within the time that their peer gives them.
pub const MAX_CONCURRENT_CALLS: usize = 64;

/// A contract: [`vitro_contract::invoke`], or a test's.
pub type Contract = fn(&Context, &mut dyn State, &str, &[Vec<u8>]) -> Result<vitro_contract::Response, ContractError>;

/// `vitro-contract` as a chaincode.
///
/// A refusal is status 500 with the contract's text, which begins with its code; a peer endorses no such answer, so nothing of it commits. A
/// panic ends one call. An event is set only by a call that succeeded.
#[derive(Debug)]
pub struct VitroChaincode {
    contract: Contract,
    slots: Arc<Semaphore>,
}

impl Default for VitroChaincode {
    fn default() -> Self {
        Self::of(invoke)
    }
}

impl VitroChaincode {
    /// Another contract, run in the same way.
    #[must_use]
    pub fn of(contract: Contract) -> Self {
        Self { contract, slots: Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS)) }
    }
}

#[async_trait]
impl Chaincode for VitroChaincode {
    async fn invoke(&self, stub: ChaincodeStub) -> Response {
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return Response::error("stopping: the chaincode is going away");
        };
        let (contract, runtime) = (self.contract, Handle::current());
        let run = spawn_blocking(move || {
            let _slot = slot;
            call(contract, &stub, &runtime)
        });
        match run.await {
            Ok(Ok(payload)) => Response::success(payload),
            Ok(Err(refusal)) => Response::error(refusal.to_string()),
            Err(_) => Response::error("panic: the contract broke off"),
        }
    }
}

fn call(contract: Contract, stub: &ChaincodeStub, runtime: &Handle) -> Result<Vec<u8>, ContractError> {
    let missing = |what: &str| ContractError::State(StateError(format!("the peer gave no {what}")));
    let timestamp = stub.get_tx_timestamp().map_err(|_| missing("timestamp"))?;
    let context = Context {
        tx_id: stub.get_tx_id().to_owned(),
        timestamp: timestamp.seconds,
        channel: stub.get_channel_id().to_owned(),
        creator: creator(stub.get_creator())?,
    };
    let (function, args) = match stub.get_args() {
        [function, args @ ..] => (String::from_utf8_lossy(function), args),
        [] => return Err(ContractError::UnknownFunction(String::new())),
    };
    let response = contract(&context, &mut StubState::new(stub, runtime), &function, args)?;
    if let Some(event) = response.event {
        stub.set_event(&event.name, event.payload)
            .map_err(|error| ContractError::State(StateError(error.to_string())))?;
    }
    Ok(response.payload)
}
