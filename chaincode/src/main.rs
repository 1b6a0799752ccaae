//! The program that a peer, an external builder or a service's supervisor starts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use vitro_chaincode::{VitroChaincode, run};

fn main() -> ExitCode {
    run(VitroChaincode::default())
}
