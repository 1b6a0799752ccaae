//! Delivery: blocks, or their verdicts, from a seeked position on, as they come.

use std::sync::Arc;

use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use vitro_ledger::block::codes;
use vitro_ledger::proto::common::{Block, ChannelHeader, Envelope, HeaderType, Payload, Status};
use vitro_ledger::proto::events::{
    self, FilteredBlock, FilteredChaincodeAction, FilteredTransaction, FilteredTransactionActions,
    filtered_transaction::Data,
};
use vitro_ledger::proto::orderer::{self, FAIL_IF_NOT_READY, SeekInfo, SeekPosition, seek_position};
use vitro_ledger::proto::peer::{ChaincodeAction, ChaincodeEvent, ProposalResponsePayload};
use vitro_ledger::proto::transaction::{ChaincodeActionPayload, Transaction};

use crate::chain::Chain;
use crate::orderer::{author_of, stopped};

/// A stream of answers.
pub(crate) type Answers<A> = ReceiverStream<Result<A, tonic::Status>>;

/// How many blocks may wait for a slow reader.
const AHEAD: usize = 16;

/// How a delivery says what it sends.
pub(crate) struct Form<A> {
    /// A block.
    pub block: fn(Block) -> A,
    /// The end of a seek.
    pub status: fn(Status) -> A,
}

/// Whole blocks, from the orderer.
pub(crate) static ORDERED: Form<orderer::DeliverResponse> = Form {
    block: |block| orderer::DeliverResponse { r#type: Some(orderer::deliver_response::Type::Block(block)) },
    status: |status| orderer::DeliverResponse { r#type: Some(orderer::deliver_response::Type::Status(status as i32)) },
};

/// Whole blocks with their verdicts, from a peer.
pub(crate) static WHOLE: Form<events::DeliverResponse> = Form {
    block: |block| events::DeliverResponse { r#type: Some(events::deliver_response::Type::Block(block)) },
    status: |status| events::DeliverResponse { r#type: Some(events::deliver_response::Type::Status(status as i32)) },
};

/// Verdicts alone, from a peer.
pub(crate) static FILTERED: Form<events::DeliverResponse> = Form {
    block: |block| events::DeliverResponse {
        r#type: Some(events::deliver_response::Type::FilteredBlock(filter(&block))),
    },
    status: |status| events::DeliverResponse { r#type: Some(events::deliver_response::Type::Status(status as i32)) },
};

/// Answers seeks one after another until the caller goes or the ledger stops. `shown` is the hash of the TLS certificate that the caller
/// showed, where the ledger asks for one: a seek is for the connection of its author alone.
pub(crate) fn deliver<A: Send + 'static>(
    form: &'static Form<A>,
    chain: Arc<Chain>,
    mut seeks: Streaming<Envelope>,
    shown: Option<[u8; 32]>,
    mut stop: watch::Receiver<bool>,
) -> Answers<A> {
    let (answers, stream) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let serve = async {
            while let Some(Ok(envelope)) = seeks.next().await {
                let status = match seek(&chain, &envelope, shown) {
                    Ok(wanted) => send(form, &chain, wanted, &answers).await,
                    Err(status) => Some(status),
                };
                let Some(status) = status else { return };
                if answers.send(Ok((form.status)(status))).await.is_err() || status != Status::Success {
                    return;
                }
            }
        };
        tokio::select! {
            () = serve => {}
            // Ends the wait for a block when nobody waits for it any more.
            () = answers.closed() => {}
            () = stopped(&mut stop) => {
                let _ = answers.try_send(Ok((form.status)(Status::ServiceUnavailable)));
            }
        }
    });
    ReceiverStream::new(stream)
}

/// The blocks a seek asks for.
struct Wanted {
    first: u64,
    last: u64,
    waits: bool,
}

fn seek(chain: &Chain, envelope: &Envelope, shown: Option<[u8; 32]>) -> Result<Wanted, Status> {
    let bad = |_| Status::BadRequest;
    let payload = Payload::decode(&envelope.payload[..]).map_err(bad)?;
    let header = payload.header.ok_or(Status::BadRequest)?;
    let channel = ChannelHeader::decode(&header.channel_header[..]).map_err(bad)?;
    if channel.channel_id != chain.channel() {
        return Err(Status::NotFound);
    }
    if shown.is_some_and(|hash| channel.tls_cert_hash[..] != hash) {
        tracing::info!("a delivery is refused: the seek is not bound to the connection's TLS certificate");
        return Err(Status::BadRequest);
    }
    author_of(chain, envelope).map_err(|why| {
        tracing::info!(why, "a delivery is refused");
        Status::Forbidden
    })?;
    let info = SeekInfo::decode(&payload.data[..]).map_err(bad)?;
    let height = chain.height();
    let number = |position: Option<SeekPosition>| {
        use seek_position::Type;
        Ok(match position.and_then(|position| position.r#type).ok_or(Status::BadRequest)? {
            Type::Newest(_) => height.saturating_sub(1),
            Type::Oldest(_) => 0,
            Type::Specified(specified) => specified.number,
            Type::NextCommit(_) => height,
        })
    };
    let wanted =
        Wanted { first: number(info.start)?, last: number(info.stop)?, waits: info.behavior != FAIL_IF_NOT_READY };
    if wanted.last < wanted.first { Err(Status::BadRequest) } else { Ok(wanted) }
}

/// Sends the blocks; `None` if the caller is gone.
async fn send<A>(
    form: &Form<A>,
    chain: &Arc<Chain>,
    wanted: Wanted,
    answers: &mpsc::Sender<Result<A, tonic::Status>>,
) -> Option<Status> {
    let mut heights = chain.heights();
    for number in wanted.first..=wanted.last {
        if !wanted.waits && chain.height() <= number {
            return Some(Status::NotFound);
        }
        heights.wait_for(|height| *height > number).await.ok()?;
        let chain = Arc::clone(chain);
        let block = tokio::task::spawn_blocking(move || chain.block(number)).await;
        let Ok(Ok(Some(block))) = block else { return Some(Status::InternalServerError) };
        answers.send(Ok((form.block)(block))).await.ok()?;
    }
    Some(Status::Success)
}

/// A block's verdicts and events; an event's payload is left out, as Fabric does.
fn filter(block: &Block) -> FilteredBlock {
    let data = block.data.as_ref().map(|data| &data.data[..]).unwrap_or_default();
    let codes = codes(block);
    let mut channel_id = String::new();
    let transactions = data.iter().enumerate().map(|(index, bytes)| {
        let mut filtered = FilteredTransaction {
            tx_validation_code: codes.get(index).copied().unwrap_or_default() as i32,
            ..FilteredTransaction::default()
        };
        // A transaction that cannot be read has its verdict all the same.
        if let Ok((channel, data)) = read(bytes) {
            channel_id.clone_from(&channel.channel_id);
            filtered.txid = channel.tx_id;
            filtered.r#type = channel.r#type;
            if channel.r#type == HeaderType::EndorserTransaction as i32 {
                let chaincode_actions = events_of(&data).unwrap_or_default();
                let actions = FilteredTransactionActions { chaincode_actions };
                filtered.data = Some(Data::TransactionActions(actions));
            }
        }
        filtered
    });
    let filtered_transactions = transactions.collect();
    let number = block.header.as_ref().map(|header| header.number).unwrap_or_default();
    FilteredBlock { channel_id, number, filtered_transactions }
}

fn read(envelope: &[u8]) -> Result<(ChannelHeader, Vec<u8>), prost::DecodeError> {
    let payload = Payload::decode(&Envelope::decode(envelope)?.payload[..])?;
    let header = payload.header.unwrap_or_default();
    Ok((ChannelHeader::decode(&header.channel_header[..])?, payload.data))
}

fn events_of(data: &[u8]) -> Result<Vec<FilteredChaincodeAction>, prost::DecodeError> {
    let mut found = Vec::new();
    for action in Transaction::decode(data)?.actions {
        let action = ChaincodeActionPayload::decode(&action.payload[..])?;
        let result = action.action.unwrap_or_default().proposal_response_payload;
        let result = ProposalResponsePayload::decode(&result[..])?;
        let result = ChaincodeAction::decode(&result.extension[..])?;
        if !result.events.is_empty() {
            let event = ChaincodeEvent::decode(&result.events[..])?;
            let event = ChaincodeEvent { payload: Vec::new(), ..event };
            found.push(FilteredChaincodeAction { chaincode_event: Some(event) });
        }
    }
    Ok(found)
}
