//! The reconcile function: takes the devices' blocks and replies in, and settles each day with them.
//!
//! Three queues feed it. From `blocks` come rule events of the topics `block` ([`intake`]) and `reply` ([`reply`]); from `reconcile`
//! come summaries of a day to be compared with its block ([`settle`]); from `asks` who wants to see a device's day now ([`asks`]). The rules of comparison are `vitro_proof::reconcile`; what a
//! message means in the state of its day is `vitro_cloud::days`. How the night works is told in `docs/night.md`.
#![forbid(unsafe_code)]

pub mod asks;
pub mod command_id;
mod evidence;
mod follow_up;
pub mod handler;
pub mod intake;
pub mod ports;
pub mod refusal;
pub mod reply;
pub mod settle;
pub mod verdict;
