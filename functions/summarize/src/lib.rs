//! The summarize function: computes the cloud's own account of a day, when its block is there or at the deadline.
//!
//! [`choose`], [`due`] and [`span`] decide, without I/O; [`summarize`] and [`deadline`] carry it out. The arithmetic of a day is
//! `vitro_proof::summary`. Nothing is compared here: that is reconcile's.
#![forbid(unsafe_code)]

pub mod choose;
pub mod deadline;
pub mod due;
pub mod handler;
pub mod ports;
pub mod span;
pub mod summarize;
