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
//! 4. The mark moves after them. A delivery that finds itself stored moves it still ([`decide::Verdict::Again`]).
//! 5. A suspension comes last of all ([`evidence`]), and holds from the newest message of its batch on: so the batch, delivered again,
//!    is decided as it was.
//!
//! What is decided is in [`decide`] and in [`vitro_cloud::admission`], both pure. This crate computes no summary and closes no day.
#![forbid(unsafe_code)]

pub mod archived;
pub mod config;
pub mod decide;
pub mod evidence;
mod ingest;
mod lookup;
mod plan;
mod refuse;
mod registry;
mod results;
pub mod store;
mod suspend;
#[cfg(test)]
mod tests;
pub mod times;

pub use ingest::Ingest;
