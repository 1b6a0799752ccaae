//! A key inside a token: SoftHSM2 stands in for a secure element.
//!
//! A token's library reads its configuration from the environment, once a process; so each test runs itself again with one of its own.
#![allow(clippy::unwrap_used, clippy::panic)] // a failure here is a failed test

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::CertificateSigningRequestParams;
use serde_json::Value;
use support::{Authority, Broker, DAY, Device, Reaction, THING, recorded, wait};
use tempfile::TempDir;
use vitro_device::DeviceError;
use vitro_device::config::KeyStore;
use vitro_device::key::{PinSource, Pkcs11Key, Pkcs11Signer};
use vitro_device::outbox::Outbox;
use vitro_proof::crypto::{P256Key, sha256};
use vitro_proof::{BlockMessage, Envelope, PublicKey, Signer, Verify};

const PIN: &str = "314159265";
const TOKEN: &str = "crystal";
/// Where Debian, Fedora, Arch and Homebrew have it.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Runs a test's body in a process of its own, with a token of its own. Without SoftHSM2 a test fails where CI is set, and says
/// elsewhere that it did not run.
fn with_token(test: &str, body: impl FnOnce(&Path)) {
    if let Some(folder) = std::env::var_os("VITRO_TEST_TOKEN") {
        return body(Path::new(&folder));
    }
    if module().is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "softhsm2 is not installed: `make setup` as root, or apt-get install softhsm2"
        );
        eprintln!("{test} DID NOT RUN: softhsm2 is not installed");
        return;
    }
    let folder = TempDir::new().unwrap();
    let conf = folder.path().join("softhsm2.conf");
    fs::create_dir(folder.path().join("tokens")).unwrap();
    fs::write(&conf, format!("directories.tokendir = {}/tokens\nlog.level = ERROR\n", folder.path().display()))
        .unwrap();
    fs::write(folder.path().join("pin"), format!("{PIN}\n")).unwrap();
    fs::set_permissions(folder.path().join("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    make_token(&conf);
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("VITRO_TEST_TOKEN", folder.path())
        .env("SOFTHSM2_CONF", &conf)
        .output()
        .unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains(PIN), "the PIN was shown");
}

fn make_token(conf: &Path) {
    let mut init = Command::new("softhsm2-util");
    init.args(["--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", "27182818"]);
    assert!(init.env("SOFTHSM2_CONF", conf).stdout(Stdio::null()).status().unwrap().success());
}

fn key(folder: &Path, label: &str) -> Pkcs11Key {
    Pkcs11Key {
        module: module().unwrap(),
        token: TOKEN.into(),
        label: label.into(),
        id: Some("0a01".into()),
        pin: PinSource::File(folder.join("pin")),
    }
}

fn verify(signer: &dyn Signer, message: &[u8]) {
    let signature = signer.sign_digest(&sha256(&[message]).0).unwrap();
    P256Key::new(&signer.public_key()).unwrap().verify(message, &signature).unwrap();
}

#[test]
fn a_key_is_made_inside_and_found_again() {
    with_token("a_key_is_made_inside_and_found_again", |folder| {
        let missing = Pkcs11Signer::open(&key(folder, "a")).unwrap_err();
        assert!(matches!(&missing, DeviceError::Key { why, .. } if why.contains("no such key")), "{missing}");
        let made = Pkcs11Signer::make(&key(folder, "a")).unwrap();
        let other = Pkcs11Signer::make(&key(folder, "b")).unwrap();
        assert_ne!(made.public_key(), other.public_key());
        // About half of a token's signatures have a high s; all of them verify.
        for n in 0..32u8 {
            verify(&made, &[n]);
        }
        let again = Pkcs11Signer::open(&key(folder, "a")).unwrap();
        assert_eq!(again.public_key(), made.public_key());
        verify(&again, b"again");
        let by_label = Pkcs11Key { id: None, ..key(folder, "a") };
        assert_eq!(Pkcs11Signer::open(&by_label).unwrap().public_key(), made.public_key());
        let twice = Pkcs11Signer::make(&key(folder, "a")).unwrap_err();
        assert!(matches!(&twice, DeviceError::Key { why, .. } if why.contains("a device is its key")), "{twice}");
        let shown = format!("{made:?} {twice} {twice:?} {:?}", key(folder, "a"));
        assert!(!shown.contains(PIN), "{shown}");
    });
}

#[test]
fn a_key_that_can_leave_the_token_is_refused() {
    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::mechanism::Mechanism;
    use cryptoki::object::Attribute;
    use cryptoki::session::UserType;
    with_token("a_key_that_can_leave_the_token_is_refused", |folder| {
        let library = Pkcs11::new(module().unwrap()).unwrap();
        library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
        let slots = library.get_slots_with_token().unwrap();
        let slot = *slots.iter().find(|slot| library.get_token_info(**slot).unwrap().label() == TOKEN).unwrap();
        let session = library.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&PIN.into())).unwrap();
        let name = |label: &str| [Attribute::Label(label.into()), Attribute::Id(vec![0x0a, 1]), Attribute::Token(true)];
        let p256 = vec![0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let p384 = vec![0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        for (label, curve, sensitive, extractable) in
            [("open", &p256, false, false), ("leaves", &p256, true, true), ("curve", &p384, true, false)]
        {
            let public = [name(label).to_vec(), vec![Attribute::EcParams(curve.clone())]].concat();
            let secret = [Attribute::Sensitive(sensitive), Attribute::Extractable(extractable), Attribute::Sign(true)];
            let private = [name(label).to_vec(), secret.to_vec()].concat();
            session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
        }
        for (label, told) in [("open", "can leave"), ("leaves", "can leave"), ("curve", "no key of P-256")] {
            let refused = Pkcs11Signer::open(&key(folder, label)).unwrap_err();
            assert!(matches!(&refused, DeviceError::Key { why, .. } if why.contains(told)), "{label}: {refused}");
        }
        // Two keys of one name are none.
        Pkcs11Signer::make(&key(folder, "a")).unwrap();
        Pkcs11Signer::make(&Pkcs11Key { id: Some("0b".into()), ..key(folder, "a") }).unwrap();
        let refused = Pkcs11Signer::open(&Pkcs11Key { id: None, ..key(folder, "a") }).unwrap_err();
        assert!(refused.to_string().contains("2 private keys of this name"), "{refused}");
    });
}

#[test]
fn a_wrong_pin_is_tried_once() {
    with_token("a_wrong_pin_is_tried_once", |folder| {
        let good = Pkcs11Signer::make(&key(folder, "a")).unwrap();
        let pin = folder.join("pin");
        drop(good);
        // The login holds while a session is open; the next one asks again.
        fs::write(&pin, "000000").unwrap();
        let refused = Pkcs11Signer::open(&key(folder, "a")).unwrap_err();
        assert!(matches!(refused, DeviceError::Pin { .. }), "{refused}");
        assert!(!refused.retryable());
        assert!(!refused.to_string().contains("000000"));
        fs::write(&pin, PIN).unwrap();
        Pkcs11Signer::open(&key(folder, "a")).unwrap();
        let away = Pkcs11Signer::open(&Pkcs11Key { token: "gone".into(), ..key(folder, "a") }).unwrap_err();
        assert!(matches!(away, DeviceError::Signer(_)) && away.retryable(), "{away}");
    });
}

#[test]
fn a_token_that_is_taken_away_signs_nothing_and_signs_again_when_it_is_back() {
    with_token("a_token_that_is_taken_away_signs_nothing_and_signs_again_when_it_is_back", |folder| {
        let signer = Pkcs11Signer::make(&key(folder, "a")).unwrap();
        verify(&signer, b"before");
        let (tokens, elsewhere) = (folder.join("tokens"), folder.join("elsewhere"));
        fs::rename(&tokens, &elsewhere).unwrap();
        fs::create_dir(&tokens).unwrap();
        // The library holds the object open until its session ends: lose the session as well.
        let library = cryptoki::context::Pkcs11::new(module().unwrap()).unwrap();
        library.finalize().unwrap();
        for _ in 0..3 {
            let error = signer.sign_digest(&[7; 32]).unwrap_err().to_string();
            assert!(!error.contains(PIN), "{error}");
        }
        fs::remove_dir_all(&tokens).unwrap();
        fs::rename(&elsewhere, &tokens).unwrap();
        verify(&signer, b"after");
        // Another token with a key of the same name is another device.
        fs::remove_dir_all(&tokens).unwrap();
        fs::create_dir(&tokens).unwrap();
        make_token(&folder.join("softhsm2.conf"));
        let library = cryptoki::context::Pkcs11::new(module().unwrap()).unwrap();
        library.finalize().unwrap();
        Pkcs11Signer::make(&key(folder, "a")).unwrap();
        let error = signer.sign_digest(&[7; 32]).unwrap_err().to_string();
        assert!(error.contains("another key"), "{error}");
    });
}

fn agent(device: &Device, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_vitro-device"))
        .arg("--folder")
        .arg(device.path())
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// From the key to a closed day: request, certificate, TLS, envelopes and block, all signed inside the token.
#[test]
fn a_device_whose_key_never_leaves_its_token_sends_a_day() {
    with_token("a_device_whose_key_never_leaves_its_token_sends_a_day", |folder| {
        let authority = Authority::new();
        let broker = Broker::start(&authority, |_| Reaction::Acknowledge);
        let mut device = authority.device(broker.port);
        device.config.key = KeyStore::Pkcs11(key(folder, THING));
        device.save();
        fs::remove_file(device.path().join("key.pem")).unwrap();

        let made: Value = serde_json::from_str(&stdout(&agent(&device, &["key", "new"]))).unwrap();
        let shown: Value = serde_json::from_str(&stdout(&agent(&device, &["key", "show"]))).unwrap();
        assert_eq!(made, shown);
        assert_eq!(agent(&device, &["key", "new"]).status.code(), Some(1), "a device is its key");
        let request = stdout(&agent(&device, &["key", "request"]));
        let request = CertificateSigningRequestParams::from_pem(&request).unwrap();
        fs::write(device.path().join("cert.pem"), authority.sign(&request)).unwrap();

        let csv = recorded("csv");
        let replay =
            ["replay", "--recording", csv.to_str().unwrap(), "--day", DAY, "--rate", "5000/s", "--deadline", "120"];
        let report: Value = serde_json::from_str(&stdout(&agent(&device, &replay))).unwrap();
        assert_eq!((report["count"].as_u64(), report["sent"].as_u64()), (Some(1440), Some(1440)));
        wait("the block", || broker.of("block").len() == 1);
        let public_key: PublicKey = made["public_key"].as_str().unwrap().parse().unwrap();
        let verifier = P256Key::new(&public_key).unwrap();
        let stored = Outbox::inspect(&device.outbox()).unwrap().run(0, 1440).unwrap();
        assert!(broker.of("telemetry").iter().eq(&stored));
        for envelope in &stored {
            Envelope::parse(envelope).unwrap().verify(&verifier).unwrap();
        }
        BlockMessage::decode(&broker.of("block")[0]).unwrap().open(&THING.parse().unwrap(), &verifier).unwrap();
    });
}
