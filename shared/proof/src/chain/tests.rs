//! Chains and lists made with `rcgen`, good and broken in every way; `tests/proof/chains.rs` has those of another origin.

mod chains;
mod lasting;
mod lists;
mod made;
mod random;
