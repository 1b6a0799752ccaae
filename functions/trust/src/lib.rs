//! Takes each authority's revocation list, believes it only if it is the authority's own, current and newer than the last, and carries
//! it out: whose certificate is on it is suspended.
//!
//! A list that is expired, unreadable, older or badly signed raises an alarm and changes nothing: the last good one stays in force.
//! What is carried out is asked anew at every look (at the latest after an hour), so a kill at any point only delays, and what was
//! registered while a list was being carried out is found by the next look.
#![forbid(unsafe_code)]
// The SDK nests futures deeper than the compiler follows by default.
#![recursion_limit = "256"]

mod apply;
pub mod aws;
mod fault;
pub mod fetch;
mod look;
pub mod ports;
mod refresh;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use look::{Look, Looked, Report, Taken};
