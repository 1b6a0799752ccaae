//! What the tests against a fake peer and against real Fabric share.

pub(crate) mod native;
pub(crate) mod sequences;
