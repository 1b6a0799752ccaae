//! What a Fabric CA answers: an envelope with a result or errors, as cfssl's API has it.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::error::CliError;

/// `Authentication failure`: which of its causes, the CA keeps to itself.
const AUTHENTICATION: i64 = 20;
/// `Authorization failure`.
const AUTHORIZATION: i64 = 71;
/// The identity was locked after too many wrong secrets.
const LOCKED: i64 = 73;

/// What the CA says, as a fault of its own (code 0, status 500), where an attribute that must be in the certificate is not the identity's.
const ATTRIBUTES_MISSING: &str = "required attributes are missing";

/// What every answer has. With errors the result is an empty text, so it is read by itself.
#[derive(Deserialize)]
struct Verdict {
    #[serde(default)]
    success: bool,
    #[serde(default)]
    errors: Vec<Told>,
}

#[derive(Deserialize)]
struct WithResult<T> {
    result: T,
}

#[derive(Deserialize)]
struct Told {
    code: i64,
    #[serde(default)]
    message: String,
}

/// The result of `enroll` and `reenroll`.
#[derive(Deserialize)]
pub(super) struct Enrolled {
    /// Base64 of the certificate in PEM.
    #[serde(rename = "Cert")]
    pub(super) certificate: String,
    #[serde(rename = "ServerInfo")]
    pub(super) server: Server,
}

/// What the CA says of itself.
#[derive(Deserialize)]
pub(super) struct Server {
    /// Base64 of the CA's certificate and those above it, in PEM.
    #[serde(rename = "CAChain")]
    pub(super) chain: String,
}

/// The result of `register`.
#[derive(Deserialize)]
pub(super) struct Registered {
    secret: String,
}

impl Registered {
    /// The enrollment secret.
    pub(super) fn secret(self) -> Zeroizing<String> {
        Zeroizing::new(self.secret)
    }
}

/// Reads an answer. A result may be secret, so no error quotes it.
///
/// # Errors
/// [`CliError::Refused`] for what the CA refuses; [`CliError::Remote`] for a CA that is ill, or something that is no Fabric CA.
pub(super) fn read<T: DeserializeOwned>(
    call: &'static str,
    status: u16,
    body: Zeroizing<Vec<u8>>,
) -> Result<T, CliError> {
    let ill = status == 429 || status >= 500;
    let remote = |detail: String| CliError::Remote { call, detail, retryable: ill };
    let verdict: Verdict =
        serde_json::from_slice(&body).map_err(|_| remote(format!("no answer of a Fabric CA (status {status})")))?;
    if let Some(told) = verdict.errors.first() {
        let said = format!("the CA refuses to {call}: {} (code {}, status {status})", told.message.trim(), told.code);
        // No waiting gives the identity an attribute.
        let missing = told.message.contains(ATTRIBUTES_MISSING);
        let hint = match (told.code, call) {
            (AUTHENTICATION, "enroll") => {
                "; the id or its secret is wrong, or the secret was used as often as it may be"
            }
            _ if missing => "; leave them out, or ask for them as NAME:opt",
            (AUTHENTICATION, _) => "; the certificate has expired, was revoked, or is another CA's",
            (AUTHORIZATION, _) => "; the identity may not do this",
            (LOCKED, _) => "; its administrator must free it",
            _ => "",
        };
        return Err(if ill && !missing { remote(said) } else { CliError::Refused(said + hint) });
    }
    match serde_json::from_slice::<WithResult<T>>(&body) {
        Ok(found) if verdict.success && (200..300).contains(&status) => Ok(found.result),
        _ => Err(remote(format!("the CA gave no result (status {status})"))),
    }
}
