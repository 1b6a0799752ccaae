//! The device's folder: key, request, certificate with its issuer, and what the agent is configured by.

use std::path::{Path, PathBuf};

use vitro_device::DeviceConfig;
use vitro_device::config::{CONFIG_FILE, CommandKeys, Confidential, DeviceFolder, KeyStore, SharedSigner};
use vitro_device::key;
use vitro_proof::{Customer, DataKeyId, DeviceId, PublicKey, SensorTable, ZoneName};

use super::NewArgs;
use super::cloud::Site;
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::files;
use crate::pki::{self, CertificateFacts};

/// The authorities that AWS IoT's endpoints chain to, as Mozilla's list has them.
const AMAZON_ROOTS: &str = include_str!("../../amazon-roots.pem");

/// Where a device connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The authorities that its certificate is checked against, in PEM.
    pub ca: String,
    /// Whether rules are reached by Basic Ingest.
    pub basic_ingest: bool,
}

impl Endpoint {
    /// AWS's own endpoint.
    #[must_use]
    pub fn amazon_roots() -> &'static str {
        AMAZON_ROOTS
    }
}

/// A certificate in the device's folder.
#[derive(Clone, Debug)]
pub struct DeviceCertificate {
    /// The device's certificate alone, in PEM.
    pub pem: String,
    /// What it says.
    pub facts: CertificateFacts,
}

/// The files of one device. The key, wherever it is, is made once and never replaced: a device is its key.
pub struct DeviceFiles {
    folder: PathBuf,
    thing: DeviceId,
    issuer: String,
    store: KeyStore,
    signer: SharedSigner,
}

/// The customer's public keys that a device holds.
pub struct CustomerKeys<'a> {
    /// Those that may command it.
    pub command: &'a CommandKeys,
    /// The one that it encrypts for, if its telemetry is confidential.
    pub data: Option<&'a (DataKeyId, PublicKey)>,
}

impl DeviceFiles {
    /// Opens a device's folder, or makes it with a new key in a file.
    ///
    /// # Errors
    /// As [`DeviceFiles::with_key`].
    pub fn open(folder: &Path, thing: &DeviceId, authority: &CertificateFacts) -> Result<Self, CliError> {
        Self::with_key(folder, thing, authority, None)
    }

    /// Opens a device's folder, or makes it, with the key where `store` says. A key that is not there yet is made; without a store it is
    /// where the folder's configuration has it, or in a file.
    ///
    /// # Errors
    /// [`CliError::File`]; [`CliError::Refused`] if the folder is another device's, its key lies open, or its key is kept elsewhere.
    pub fn with_key(
        folder: &Path,
        thing: &DeviceId,
        authority: &CertificateFacts,
        store: Option<KeyStore>,
    ) -> Result<Self, CliError> {
        let mut known = None;
        if folder.join(CONFIG_FILE).exists() {
            let found = DeviceFolder::open(folder).map_err(|e| CliError::malformed(folder.display().to_string(), e))?;
            if found.config.thing != *thing {
                return Err(CliError::Refused(format!("{} belongs to {}", folder.display(), found.config.thing)));
            }
            known = Some(found.config.key);
        }
        if known.is_some() && store.is_some() && known != store {
            return Err(CliError::Refused(format!(
                "the device's key is kept elsewhere: {} says where",
                folder.display()
            )));
        }
        files::private_folder(folder)?;
        let store = store.or(known).unwrap_or_default();
        let refused = |e: vitro_device::DeviceError| CliError::Refused(e.to_string());
        let signer = key::open_or_make(folder, &store).map_err(refused)?;
        Ok(Self { folder: folder.to_owned(), thing: thing.clone(), issuer: authority.name.clone(), store, signer })
    }

    /// The device's certificate request; it is kept beside the key.
    ///
    /// # Errors
    /// [`CliError`].
    pub fn request(&self) -> Result<String, CliError> {
        let failed = |e: vitro_device::DeviceError| CliError::Certificate {
            what: "making a certificate request",
            detail: e.to_string(),
        };
        let request = key::request(&self.thing, &*self.signer).map_err(failed)?;
        files::replace(&self.folder.join("request.pem"), &request)?;
        Ok(request)
    }

    /// The certificate that is there already.
    ///
    /// # Errors
    /// [`CliError::Refused`] if it is for another key, thing or authority.
    pub fn certificate(&self) -> Result<Option<DeviceCertificate>, CliError> {
        let path = self.folder.join("cert.pem");
        if !path.exists() {
            return Ok(None);
        }
        let first = pki::split(&files::read(&path)?).into_iter().next();
        let first = first.ok_or_else(|| CliError::malformed(path.display().to_string(), "it holds no certificate"))?;
        self.checked(&first).map(Some)
    }

    /// Puts a new certificate and the authorities above it into the folder: what the device shows when it connects.
    ///
    /// # Errors
    /// [`CliError::Refused`] if it is for another key, thing or authority.
    pub fn add_certificate(&self, pem: &str, authority: &dyn Authority) -> Result<DeviceCertificate, CliError> {
        let certificate = self.checked(pem)?;
        authority::check_issued(authority, pem, &self.thing)?;
        files::replace(&self.folder.join("cert.pem"), format!("{pem}{}", authority.issuers().concat()))?;
        Ok(certificate)
    }

    fn checked(&self, pem: &str) -> Result<DeviceCertificate, CliError> {
        let facts = pki::read_certificate(pem)?;
        let refused = |what: &str| {
            Err(CliError::Refused(format!("the certificate in {} is for another {what}", self.folder.display())))
        };
        if facts.public_key != self.signer.public_key() {
            return refused("key");
        }
        if facts.name != self.thing.as_str() {
            return refused("device");
        }
        if facts.issuer != self.issuer {
            return refused("authority");
        }
        Ok(DeviceCertificate { pem: pem.to_owned(), facts })
    }

    /// Writes what the manifest is to expect: this device, with this key and this certificate.
    ///
    /// # Errors
    /// [`CliError::File`].
    pub(super) fn write_manifest(
        &self,
        site: &Site,
        certificate: &CertificateFacts,
        table: &SensorTable,
    ) -> Result<(), CliError> {
        let mut line = serde_json::json!({
            "thing": self.thing,
            "metering_point": site.metering_point,
            "shard": site.shard,
            "zone": site.zone,
            "sensors": table,
            "public_key": certificate.public_key,
            "serial": certificate.serial,
            "confidential": site.confidential,
        });
        if let Some(replaces) = &site.replaces {
            line["replaces"] = replaces.as_str().into();
        }
        files::replace(&self.folder.join("manifest.json"), format!("{:#}\n", serde_json::json!([line])))
    }

    /// Writes what the agent is configured by; what an operator has changed there is replaced by the arguments. The result is read
    /// back as the agent will read it.
    ///
    /// # Errors
    /// [`CliError::Usage`] if the agent would refuse a setting.
    pub fn write_config(
        &self,
        args: &NewArgs,
        zone: &ZoneName,
        customer: &Customer,
        table: &SensorTable,
        keys: &CustomerKeys<'_>,
        endpoint: &Endpoint,
    ) -> Result<(), CliError> {
        let mut config =
            DeviceConfig::new(self.thing.clone(), customer.clone(), zone.clone(), &endpoint.host, endpoint.port);
        config.key = self.store.clone();
        config.broker.basic_ingest = endpoint.basic_ingest;
        config.sampling.poll_interval_seconds = args.poll_interval;
        config.sampling.send = args.send.into();
        config.confidential = keys.data.map(|_| Confidential::default());
        config.check().map_err(|e| CliError::Usage(e.to_string()))?;
        let json = |value: Result<String, serde_json::Error>| value.map_err(|e| CliError::malformed("JSON", e));
        let write = |name: &Path, text: &str| files::replace(&self.folder.join(name), text);
        write(&config.broker.ca, &endpoint.ca)?;
        write(&config.sensors, &json(serde_json::to_string_pretty(table))?)?;
        write(&config.command_keys, &json(serde_json::to_string_pretty(keys.command))?)?;
        if let (Some(key), Some(confidential)) = (keys.data, &config.confidential) {
            write(&confidential.keys, &super::confidential::file(key)?)?;
        }
        let toml = config.to_toml().map_err(|e| CliError::malformed(CONFIG_FILE, e))?;
        write(Path::new(CONFIG_FILE), &toml)?;

        let broken = |e: vitro_device::DeviceError| CliError::malformed(self.folder.display().to_string(), e);
        let folder = DeviceFolder::open(&self.folder).map_err(broken)?;
        folder.sensor_table().map_err(broken)?;
        folder.command_keys().map_err(broken)?;
        folder.signer().map(|_| ()).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vitro_device::config::CommandKey;
    use vitro_proof::Signer;
    use vitro_proof::crypto::SoftwareSigner;

    use super::*;
    use crate::authority::LocalAuthority;
    use crate::cli::{Cli, Command};
    use crate::commands::device::DeviceCommand;
    use crate::pki::Validity;

    const VALIDITY: Validity = Validity { not_before: 1_700_000_000, not_after: 1_800_000_000 };

    fn args() -> Box<NewArgs> {
        let line = "vitro --customer acme device new dev-1 --ca ca --out out --metering-point mp-1 --zone Etc/GMT+7 \
                    --shard west --sensors s.json --mqtt-host 127.0.0.1 --mqtt-port 1234 --send on-change";
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            Command::Device(DeviceCommand::New(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    fn zone() -> ZoneName {
        "Etc/GMT+7".parse().unwrap()
    }

    fn block<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn keys(signer: &SoftwareSigner) -> CommandKeys {
        CommandKeys { current: CommandKey { id: "key-1".into(), public_key: signer.public_key() }, next: None }
    }

    #[test]
    fn a_folder_is_made_once_and_completed_again() {
        let root = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::create(&root.path().join("ca"), "Acme", VALIDITY, 1).unwrap();
        let out = root.path().join("dev");
        let thing: DeviceId = "dev-1".parse().unwrap();
        let table = serde_json::from_str(r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#);
        let table: SensorTable = table.unwrap();
        let signer = SoftwareSigner::from_scalar(&[3; 32]).unwrap();
        let command_keys = keys(&signer);
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: 1234, ca: AMAZON_ROOTS.into(), basic_ingest: true };
        let mut ids = Vec::new();
        for round in 0..2 {
            let files = DeviceFiles::open(&out, &thing, authority.facts()).unwrap();
            let found = files.certificate().unwrap();
            assert_eq!(found.is_some(), round == 1);
            let certificate = found.unwrap_or_else(|| {
                let pem = block(authority.issue(&files.request().unwrap(), &thing, VALIDITY)).unwrap();
                files.add_certificate(&pem, &authority).unwrap()
            });
            ids.push(certificate.facts.id);
            files
                .write_config(
                    &args(),
                    &zone(),
                    &"acme".parse().unwrap(),
                    &table,
                    &CustomerKeys { command: &command_keys, data: None },
                    &endpoint,
                )
                .unwrap();
        }
        assert_eq!(ids[0], ids[1], "a second run keeps the certificate");
        let folder = DeviceFolder::open(&out).unwrap();
        assert_eq!(folder.config.thing, thing);
        assert_eq!(folder.sensor_table().unwrap(), table);
        assert_eq!(folder.command_keys().unwrap().current.id, "key-1");
        let chain = std::fs::read_to_string(out.join("cert.pem")).unwrap();
        assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2, "the device's certificate, then its issuer's");
        assert!(matches!(
            DeviceFiles::open(&out, &"dev-2".parse().unwrap(), authority.facts()),
            Err(CliError::Refused(_))
        ));
        let other = LocalAuthority::create(&root.path().join("ca2"), "Other", VALIDITY, 1).unwrap();
        let files = DeviceFiles::open(&out, &thing, other.facts()).unwrap();
        assert!(matches!(files.certificate(), Err(CliError::Refused(_))));
    }

    #[test]
    fn settings_that_the_agent_refuses_are_usage_errors() {
        let root = tempfile::tempdir().unwrap();
        let authority = LocalAuthority::create(&root.path().join("ca"), "Acme", VALIDITY, 1).unwrap();
        let files = DeviceFiles::open(&root.path().join("d"), &"dev-1".parse().unwrap(), authority.facts()).unwrap();
        let table = serde_json::from_str(r#"{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}"#);
        let signer = SoftwareSigner::from_scalar(&[3; 32]).unwrap();
        let keys = keys(&signer);
        let endpoint = Endpoint { host: "h".into(), port: 1, ca: String::new(), basic_ingest: true };
        let args = NewArgs { poll_interval: 0, ..*args() };
        let refused = files.write_config(
            &args,
            &zone(),
            &"acme".parse().unwrap(),
            &table.unwrap(),
            &CustomerKeys { command: &keys, data: None },
            &endpoint,
        );
        assert!(matches!(refused, Err(CliError::Usage(_))));
    }
}
