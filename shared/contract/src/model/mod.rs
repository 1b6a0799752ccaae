//! What is stored, passed and answered.

mod registry;

pub use registry::{Approval, DeviceApproval, DeviceEntry, DevicePage, DeviceView, Roles, RolesStatus};
pub(crate) use registry::{DeviceRecord, RolesVote};
