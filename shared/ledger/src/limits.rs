//! How long to wait, and how often to try. Nothing waits for ever.

use std::time::Duration;

/// The bounds of a client. The defaults suit a Lambda that publishes at night.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// To reach a node: its name, TCP and TLS.
    pub connect: Duration,
    /// For one peer's simulation; Fabric itself gives a chaincode 30 s.
    pub simulate: Duration,
    /// For the first block of a delivery, and for an orderer's acknowledgement.
    pub answer: Duration,
    /// From the acknowledgement to the commit: several times the channel's BatchTimeout.
    pub commit: Duration,
    /// To see a transaction whose acknowledgement was lost before it is looked up.
    pub unacknowledged: Duration,
    /// How often the same signed transaction is handed in before its outcome is called unknown.
    pub broadcasts: u32,
    /// How often a call is simulated anew after a conflict or a disagreement, the first time included.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each further one and is spread at random by as much again.
    pub pause: Duration,
    /// How long a node that failed is asked only when nobody else is left: longer than one that hangs costs, which is `simulate`.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            simulate: Duration::from_secs(35),
            answer: Duration::from_secs(10),
            commit: Duration::from_secs(15),
            unacknowledged: Duration::from_secs(3),
            broadcasts: 3,
            attempts: 5,
            pause: Duration::from_millis(100),
            rest: Duration::from_secs(60),
        }
    }
}
