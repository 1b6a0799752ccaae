//! An interim block: a device sealed it because somebody asked. It comes without an account, and nothing of ours but the archive keeps
//! it; what the ledger says of it is the record.

use vitro_client::Channel;
use vitro_cloud::archive::{Archive, block_key};
use vitro_cloud::days::DayStore;
use vitro_cloud::parked::{Park, Parked, ParkedState};
use vitro_cloud::{Clock, CloudError};
use vitro_contract::{Item, Verdict};
use vitro_proof::{Block, BlockMessage, BlockNumber, DeviceId, Envelope, LocalDay};

use crate::plan::Subject;
use crate::{Again, Publish, Run};

/// An interim block that is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interim {
    /// The device.
    pub thing: DeviceId,
    /// The block's number.
    pub number: BlockNumber,
    /// The day that it is a part of.
    pub day: LocalDay,
}

impl<L: Channel, D: DayStore, A: Archive, P: Park, C: Clock> Publish<L, D, A, P, C> {
    /// Reads an interim block. One that is published already is published again, which changes nothing.
    pub(crate) async fn load_interim(
        &self,
        thing: &DeviceId,
        number: BlockNumber,
    ) -> Result<Option<(Subject, Item)>, Again> {
        let key = block_key(thing, number);
        let (_, message) = self.stores.archive.get_newest(&key).await?;
        let block = read(&message).map_err(|fault| CloudError::damaged(format!("the archive's {key}"), fault))?;
        if block.is_daily() {
            return Err(CloudError::damaged(format!("the archive's {key}"), "it is no interim block").into());
        }
        let interim = Interim { thing: thing.clone(), number, day: block.day };
        Ok(Some((Subject::Interim(interim), Item::interim(message))))
    }

    /// Sets a block aside that the ledger refuses for good.
    pub(crate) async fn park_interim(
        &self,
        interim: &Interim,
        code: &str,
        detail: &str,
        run: &mut Run,
    ) -> Result<(), Again> {
        let Interim { thing, number, day } = interim;
        self.stores
            .parked
            .park(&Parked {
                reason: code.to_owned(),
                // The same at every attempt; it is open again if it is refused after an operator sent it again.
                id: format!("block-{:010}-{thing}", number.0),
                state: ParkedState::Open,
                device: Some(thing.clone()),
                object: Some((self.archive_bucket.clone(), block_key(thing, *number))),
                detail: format!("the ledger refuses the interim block {number} of {thing}, of {day}: {detail}"),
                received: self.clock.now(),
            })
            .await?;
        run.metrics.count_reason("DaysParked", code, 1);
        tracing::warn!(%thing, block = %number, %day, code, detail, "parked");
        Ok(())
    }
}

/// Notes that a block is on the ledger.
pub(crate) fn settle(interim: &Interim, verdict: &Verdict, tx: &str, run: &mut Run) {
    let Interim { thing, number, day } = interim;
    if verdict.code != "unchanged" {
        run.metrics.count("InterimPublished", 1);
    }
    tracing::info!(%thing, block = %number, %day, %tx, code = verdict.code, "published");
}

/// The signed block in an archived message, which was verified before it was archived.
fn read(message: &[u8]) -> Result<Block, String> {
    let message = BlockMessage::decode(message).map_err(|fault| fault.to_string())?;
    let envelope = Envelope::parse(&message.envelope).map_err(|fault| fault.to_string())?;
    Block::decode(envelope.payload()).map_err(|fault| fault.to_string())
}
