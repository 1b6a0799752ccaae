//! What summarize stands on.

use vitro_cloud::Clock;
use vitro_cloud::archive::Archive;
use vitro_cloud::chain::ChainStore;
use vitro_cloud::data_keys::DataKeySource;
use vitro_cloud::days::DayStore;
use vitro_cloud::queue::Outbox;
use vitro_cloud::sources::{DeviceSource, ReadingSource};

/// The stores and queues, behind traits.
pub struct Ports {
    /// The registry.
    pub devices: Box<dyn DeviceSource>,
    /// The time series.
    pub readings: Box<dyn ReadingSource>,
    /// The days.
    pub days: Box<dyn DayStore>,
    /// The chains of blocks.
    pub chains: Box<dyn ChainStore>,
    /// The archive.
    pub archive: Box<dyn Archive>,
    /// The data-proxy keys, retired ones too.
    pub data_keys: Box<dyn DataKeySource>,
    /// The queues.
    pub outbox: Box<dyn Outbox>,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// `VITRO_DEADLINE_HOURS`: hours after the end of a day at which it is closed without a block.
    pub deadline_hours: u32,
}
