//! What a party could put in the contract's place: it answers as the contract does and keeps other values. No package is made of it but by
//! `make test-fabric`, where one organization's peer runs it and the client has to say whose.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use vitro_chaincode::{VitroChaincode, run};
use vitro_contract::{Context, ContractError, Response, State, StateError, invoke};

/// The state, to which something is added that the contract did not write.
struct Otherwise<'a>(&'a mut dyn State);

impl State for Otherwise<'_> {
    fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        self.0.get(key)
    }

    fn put(&mut self, key: &str, mut value: Vec<u8>) -> Result<(), StateError> {
        value.push(0);
        self.0.put(key, value)
    }

    fn range(&mut self, start: &str, end: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        self.0.range(start, end)
    }
}

fn contrary(
    context: &Context,
    state: &mut dyn State,
    function: &str,
    args: &[Vec<u8>],
) -> Result<Response, ContractError> {
    invoke(context, &mut Otherwise(state), function, args)
}

fn main() -> ExitCode {
    run(VitroChaincode::of(contrary))
}
