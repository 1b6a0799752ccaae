//! Takes telemetry in: checks every message and stores it, or says why not.
//!
//! A message is stored, known already, refused into quarantine, or comes again through the queue; nothing is dropped. Every write
//! names what it writes by the message itself, so a batch may be delivered again after a kill at any point:
//!
//! 1. A day's range of numbers is widened *before* the reading is stored: a range that is too wide costs a filter, one that is too
//!    narrow loses a reading to a day without a block.
//! 2. Readings are written under number and leaf.
//! 3. Refusals go to S3 and then to a parked row, both under the delivery's own name ([`vitro_cloud::rule_event::RuleEvent::id`]);
//!    evidence of an equivocation follows its row, and the envelope that it contradicts is stored before both.
//! 4. The mark moves last. A delivery that finds itself stored moves it still ([`decide::Verdict::Again`]).
//!
//! What is decided is in [`decide`] and in [`vitro_cloud::admission`], both pure. This crate computes no summary and closes no day.
#![forbid(unsafe_code)]

pub mod config;
pub mod decide;
mod ingest;
mod lookup;
mod plan;
mod registry;
mod results;
pub mod store;
#[cfg(test)]
mod tests;

pub use ingest::Ingest;
