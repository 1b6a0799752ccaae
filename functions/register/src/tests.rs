//! A device's way in, killed at every point; and who is refused for what.

mod ended;
mod world;

use std::collections::BTreeMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SerialNumber,
};
use vitro_client::Client;
use vitro_client::memory::MemoryChannel;
use vitro_cloud::archive::Archive;
use vitro_cloud::batch::SqsEvent;
use vitro_cloud::clock::FixedClock;
use vitro_cloud::config::StackName;
use vitro_cloud::devices::{Device, Status};
use vitro_cloud::identities::CertificateIdentity;
use vitro_cloud::manifest::Expected;
use vitro_cloud::memory::{MemoryArchive, MemoryOutbox};
use vitro_cloud::rule_event::NewRuleEvent;
use vitro_cloud::trust::{AcceptedCrl, PKIX_CRL, TrustedAuthority, certificate_der, certificate_pem, crl_key};
use vitro_contract::Role;
use vitro_contract::testing::{MemoryLedger, client};
use vitro_proof::chain::{Certificate, Crl};
use vitro_proof::{DeviceId, UnixMillis};

use self::world::World;
use crate::ports::{CertificateState, Ports};
use crate::{Register, Settings};

const NOW: i64 = 1_768_000_000;

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn at(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn params(name: &str, authority: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (at(NOW - 1000), at(NOW + 1000));
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

fn hex(text: &str) -> Vec<u8> {
    let even = if text.len().is_multiple_of(2) { text.to_owned() } else { format!("0{text}") };
    (0..even.len()).step_by(2).map(|at| u8::from_str_radix(&even[at..at + 2], 16).unwrap()).collect()
}

/// A list of an authority, and its bytes.
fn list(
    issuer: &Issuer<'static, KeyPair>,
    authority: &[u8],
    number: u64,
    revoked_certs: Vec<RevokedCertParams>,
) -> (AcceptedCrl, Vec<u8>) {
    let list = CertificateRevocationListParams {
        this_update: at(NOW - 500),
        next_update: at(NOW + 500),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(issuer).unwrap().der().to_vec();
    let crl = Crl::verify(&list, authority).unwrap();
    let accepted = AcceptedCrl {
        number: crl.number(),
        this_update: crl.this_update(),
        next_update: crl.next_update(),
        digest: crl.hash(),
        key: crl_key(Certificate::read(authority).unwrap().id().0, crl.number(), crl.hash()),
    };
    (accepted, list)
}

/// A site: a root with a current list, its world, and a ledger.
struct Site {
    world: World,
    archive: MemoryArchive,
    outbox: MemoryOutbox,
    channel: MemoryChannel,
    root: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Site {
    async fn new() -> Self {
        let key = key();
        let params = params("Root", true);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let world = World::default();
        let archive = MemoryArchive::new(world.fuse.clone());
        let issuer = Issuer::new(params, key);
        let (accepted, list) = list(&issuer, &der, 7, Vec::new());
        archive.put_once(&accepted.key, list, PKIX_CRL).await.unwrap();
        let root = Certificate::read(&der).unwrap();
        let authority = TrustedAuthority {
            id: root.id().0,
            name: "Root".into(),
            key_hash: root.key_hash(),
            identity: CertificateIdentity::new(root.key_hash(), root.serial().clone()),
            parent: None,
            not_after: root.not_after(),
            crl_url: None,
            added_at: UnixMillis(0),
            announces: true,
            crl: Some(accepted),
            check: None,
            applied: None,
            revoked_at: None,
            certificate: der.clone(),
        };
        world.change(|kept| kept.authorities.push(authority));
        let channel = MemoryChannel::new(MemoryLedger::configured(NOW).unwrap(), client(Role::Operator));
        let outbox = MemoryOutbox::new(world.fuse.clone());
        Self { world, archive, outbox, channel, root: der, issuer }
    }

    fn expect(&self, name: &str) {
        let table = r#"{"version":1,"sensors":[{"name":"energy","unit":"kWh","kind":"counter","resets_normal":true}]}"#;
        let expected = Expected {
            thing: name.parse().unwrap(),
            metering_point: format!("mp-{name}"),
            zone: "Etc/UTC".parse().unwrap(),
            shard: "north".into(),
            sensor_table: serde_json::from_str(table).unwrap(),
            public_key: None,
            serial: None,
            confidential: false,
            replaces: None,
            imported_at: UnixMillis(0),
        };
        self.world.change(|kept| _ = kept.expected.insert(expected.thing.clone(), expected));
    }

    /// A list that revokes one certificate comes in the moment in which the next one is registered.
    async fn revokes_while_it_registers(&self, id: &str, reason: RevocationReason) {
        let der = certificate_der(&self.world.kept().certificates[id].0).unwrap();
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&hex(&Certificate::read(&der).unwrap().serial().to_string())),
            revocation_time: at(NOW - 5),
            reason_code: Some(reason),
            invalidity_date: None,
        };
        let (accepted, list) = list(&self.issuer, &self.root, 8, vec![revoked]);
        self.archive.put_once(&accepted.key, list, PKIX_CRL).await.unwrap();
        self.world.change(|kept| kept.comes = Some(accepted));
    }

    /// A certificate that waits in AWS IoT; its id.
    fn waits(&self, name: &str, key: &KeyPair) -> String {
        self.waits_since(name, key, NOW - 1000)
    }

    /// One that is good since an instant.
    fn waits_since(&self, name: &str, key: &KeyPair, since: i64) -> String {
        let mut params = params(name, false);
        params.not_before = at(since);
        // Otherwise two certificates for one key would have one number.
        let number = self.world.kept().certificates.len() as u64 + 100;
        params.serial_number = Some(SerialNumber::from(number));
        let der = params.signed_by(key, &self.issuer).unwrap().der().to_vec();
        let id = Certificate::read(&der).unwrap().id().to_string();
        let state = Some(CertificateState::Pending);
        self.world.change(|kept| _ = kept.certificates.insert(id.clone(), (certificate_pem(&der), state)));
        id
    }

    fn register(&self) -> Register<MemoryChannel> {
        let world = || Box::new(self.world.clone());
        let ports = Ports {
            iot: world(),
            registry: world(),
            manifest: world(),
            trust: world(),
            archive: Box::new(self.archive.clone()),
            readings: world(),
            outbox: Box::new(self.outbox.clone()),
            keep: world(),
            clock: Box::new(FixedClock::new(UnixMillis(NOW * 1000))),
        };
        let stack = StackName::new("acme".parse().unwrap(), "dev").unwrap();
        Register::new(Settings { stack, policy: "policy".into() }, ports, self.channel.clone())
    }

    /// Announces a certificate; whether it was dealt with.
    async fn announce(&self, id: &str) -> bool {
        let ca = "cd".repeat(32);
        let published = format!(r#"{{"certificateId":"{id}","caCertificateId":"{ca}"}}"#);
        let topic = format!("$aws/events/certificates/registered/{ca}");
        let body = NewRuleEvent {
            envelope: published.as_bytes(),
            thing: id,
            topic: &topic,
            client: None,
            principal: None,
            received: NOW * 1000,
        };
        let record = serde_json::json!({ "messageId": "m", "body": body.to_body() });
        let event: SqsEvent = serde_json::from_value(serde_json::json!({ "Records": [record] })).unwrap();
        self.register().handle(event).await.0.is_done()
    }

    fn reasons(&self) -> Vec<String> {
        self.world.kept().refused.keys().map(|(reason, _)| reason.clone()).collect()
    }

    fn device(&self, name: &str) -> Device {
        self.world.kept().devices[&name.parse().unwrap()].clone()
    }

    fn state(&self, id: &str) -> CertificateState {
        self.world.kept().certificates[id].1.unwrap()
    }
}

#[tokio::test]
async fn a_kill_at_any_point_only_delays() {
    let undisturbed = Site::new().await;
    undisturbed.expect("dev-1");
    let own = key();
    let id = undisturbed.waits("dev-1", &own);
    undisturbed.world.fuse.set(None);
    assert!(undisturbed.announce(&id).await);
    let points = undisturbed.world.fuse.passed();
    assert!(points > 20, "{points}");
    assert_eq!(undisturbed.state(&id), CertificateState::Active);
    for limit in 0..points {
        let site = Site::new().await;
        site.expect("dev-1");
        let id = site.waits("dev-1", &own);
        site.world.fuse.set(Some(limit));
        assert!(!site.announce(&id).await, "killed at {limit}");
        site.world.fuse.set(None);
        assert!(site.announce(&id).await, "again after {limit}");
        let kept = site.world.kept();
        assert!(!kept.too_early && kept.refused.is_empty(), "{limit}");
        assert_eq!(site.state(&id), CertificateState::Active);
        let device = &kept.devices[&"dev-1".parse().unwrap()];
        assert_eq!((device.certificate_id.as_str(), device.certificate_ids.len()), (id.as_str(), 1));
        assert!(device.admitting.is_empty(), "{limit}");
        assert_eq!(device.enrolled_at, Some(UnixMillis((NOW - 1000) * 1000)));
        let submitted = site.channel.submitted();
        assert_eq!(submitted.iter().filter(|(name, _)| name == "registry:register_device").count(), 1, "{limit}");
    }
}

#[tokio::test]
async fn a_refusal_leaves_it_inactive_wherever_it_is_killed() {
    let site = Site::new().await;
    let id = site.waits("dev-1", &key());
    site.world.fuse.set(None);
    assert!(site.announce(&id).await);
    for limit in 0..site.world.fuse.passed() {
        let site = Site::new().await;
        let id = site.waits("dev-1", &key());
        site.world.fuse.set(Some(limit));
        assert!(!site.announce(&id).await);
        site.world.fuse.set(None);
        assert!(site.announce(&id).await);
        assert_eq!(site.reasons(), ["not_in_manifest"], "{limit}");
        assert_eq!(site.state(&id), CertificateState::Inactive);
        assert_eq!(site.world.kept().refused.into_values().next().unwrap().unwrap().as_str(), "dev-1");
        // Its cause removed, it comes in.
        site.expect("dev-1");
        assert!(site.announce(&id).await);
        assert_eq!(site.state(&id), CertificateState::Active);
    }
}

#[tokio::test]
async fn who_it_is_decides() {
    let site = Site::new().await;
    let (own, foreign) = (key(), key());
    for name in ["dev-1", "dev-2", "dev-3"] {
        site.expect(name);
    }
    let first = site.waits("dev-1", &own);
    assert!(site.announce(&first).await);
    // Another certificate for its key is a renewal, and asks no manifest.
    site.world.change(|kept| _ = kept.expected.remove(&"dev-1".parse().unwrap()));
    let second = site.waits("dev-1", &own);
    assert!(site.announce(&second).await);
    let device = || site.world.kept().devices[&"dev-1".parse().unwrap()].clone();
    assert_eq!(device().certificate_ids, [first.clone(), second.clone()].into());
    assert!(site.reasons().is_empty());
    let mut wanted = Vec::new();
    for (name, key, reason) in [("dev-2", &own, "key_in_use"), ("dev-1", &foreign, "other_thing")] {
        let id = site.waits(name, key);
        assert!(site.announce(&id).await);
        assert_eq!(site.state(&id), CertificateState::Inactive, "{reason}");
        wanted.push(reason);
    }
    let theirs = BTreeMap::from([("customer".to_owned(), "globex".to_owned())]);
    site.world.change(|kept| _ = kept.things.insert("dev-3".parse().unwrap(), theirs));
    let id = site.waits("dev-3", &foreign);
    assert!(site.announce(&id).await);
    wanted.push("other_customer");
    let id = site.waits("no thing's name", &foreign);
    assert!(site.announce(&id).await);
    wanted.push("not_in_manifest");
    let mut told = site.reasons();
    told.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(told, wanted);
    // A suspended device's renewed certificate is known and stays out; a retired device is out for good.
    for (status, reason, known) in
        [(Status::Suspended, "device_suspended", true), (Status::Retired, "device_retired", false)]
    {
        site.world.change(|kept| kept.devices.get_mut(&"dev-1".parse().unwrap()).unwrap().status = status);
        let id = site.waits("dev-1", &own);
        assert!(site.announce(&id).await);
        assert!(site.reasons().iter().any(|told| told == reason), "{reason}");
        assert_eq!((site.state(&id), device().certificate_ids.contains(&id)), (CertificateState::Inactive, known));
    }
    // What AWS IoT has as revoked stays so, and what is active already is left alone.
    site.world.change(|kept| kept.certificates.get_mut(&second).unwrap().1 = Some(CertificateState::Revoked));
    assert!(site.announce(&second).await);
    assert!(site.reasons().iter().any(|told| told == "certificate_revoked"));
    assert_eq!(site.state(&second), CertificateState::Revoked);
}

#[tokio::test]
async fn a_successor_takes_the_place_of_the_device_that_the_manifest_names() {
    let site = Site::new().await;
    site.expect("dev-1");
    assert!(site.announce(&site.waits("dev-1", &key())).await);
    // Nobody is there to be replaced; then one that serves another metering point.
    let successor = |old: &str, point: &str| {
        site.expect("dev-2");
        site.world.change(|kept| {
            let expected = kept.expected.get_mut(&"dev-2".parse().unwrap()).unwrap();
            expected.replaces = Some(old.parse().unwrap());
            expected.metering_point = point.into();
        });
    };
    let own = key();
    for (old, point) in [("dev-0", "mp-dev-1"), ("dev-1", "mp-dev-2")] {
        successor(old, point);
        let id = site.waits("dev-2", &own);
        assert!(site.announce(&id).await);
        assert_eq!(site.state(&id), CertificateState::Inactive, "{old} {point}");
    }
    assert_eq!(site.reasons(), ["manifest_mismatch"; 2]);
    successor("dev-1", "mp-dev-1");
    let id = site.waits("dev-2", &own);
    assert!(site.announce(&id).await);
    assert_eq!(site.state(&id), CertificateState::Active);
    let device = site.world.kept().devices[&"dev-2".parse().unwrap()].clone();
    assert_eq!(device.replaces.as_ref().map(DeviceId::as_str), Some("dev-1"));
    let calls: Vec<String> = site.channel.submitted().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        calls,
        ["registry:register_device", "registry:certify", "registry:register_successor", "registry:certify"]
    );
}

#[tokio::test]
async fn the_ledger_gets_each_chain_once_and_the_entry_stays() {
    let site = Site::new().await;
    site.expect("dev-1");
    let (key, thing) = (key(), "dev-1".parse().unwrap());
    let first = site.waits("dev-1", &key);
    assert!(site.announce(&first).await);
    let ledger = Client::new(site.channel.clone());
    let der = |id: &str| certificate_der(&site.world.kept().certificates[id].0).unwrap();
    let chains = ledger.chains(&thing).await.unwrap();
    assert_eq!(chains.iter().map(|chain| &chain.certificates[0].0).collect::<Vec<_>>(), [&der(&first)]);
    assert_eq!(chains[0].certificates.len(), 1, "a root stays out of it");
    // The same announcement again, and a renewal.
    assert!(site.announce(&first).await);
    assert_eq!(ledger.chains(&thing).await.unwrap(), chains);
    let renewed = site.waits_since("dev-1", &key, NOW - 500);
    assert!(site.announce(&renewed).await);
    let chains = ledger.chains(&thing).await.unwrap();
    assert_eq!((chains.len(), &chains[1].certificates[0].0), (2, &der(&renewed)));
    assert_eq!(ledger.device(&thing).await.unwrap().revision, 0);
    assert!(site.reasons().is_empty());
}
