use tempfile::TempDir;
use vitro_proof::Signer;
use vitro_proof::crypto::SoftwareSigner;

use super::*;

fn config() -> DeviceConfig {
    let (thing, customer) = ("dev-1".parse().unwrap(), "acme".parse().unwrap());
    DeviceConfig::new(thing, customer, "Europe/Warsaw".parse().unwrap(), "broker.example", 8883)
}

fn folder(toml: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(CONFIG_FILE), toml).unwrap();
    folder
}

fn refused(toml: &str) -> String {
    DeviceFolder::open(folder(toml).path()).unwrap_err().to_string()
}

#[test]
fn what_is_written_reads_back() {
    let mut config = config();
    config.sampling.send = SendMode::OnChange;
    config.broker.basic_ingest = false;
    let folder = folder(&config.to_toml().unwrap());
    assert_eq!(DeviceFolder::open(folder.path()).unwrap().config, config);
}

#[test]
fn the_shortest_configuration_has_the_documented_defaults() {
    let toml = "thing = \"dev-1\"\ncustomer = \"acme\"\nzone = \"Europe/Warsaw\"\n[broker]\nhost = \"broker.example\"\nport = 8883\n";
    let read = DeviceFolder::open(folder(toml).path()).unwrap().config;
    assert_eq!(read, config());
    assert_eq!((read.sampling.poll_interval_seconds, read.sampling.report_at_least_minutes), (60, 60));
    assert_eq!((read.broker.max_publishes_per_second, read.broker.basic_ingest), (50, true));
}

#[test]
fn what_is_wrong_is_told_with_file_and_key() {
    let good = config().to_toml().unwrap();
    for (from, to, told) in [
        ("port = 8883", "port = 8883\ntls = false", "unknown field `tls`"),
        ("thing = \"dev-1\"", "thing = \"a/b\"", "is not a valid device id"),
        ("= \"file\"", "= \"tpm\"", "unknown variant `tpm`"),
        ("max_publishes_per_second = 50", "max_publishes_per_second = 101", "broker.max_publishes_per_second = 101"),
        ("max_in_flight = 50", "max_in_flight = 0", "broker.max_in_flight = 0"),
        ("keep_alive_seconds = 60", "keep_alive_seconds = 5", "broker.keep_alive_seconds = 5"),
        ("report_at_least_minutes = 60", "report_at_least_minutes = 61", "report_at_least_minutes = 61"),
        ("poll_interval_seconds = 60", "poll_interval_seconds = 3601", "poll_interval_seconds = 3601: 1 to 3600"),
    ] {
        assert!(good.contains(from), "{from}");
        let found = refused(&good.replacen(from, to, 1));
        assert!(found.contains(told) && found.contains(CONFIG_FILE), "{found}");
    }
    assert!(DeviceFolder::open(TempDir::new().unwrap().path()).unwrap_err().to_string().contains(CONFIG_FILE));
}

#[test]
fn topics_hold_customer_and_thing() {
    let mut config = config();
    assert_eq!(config.publish_topic("block"), "$aws/rules/vitro_acme_block/vitro/acme/dev-1/block");
    config.broker.basic_ingest = false;
    assert_eq!(config.publish_topic("reply"), "vitro/acme/dev-1/reply");
    assert_eq!(config.command_topic(), "vitro/acme/dev-1/command");
}

#[test]
fn a_key_that_others_can_read_is_refused_and_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder(&config().to_toml().unwrap());
    let key = folder.path().join("key.pem");
    let secret = SoftwareSigner::from_scalar(&[5; 32]).unwrap();
    fs::write(&key, secret.to_pkcs8_pem().unwrap().as_ref()).unwrap();
    let opened = DeviceFolder::open(folder.path()).unwrap();
    let mode = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o644, 0o640, 0o604] {
        mode(open);
        assert!(matches!(opened.signer(), Err(DeviceError::Key { .. })), "{open:o}");
    }
    mode(0o600);
    assert_eq!(opened.signer().unwrap().public_key(), secret.public_key());
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\nTk9U\n-----END PRIVATE KEY-----\n").unwrap();
    let error = opened.signer().err().unwrap().to_string();
    assert!(error.contains("key.pem") && !error.contains("Tk9U"), "{error}");
}

#[test]
fn there_are_two_command_keys_at_most() {
    let key = |id: &str| format!("{{\"id\":\"{id}\",\"public_key\":\"04{}\"}}", "ab".repeat(64));
    let keys: CommandKeys =
        serde_json::from_str(&format!("{{\"current\":{},\"next\":{}}}", key("a"), key("b"))).unwrap();
    assert_eq!(keys.get("b").unwrap().id, "b");
    assert!(keys.get("c").is_none());
    let one: CommandKeys = serde_json::from_str(&format!("{{\"current\":{}}}", key("a"))).unwrap();
    assert!(one.next.is_none());
    assert!(
        serde_json::from_str::<CommandKeys>(&format!("{{\"current\":{},\"old\":{}}}", key("a"), key("b"))).is_err()
    );
}
