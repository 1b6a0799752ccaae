//! How the chaincode is to run, from environment and arguments. `docs/chaincode.md` lists them.

use serde::Deserialize;

use crate::error::ChaincodeError;

/// A way to run.
pub enum Way {
    /// Peers connect to it.
    Service(ServiceSettings),
    /// It connects to its peer.
    Peer(PeerSettings),
}

/// As a service.
pub struct ServiceSettings {
    /// The package id that the chaincode was installed under.
    pub chaincode_id: String,
    /// `host:port` to listen on.
    pub address: String,
    /// None: without TLS.
    pub tls: Option<ServiceTls>,
}

/// A service's TLS. Holds a key: not to be shown.
pub struct ServiceTls {
    /// The service's certificate, and those between it and its CA.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
    /// The CA of the peers' client certificates; none: anybody may connect.
    pub client_ca_pem: Option<String>,
}

/// As a program of its peer.
pub struct PeerSettings {
    /// The package id that the chaincode was installed under.
    pub chaincode_id: String,
    /// `host:port` of the peer's chaincode listener.
    pub address: String,
    /// None: without TLS.
    pub tls: Option<PeerTls>,
}

/// TLS towards the peer. Holds a key: not to be shown.
pub struct PeerTls {
    /// The CA of the peer's chaincode listener.
    pub root_pem: String,
    /// The certificate that the peer made for this chaincode.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: String,
}

/// What a peer tells an external builder's `run` in `chaincode.json`.
#[derive(Deserialize)]
struct RunMetadata {
    chaincode_id: String,
    peer_address: String,
    #[serde(default)]
    client_cert: String,
    #[serde(default)]
    client_key: String,
    #[serde(default)]
    root_cert: String,
}

impl Way {
    /// Finds the way. `argument` are those after the program's name, `variable` is the environment, `file` reads a file.
    ///
    /// # Errors
    /// [`ChaincodeError::Settings`] if there is none, or something is missing of it.
    pub fn find(
        arguments: &[String],
        variable: impl Fn(&str) -> Option<String>,
        file: impl Fn(&str) -> std::io::Result<String>,
    ) -> Result<Self, ChaincodeError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let required = |name: &str| variable(name).ok_or_else(|| fault(format!("{name} is not set")));
        let content = |name: &str| {
            let path = required(name)?;
            file(&path).map_err(|error| fault(format!("{name}: {path}: {error}")))
        };
        if let Some(address) = peer_address(arguments)? {
            let with_tls = variable("CORE_PEER_TLS_ENABLED").is_some_and(|value| value == "true");
            let tls = with_tls.then(|| {
                Ok(PeerTls {
                    root_pem: content("CORE_PEER_TLS_ROOTCERT_FILE")?,
                    certificate_pem: content("CORE_TLS_CLIENT_CERT_FILE")?,
                    key_pem: content("CORE_TLS_CLIENT_KEY_FILE")?,
                })
            });
            let chaincode_id = required("CORE_CHAINCODE_ID_NAME")?;
            return Ok(Self::Peer(PeerSettings { chaincode_id, address, tls: tls.transpose()? }));
        }
        if let Some(metadata) = variable("METADATA") {
            let RunMetadata { chaincode_id, peer_address, client_cert, client_key, root_cert } =
                serde_json::from_str(&metadata).map_err(|error| {
                    // serde's own message may quote a value, and one of them is a key: only its place and kind are told.
                    let (line, column, kind) = (error.line(), error.column(), error.classify());
                    fault(format!("METADATA: line {line}, column {column}: {kind:?} error"))
                })?;
            let tls = (!root_cert.is_empty() || !client_cert.is_empty()).then_some(PeerTls {
                root_pem: root_cert,
                certificate_pem: client_cert,
                key_pem: client_key,
            });
            return Ok(Self::Peer(PeerSettings { chaincode_id, address: peer_address, tls }));
        }
        if let Some(chaincode_id) = variable("CHAINCODE_ID") {
            let tls = match (variable("CHAINCODE_TLS_KEY"), variable("CHAINCODE_TLS_CERT")) {
                // Half of a pair must not lead to a service without TLS.
                (None, None) if variable("CHAINCODE_CLIENT_CA_CERT").is_none() => None,
                _ => Some(ServiceTls {
                    certificate_pem: content("CHAINCODE_TLS_CERT")?,
                    key_pem: content("CHAINCODE_TLS_KEY")?,
                    client_ca_pem: variable("CHAINCODE_CLIENT_CA_CERT")
                        .map(|_| content("CHAINCODE_CLIENT_CA_CERT"))
                        .transpose()?,
                }),
            };
            let address = required("CHAINCODE_SERVER_ADDRESS")?;
            return Ok(Self::Service(ServiceSettings { chaincode_id, address, tls }));
        }
        Err(fault(
            "nothing says how to run: --peer.address (in a Node package), METADATA (by an external builder) or \
             CHAINCODE_ID (as a service)"
                .to_owned(),
        ))
    }
}

fn fault(detail: String) -> ChaincodeError {
    ChaincodeError::Settings(detail)
}

/// `--peer.address X` or `--peer.address=X`, as a peer starts Node chaincode; nothing else is understood.
fn peer_address(arguments: &[String]) -> Result<Option<String>, ChaincodeError> {
    match arguments {
        [] => Ok(None),
        [name, address] if name == "--peer.address" => Ok(Some(address.clone())),
        [one] => match one.strip_prefix("--peer.address=") {
            Some(address) => Ok(Some(address.to_owned())),
            None => Err(fault(format!("{one:?} is not understood"))),
        },
        _ => Err(fault(format!("{arguments:?} are not understood"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn find(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Way, ChaincodeError> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        let file = |path: &str| match path.strip_prefix("/tls/") {
            Some(name) => Ok(name.to_owned()),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        Way::find(&arguments, |name| variables.get(name).map(|&value| value.to_owned()), file)
    }

    #[test]
    fn a_node_package_is_told_by_arguments_and_files() {
        let tls = [
            ("CORE_CHAINCODE_ID_NAME", "vitro:1"),
            ("CORE_PEER_TLS_ENABLED", "true"),
            ("CORE_PEER_TLS_ROOTCERT_FILE", "/tls/root"),
            ("CORE_TLS_CLIENT_CERT_FILE", "/tls/cert"),
            ("CORE_TLS_CLIENT_KEY_FILE", "/tls/key"),
        ];
        for arguments in [&["--peer.address", "peer:7052"][..], &["--peer.address=peer:7052"]] {
            let Ok(Way::Peer(peer)) = find(arguments, &tls) else { panic!("another way") };
            let PeerTls { root_pem, certificate_pem, key_pem } = peer.tls.unwrap();
            let got = [&peer.chaincode_id, &peer.address, &root_pem, &certificate_pem, &key_pem];
            assert_eq!(got, ["vitro:1", "peer:7052", "root", "cert", "key"]);
        }
        let Ok(Way::Peer(peer)) = find(&["--peer.address", "peer:7052"], &tls[..1]) else { panic!("another way") };
        assert!(peer.tls.is_none());
        assert!(find(&["--peer.address", "peer:7052"], &tls[..2]).is_err(), "TLS without its files");
    }

    #[test]
    fn an_external_builder_gives_one_json() {
        let json = r#"{"chaincode_id":"vitro:1","peer_address":"peer:7052","client_cert":"c","client_key":"k","root_cert":"r","mspid":"RcMSP"}"#;
        let Ok(Way::Peer(peer)) = find(&[], &[("METADATA", json)]) else { panic!("another way") };
        assert_eq!((peer.chaincode_id.as_str(), peer.address.as_str()), ("vitro:1", "peer:7052"));
        assert_eq!(peer.tls.unwrap().key_pem, "k");
        assert!(find(&[], &[("METADATA", "{}")]).is_err());
    }

    #[test]
    fn a_key_in_metadata_that_cannot_be_read_is_not_quoted() {
        for json in
            [r#""client_key: hidden""#, r#"{"chaincode_id":"vitro:1","client_key":["hidden"]}"#, r#"{"hidden":1}"#]
        {
            let Err(error) = find(&[], &[("METADATA", json)]) else { panic!("{json} was read") };
            let told = format!("{error} {error:?}");
            assert!(!told.contains("hidden") && told.contains("METADATA: line 1"), "{told}");
        }
    }

    #[test]
    fn a_service_is_told_its_id_and_address_and_never_loses_its_tls() {
        let base = [("CHAINCODE_ID", "vitro:1"), ("CHAINCODE_SERVER_ADDRESS", "0.0.0.0:7052")];
        let Ok(Way::Service(service)) = find(&[], &base) else { panic!("another way") };
        assert!(service.tls.is_none());
        let key = ("CHAINCODE_TLS_KEY", "/tls/key");
        let (cert, ca) = (("CHAINCODE_TLS_CERT", "/tls/cert"), ("CHAINCODE_CLIENT_CA_CERT", "/tls/ca"));
        let Ok(Way::Service(service)) = find(&[], &[&base[..], &[key, cert, ca]].concat()) else {
            panic!("another way")
        };
        assert_eq!(service.tls.unwrap().client_ca_pem.as_deref(), Some("ca"));
        for half in [key, cert, ca] {
            assert!(find(&[], &[&base[..], &[half]].concat()).is_err(), "{half:?} alone");
        }
        assert!(find(&[], &base[..1]).is_err(), "no address: nothing is listened on by default");
    }

    #[test]
    fn anything_else_is_refused() {
        for arguments in [&[][..], &["--help"], &["--peer.address"], &["a", "b", "c"]] {
            assert!(matches!(find(arguments, &[]), Err(ChaincodeError::Settings(_))));
        }
    }
}
