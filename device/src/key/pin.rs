//! A token's PIN: where it is, never what it is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::check_private;
use crate::error::DeviceError;

/// Where a token's PIN is. It is read for each login and wiped after it, so it is neither kept nor shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum PinSource {
    /// A file of mode 0600 that holds it, and perhaps the end of a line.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl PinSource {
    pub(super) fn within(&self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Env(name) => Self::Env(name.clone()),
        }
    }

    /// The PIN.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, DeviceError> {
        let pin = match self {
            Self::File(path) => {
                check_private(path)?;
                let text = std::fs::read_to_string(path);
                Zeroizing::new(text.map_err(|source| DeviceError::File { path: path.clone(), source })?)
            }
            // What the variable holds is dropped with the error.
            Self::Env(name) => Zeroizing::new(
                std::env::var(name)
                    .map_err(|_| DeviceError::Config(format!("the environment variable {name} holds no PIN")))?,
            ),
        };
        let trimmed = pin.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() {
            return Err(DeviceError::Config(format!("{self}: the PIN is empty")));
        }
        Ok(Zeroizing::new(trimmed.to_owned()))
    }
}

impl std::fmt::Display for PinSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "${name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_lies_in_a_private_file_and_is_shown_by_nobody() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("pin");
        std::fs::write(&path, "271828\n").unwrap();
        let source = PinSource::File("pin".into()).within(folder.path());
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(matches!(source.read(), Err(DeviceError::Key { .. })));
        mode(0o600);
        assert_eq!(source.read().unwrap().as_str(), "271828");
        assert!(!format!("{source:?} {source}").contains("271828"));
        std::fs::write(&path, "\n").unwrap();
        assert!(source.read().unwrap_err().to_string().contains("empty"));
        assert!(PinSource::Env("VITRO_NO_SUCH_VARIABLE".into()).read().is_err());
    }
}
