//! Where a secret comes from that a person was given: never the command line, which other users of the machine can read.

use std::io::{BufRead, IsTerminal};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::cli::Global;
use crate::error::CliError;
use crate::identity::{self, IdentityPlace};

/// A place that a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// `-`: the first line of standard input.
    Input,
    /// `env:NAME`: a variable.
    Variable(String),
    /// A file that its owner alone can read, or `secret:NAME`.
    Place(IdentityPlace),
}

impl FromStr for SecretSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("env:") {
            Some(name) => Ok(Self::Variable(name.into())),
            None if text == "-" => Ok(Self::Input),
            None => text.parse().map(Self::Place),
        }
    }
}

impl SecretSource {
    /// Reads the secret; a line break behind it is not part of it.
    ///
    /// # Errors
    /// [`CliError::Usage`] if there is none; [`CliError::File`], [`CliError::Aws`]; [`CliError::Refused`] if others can read the file.
    pub async fn read(&self, global: &Global) -> Result<Zeroizing<String>, CliError> {
        let text = match self {
            Self::Input => from_input()?,
            Self::Variable(name) => Zeroizing::new(std::env::var(name).unwrap_or_default()),
            Self::Place(place) => identity::read_text(place, global)
                .await?
                .ok_or_else(|| CliError::NotFound(format!("{place} holds no secret")))?,
        };
        let secret = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        if secret.is_empty() {
            return Err(CliError::Usage("the enrollment secret is empty".into()));
        }
        Ok(secret)
    }
}

fn from_input() -> Result<Zeroizing<String>, CliError> {
    let mut input = std::io::stdin().lock();
    if input.is_terminal() {
        return Err(CliError::Usage(
            "a terminal would show the secret: pipe it in, or name a FILE, env:NAME or secret:NAME".into(),
        ));
    }
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line).map_err(|e| CliError::file(std::path::Path::new("standard input"), e))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_what_its_place_holds() {
        let global = Global { customer: None, stage: "dev".into(), region: None };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        crate::files::write_secret(&path, "s3cret\r\n").unwrap();
        let source: SecretSource = path.display().to_string().parse().unwrap();
        assert_eq!(source.read(&global).await.unwrap().as_str(), "s3cret");
        crate::files::replace_secret(&path, "\n").unwrap();
        assert!(matches!(source.read(&global).await, Err(CliError::Usage(_))));
        let missing: SecretSource = "/nowhere/at/all".parse().unwrap();
        assert!(matches!(missing.read(&global).await, Err(CliError::NotFound(_))));
        assert_eq!("-".parse(), Ok(SecretSource::Input));
        let variable: SecretSource = "env:VITRO_NO_SUCH_VARIABLE".parse().unwrap();
        assert!(matches!(variable.read(&global).await, Err(CliError::Usage(_))));
    }
}
