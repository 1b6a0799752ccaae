//! Where certificates in PEM come from: a file, a URL, S3 or Secrets Manager.

use std::path::PathBuf;
use std::str::FromStr;

use crate::cli::Global;
use crate::error::CliError;
use crate::transport::{Request, Roots, Transport};
use crate::{files, pki, session};

/// A place that certificates are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PemSource {
    /// A file.
    File(PathBuf),
    /// `https://…`.
    Url(String),
    /// `s3://bucket/key`.
    Object {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// `secret:NAME`: a secret of Secrets Manager, by its name or ARN.
    Secret(String),
}

impl FromStr for PemSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(place) = text.strip_prefix("s3://") {
            return match place.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                    Ok(Self::Object { bucket: bucket.into(), key: key.into() })
                }
                _ => Err("s3://BUCKET/KEY is needed".into()),
            };
        }
        Ok(match text.strip_prefix("secret:") {
            Some(name) => Self::Secret(name.into()),
            None if text.contains("://") => Self::Url(text.into()),
            None => Self::File(text.into()),
        })
    }
}

impl PemSource {
    /// Where AWS publishes the authorities of Managed Blockchain in a region.
    #[must_use]
    pub fn managed_blockchain(region: &str) -> Self {
        Self::Url(format!(
            "https://s3.{region}.amazonaws.com/{region}.managedblockchain/etc/managedblockchain-tls-chain.pem"
        ))
    }

    /// Reads it, and checks that it holds certificates.
    ///
    /// # Errors
    /// [`CliError::File`], [`CliError::Remote`], [`CliError::Aws`]; [`CliError::Malformed`] if it holds none.
    pub async fn read(&self, global: &Global) -> Result<String, CliError> {
        let text = match self {
            Self::File(path) => files::read(path)?,
            Self::Url(url) => download(url).await?,
            Self::Object { bucket, key } => {
                let client = vitro_cloud::aws::s3(&session::aws(global).await?);
                let answer = client.get_object().bucket(bucket).key(key).send().await;
                let answer = answer.map_err(|e| CliError::aws("GetObject", &e))?;
                let bytes = answer.body.collect().await.map_err(|e| CliError::malformed(self.name(), e))?;
                String::from_utf8(bytes.to_vec()).map_err(|e| CliError::malformed(self.name(), e))?
            }
            Self::Secret(name) => {
                let client = aws_sdk_secretsmanager::Client::new(&session::aws(global).await?);
                let answer = client.get_secret_value().secret_id(name).send().await;
                let answer = answer.map_err(|e| CliError::aws("GetSecretValue", &e))?;
                answer.secret_string.unwrap_or_default()
            }
        };
        // Only the certificates: a file may hold remarks, a secret by mistake a key.
        let certificates = pki::split(&text);
        if certificates.is_empty() || certificates.iter().any(|certificate| pki::der(certificate).is_err()) {
            return Err(CliError::malformed(self.name(), "no certificate in PEM, or one that cannot be read"));
        }
        Ok(certificates.concat())
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.clone(),
            Self::Object { bucket, key } => format!("s3://{bucket}/{key}"),
            Self::Secret(name) => format!("the secret {name}"),
        }
    }
}

async fn download(url: &str) -> Result<String, CliError> {
    let path_at = url.find("://").and_then(|at| url[at + 3..].find('/').map(|slash| at + 3 + slash));
    let (base, path) = url.split_at(path_at.unwrap_or(url.len()));
    let call = "download the certificates";
    let request = Request { call, method: "GET", path, headers: &[], body: None };
    let (status, body) = Transport::new(base, Roots::System)?.send(request).await?;
    if status != 200 {
        let detail = format!("{url}: status {status}");
        return Err(CliError::Remote { call, detail, retryable: status == 429 || status >= 500 });
    }
    String::from_utf8(body).map_err(|e| CliError::malformed(url, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::stub::{Answer, Stub};

    fn global() -> Global {
        Global { customer: None, stage: "dev".into(), region: Some("eu-central-1".into()) }
    }

    #[test]
    fn a_source_is_told_by_its_beginning() {
        let read = |text: &str| text.parse::<PemSource>();
        assert_eq!(read("chain.pem"), Ok(PemSource::File("chain.pem".into())));
        assert_eq!(read("https://a/b"), Ok(PemSource::Url("https://a/b".into())));
        assert_eq!(read("s3://b/etc/c.pem"), Ok(PemSource::Object { bucket: "b".into(), key: "etc/c.pem".into() }));
        assert_eq!(read("secret:x"), Ok(PemSource::Secret("x".into())));
        assert!(read("s3://b").is_err());
    }

    #[tokio::test]
    async fn a_url_gives_certificates_and_nothing_else() {
        let one = pki::root_certificate("x", &pki::new_key().unwrap(), pki::Validity::new(0, 10).unwrap(), 0).unwrap();
        let stub = Stub::serve(vec![
            Answer::json(200, format!("a remark\n{one}")),
            Answer::json(200, "<html>"),
            Answer::json(404, one.clone()),
            Answer::json(503, ""),
        ])
        .await;
        let source: PemSource = format!("{}/etc/chain.pem", stub.url()).parse().unwrap();
        assert_eq!(source.read(&global()).await.unwrap(), one);
        assert!(matches!(source.read(&global()).await, Err(CliError::Malformed { .. })));
        assert!(!source.read(&global()).await.unwrap_err().retryable());
        assert!(source.read(&global()).await.unwrap_err().retryable());
        assert_eq!(stub.asked()[0].line, "GET /etc/chain.pem HTTP/1.1");
        let clear: PemSource = "http://example.com/chain.pem".parse().unwrap();
        assert!(matches!(clear.read(&global()).await, Err(CliError::Usage(_))));
    }
}
