//! What the ledger is told when it starts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// A development ledger: Fabric's Endorser, AtomicBroadcast and Deliver services for four organizations and an orderer in
/// one process.
///
/// It is a stand-in for a network, for development and tests. Keys, certificates, connection profiles and the chain are kept in the
/// data directory; DIR/ready.json is written once it serves.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Options {
    /// Where keys, certificates, connection profiles and the chain are kept
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// The address to listen on; anything but loopback lets others in
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// The orderer's port; the peers have the four after it. 0: free ports, kept over restarts where they are still free
    #[arg(long, default_value_t = 0)]
    pub base_port: u16,
    /// How long the orderer waits for more transactions before it cuts a block
    #[arg(long, default_value_t = 250)]
    pub batch_timeout_ms: u64,
    /// How many transactions a block has at most
    #[arg(long, default_value_t = 500)]
    pub max_message_count: usize,
    /// Speak only to clients that show a TLS certificate of one of the organizations, as Fabric does with clientAuthRequired; the connection
    /// profiles hold one then
    #[arg(long)]
    pub require_client_certificates: bool,
    /// The channel's name
    #[arg(long, default_value = "mychannel")]
    pub channel: String,
    /// The name under which the contract is deployed
    #[arg(long, default_value = "vitro")]
    pub chaincode: String,
    /// The ready file; by default DIR/ready.json
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Serve the calls of Amazon Managed Blockchain by which networks are found, over plain HTTP on this port. 0: a free port, kept over
    /// restarts where it is still free
    #[arg(long, value_name = "PORT")]
    pub managed_blockchain_port: Option<u16>,
    /// Print the connection profile of an organization (operator, rc, dv, sp) for Fabric's own clients, and end; the ledger has been
    /// started on DIR before
    #[arg(long, value_name = "ORGANIZATION")]
    pub print_connection_profile: Option<String>,
}

impl Options {
    /// The defaults for a data directory.
    #[must_use]
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            host: IpAddr::from([127, 0, 0, 1]),
            base_port: 0,
            batch_timeout_ms: 250,
            max_message_count: 500,
            require_client_certificates: false,
            channel: "mychannel".to_owned(),
            chaincode: "vitro".to_owned(),
            ready_file: None,
            managed_blockchain_port: None,
            print_connection_profile: None,
        }
    }

    /// The limits of a block.
    #[must_use]
    pub fn batch(&self) -> BatchLimits {
        BatchLimits {
            timeout: Duration::from_millis(self.batch_timeout_ms),
            max_messages: self.max_message_count.max(1),
            preferred_bytes: 2 << 20,
            absolute_bytes: 10 << 20,
        }
    }
}

/// When the orderer cuts a block: Fabric's BatchTimeout and BatchSize.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// After the first transaction of a block.
    pub timeout: Duration,
    /// MaxMessageCount.
    pub max_messages: usize,
    /// PreferredMaxBytes: a block grows beyond it only by a single larger transaction.
    pub preferred_bytes: usize,
    /// AbsoluteMaxBytes: a larger transaction is refused.
    pub absolute_bytes: usize,
}
