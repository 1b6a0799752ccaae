//! The system chaincode that answers for the chain.

use prost::Message;

use crate::chain::Chain;
use crate::chaincode::{Answer, Refusal};
use crate::error::DevledgerError;

/// Its name.
pub(crate) const NAME: &str = "qscc";

/// Answers a query; the channel is the first argument. Words for what is absent are those of Fabric 2.5.
///
/// # Errors
/// [`Refusal`] of status 500, as Fabric's.
pub(crate) fn answer(chain: &Chain, function: &str, args: &[Vec<u8>]) -> Result<Answer, Refusal> {
    let refuse = |message: String| Err(Refusal { status: 500, message });
    let text = |index: usize| args.get(index).and_then(|bytes| std::str::from_utf8(bytes).ok());
    if text(0) != Some(chain.channel()) {
        return refuse(format!("Invalid chain ID, {}", text(0).unwrap_or_default()));
    }
    let fault = |error: DevledgerError| Refusal { status: 500, message: error.to_string() };
    let argument = text(1).unwrap_or_default();
    let found = match function {
        "GetChainInfo" => Some(chain.info().map_err(fault)?.encode_to_vec()),
        "GetBlockByNumber" => {
            let Ok(number) = argument.parse::<u64>() else {
                return refuse(format!("Failed to parse block number with error {argument:?}"));
            };
            // Fabric takes the largest number for the newest block.
            let number = if number == u64::MAX { chain.height().saturating_sub(1) } else { number };
            chain.block(number).map_err(fault)?.map(|block| block.encode_to_vec())
        }
        "GetBlockByTxID" => chain.block_of(argument).map_err(fault)?.map(|block| block.encode_to_vec()),
        "GetTransactionByID" => chain.transaction(argument).map_err(fault)?.map(|found| found.encode_to_vec()),
        _ => return refuse(format!("Requested function {function} not found.")),
    };
    match (found, function) {
        (Some(payload), _) => Ok(Answer { payload, event: None }),
        (None, "GetBlockByNumber") => {
            refuse(format!("Failed to get block number {argument}, error no such block number [{argument}] in index"))
        }
        (None, _) => refuse(format!(
            "Failed to get transaction with id {argument}, error no such transaction ID [{argument}] in index"
        )),
    }
}
