//! What the tests against a fake peer and against real Fabric share.

mod chains;
pub(crate) mod native;
pub(crate) mod sequences;
