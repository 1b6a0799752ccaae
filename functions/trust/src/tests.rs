//! Lists that are carried out, killed at every point; and lists that change nothing.

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevocationReason, RevokedCertParams, SerialNumber,
};
use vitro_cloud::CloudError;
use vitro_cloud::config::StackName;
use vitro_cloud::devices::{Cause, Device, NewDevice, Status, StatusStore};
use vitro_cloud::identities::{CertificateHolder, CertificateIdentity};
use vitro_cloud::memory::{Fuse, MemoryArchive, MemoryDevices, MemoryOutbox};
use vitro_cloud::metrics::Metrics;
use vitro_cloud::trust::TrustedAuthority;
use vitro_proof::chain::{Certificate, Serial};
use vitro_proof::crypto::SoftwareSigner;
use vitro_proof::{DeviceId, Hash, SequenceNumber, Signer, UnixMillis};

use crate::ports::Ports;
use crate::{Looked, Taken};
use world::World;

const NOW: i64 = 1_768_000_000;
const LAST_GOOD: SequenceNumber = SequenceNumber(41);

/// An authority that signs.
struct Authority {
    id: Hash,
    key_hash: Hash,
    issuer: Issuer<'static, KeyPair>,
}

/// What a list says: its number, its first and last second from now, and who is on it.
struct Said<'a> {
    number: u64,
    from: i64,
    to: i64,
    revoked: &'a [(u64, Option<RevocationReason>)],
}

fn at(seconds: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
}

impl Authority {
    /// Signs a list.
    fn list(&self, said: &Said<'_>) -> Vec<u8> {
        let revoked = |(serial, reason): &(u64, Option<RevocationReason>)| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at(said.from),
            reason_code: *reason,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at(said.from),
            next_update: at(said.to),
            crl_number: SerialNumber::from(said.number),
            issuing_distribution_point: None,
            revoked_certs: said.revoked.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    fn url(&self) -> String {
        format!("https://crl.example/{}", self.id)
    }
}

/// A root, an intermediate with serial number 9 below it, and their devices.
struct Site {
    world: World,
    root: Authority,
    below: Authority,
}

impl Site {
    fn new() -> Self {
        let fuse = Fuse::default();
        let world = World {
            kept: Arc::default(),
            devices: MemoryDevices::new(fuse.clone(), []),
            archive: MemoryArchive::new(fuse.clone()),
            outbox: MemoryOutbox::new(fuse.clone()),
            fuse,
        };
        let root = authority(&world, None, 1);
        let below = authority(&world, Some(&root), 9);
        let site = Self { world, root, below };
        // By its issuer's serial numbers: two certificates of one device are its old and its newest.
        site.device("revoked", &site.root, &[11]);
        site.device("replaced", &site.root, &[21, 22]);
        site.device("stolen", &site.root, &[31, 32]);
        site.device("under", &site.below, &[41]);
        site.device("bystander", &site.root, &[51]);
        site
    }

    fn device(&self, name: &str, issuer: &Authority, serials: &[u64]) {
        let ids: Vec<String> = serials.iter().map(|serial| format!("{name}-{serial}")).collect();
        let table = r#"[{"version":1,"sensors":[{"name":"t","unit":"Cel","kind":"gauge"}]}]"#;
        let device: Device = NewDevice {
            id: name.parse().unwrap(),
            public_key: SoftwareSigner::from_scalar(&[7; 32]).unwrap().public_key(),
            certificate: "PEM".into(),
            certificate_id: ids.last().unwrap().clone(),
            enrolled_at: None,
            metering_point: format!("mp-{name}"),
            zone: "Etc/UTC".parse().unwrap(),
            shard: "north".into(),
            confidential: false,
            replaces: None,
            sensor_tables: serde_json::from_str(table).unwrap(),
        }
        .into();
        self.world.devices.put(Device { certificate_ids: ids.iter().cloned().collect(), ..device });
        let mut kept = self.world.kept.lock().unwrap();
        for (serial, id) in serials.iter().zip(ids) {
            let serial = Serial::from_bytes(&serial.to_be_bytes()).unwrap();
            let identity = CertificateIdentity::new(issuer.key_hash, serial);
            kept.holders.push((identity, CertificateHolder { device: name.parse().unwrap(), certificate_id: id }));
        }
    }

    fn publish(&self, authority: &Authority, list: Vec<u8>) {
        self.world.kept.lock().unwrap().lists.insert(authority.url(), list);
    }

    /// The list that the tests carry out: of everything one.
    fn revoke(&self) {
        let on_it = [
            (11, None),
            (21, Some(RevocationReason::Superseded)),
            (31, Some(RevocationReason::KeyCompromise)),
            (9, None),
        ];
        self.publish(&self.root, self.root.list(&Said { number: 8, from: -10, to: 500, revoked: &on_it }));
        self.publish(&self.below, self.below.list(&Said { number: 3, from: -10, to: 500, revoked: &[] }));
    }

    async fn look(&self) -> Result<Looked, CloudError> {
        let world = || Box::new(self.world.clone());
        let ports = Ports {
            trust: world(),
            archive: Box::new(self.world.archive.clone()),
            lists: world(),
            registry: world(),
            readings: world(),
            certificates: world(),
            outbox: Box::new(self.world.outbox.clone()),
        };
        let mut metrics = Metrics::new(StackName::new("acme".parse().unwrap(), "dev").unwrap());
        ports.look(UnixMillis(NOW * 1000), &mut metrics).await
    }
}

fn authority(world: &World, parent: Option<&Authority>, serial: u64) -> Authority {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Authority {serial}"));
    (params.not_before, params.not_after) = (at(-1000), at(1000));
    params.serial_number = Some(SerialNumber::from(serial));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let der = match parent {
        Some(parent) => params.signed_by(&key, &parent.issuer),
        None => params.self_signed(&key),
    };
    let der = der.unwrap().der().to_vec();
    let certificate = Certificate::read(&der).unwrap();
    let (id, key_hash) = (certificate.id().0, certificate.key_hash());
    let issuer_key = parent.map_or(key_hash, |parent| parent.key_hash);
    let made = Authority { id, key_hash, issuer: Issuer::new(params, key) };
    let trusted = TrustedAuthority {
        id,
        name: format!("Authority {serial}"),
        key_hash,
        identity: CertificateIdentity::new(issuer_key, certificate.serial().clone()),
        parent: parent.map(|parent| parent.id),
        not_after: certificate.not_after(),
        crl_url: Some(made.url()),
        added_at: UnixMillis(0),
        announces: true,
        crl: None,
        check: None,
        applied: None,
        revoked_at: None,
        certificate: der.clone(),
    };
    world.kept.lock().unwrap().authorities.push(trusted);
    made
}

fn suspended_for(device: &Device) -> Option<Cause> {
    let halted = (device.suspended_at, device.last_good) == (Some(UnixMillis(NOW * 1000)), Some(LAST_GOOD));
    device.cause.filter(|_| device.status == Status::Suspended && halted)
}

/// Everything that the list asks for is so.
async fn is_carried_out(site: &Site) {
    let world = &site.world;
    assert_eq!(suspended_for(&world.device("revoked").await), Some(Cause::CertificateRevoked));
    // Both certificates have one key.
    let stolen = world.device("stolen").await;
    assert_eq!(suspended_for(&stolen), Some(Cause::KeyCompromised));
    assert_eq!(stolen.revoked_certificates, ["stolen-31".to_owned(), "stolen-32".to_owned()].into());
    assert_eq!(suspended_for(&world.device("under").await), Some(Cause::IssuerRevoked));
    let replaced = world.device("replaced").await;
    assert_eq!((replaced.status, replaced.certificate_ids), (Status::Active, ["replaced-22".to_owned()].into()));
    assert_eq!(world.device("bystander").await.status, Status::Active);
    let kept = world.kept();
    assert_eq!(kept.revoked, ["replaced-21".to_owned()].into());
    for authority in &kept.authorities {
        let list = authority.crl.as_ref().unwrap();
        assert_eq!(authority.applied, Some((list.digest, UnixMillis(NOW * 1000))));
        assert!(world.archive.newest().contains_key(&list.key));
        assert_eq!(authority.revoked_at.is_some(), authority.id == site.below.id);
    }
}

#[tokio::test]
async fn a_kill_at_any_point_only_delays() {
    let undisturbed = Site::new();
    undisturbed.revoke();
    undisturbed.world.fuse.set(None);
    let looked = undisturbed.look().await.unwrap();
    assert_eq!(looked.authorities[0].suspended.len(), 3);
    is_carried_out(&undisturbed).await;
    undisturbed.world.fuse.set(None);
    undisturbed.look().await.unwrap();
    is_carried_out(&undisturbed).await;

    let points = {
        let site = Site::new();
        site.revoke();
        site.world.fuse.set(None);
        site.look().await.unwrap();
        site.world.fuse.passed()
    };
    assert!(points > 40, "{points}");
    for limit in 0..points {
        let site = Site::new();
        site.revoke();
        site.world.fuse.set(Some(limit));
        assert!(site.look().await.is_err(), "killed at {limit}");
        let killed = site.world.outbox.take().status;
        site.world.fuse.set(None);
        site.look().await.unwrap();
        is_carried_out(&site).await;
        // Whoever is suspended is told of, even if the kill fell between the two.
        let told: BTreeSet<String> =
            killed.into_iter().chain(site.world.outbox.take().status).map(|task| task.thing.to_string()).collect();
        assert_eq!(told, ["revoked", "stolen", "under"].map(str::to_owned).into(), "killed at {limit}");
    }
}

#[tokio::test]
async fn a_list_that_is_not_good_changes_nothing() {
    let site = Site::new();
    let nobody: &[(u64, Option<RevocationReason>)] = &[];
    site.publish(&site.root, site.root.list(&Said { number: 7, from: -100, to: 500, revoked: nobody }));
    site.publish(&site.below, site.below.list(&Said { number: 3, from: -100, to: 500, revoked: nobody }));
    let looked = site.look().await.unwrap();
    assert!(looked.authorities.iter().all(|report| report.list == Taken::Newer));
    let everybody: &[(u64, Option<RevocationReason>)] = &[(11, None), (51, None), (9, None)];
    let said = |number, from, to| Said { number, from, to, revoked: everybody };
    let good = site.root.list(&said(9, -10, 500));
    let flipped = {
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        flipped
    };
    let cases = [
        ("crl_number_backwards", Some(site.root.list(&said(6, -10, 500)))),
        ("crl_number_backwards", Some(site.root.list(&said(7, -10, 500)))),
        ("crl_stale", Some(site.root.list(&said(9, -100, -1)))),
        ("crl_not_yet_valid", Some(site.root.list(&said(9, 400, 500)))),
        ("crl_bad_signature", Some(flipped)),
        ("crl_other_issuer", Some(site.below.list(&said(9, -10, 500)))),
        ("crl_unreadable", Some(good[..good.len() / 2].to_vec())),
        ("crl_unreachable", None),
    ];
    let before = site.world.kept();
    for (reason, list) in cases {
        match list {
            Some(list) => site.publish(&site.root, list),
            None => _ = site.world.kept.lock().unwrap().lists.remove(&site.root.url()),
        }
        let looked = site.look().await.unwrap();
        let report = &looked.authorities[0];
        assert_eq!((report.list, report.fault), (Taken::Fault, Some(reason)));
        assert!(report.suspended.is_empty());
        let kept = site.world.kept();
        assert_eq!(
            (&kept.authorities[0].crl, kept.authorities[0].applied),
            (&before.authorities[0].crl, before.authorities[0].applied)
        );
        assert_eq!(kept.authorities[0].check.as_ref().unwrap().fault.as_ref().unwrap().0, reason);
        for name in ["revoked", "bystander", "under"] {
            assert_eq!(site.world.device(name).await.status, Status::Active, "{reason}");
        }
    }
    site.publish(&site.root, good);
    assert_eq!(site.look().await.unwrap().authorities[0].suspended.len(), 3);
}

#[tokio::test]
async fn who_came_back_with_another_certificate_stays() {
    let site = Site::new();
    site.revoke();
    site.look().await.unwrap();
    let revoked = site.world.device("revoked").await;
    let again = Device {
        certificate_id: "revoked-12".into(),
        certificate_ids: ["revoked-11".to_owned(), "revoked-12".to_owned()].into(),
        status_applied: revoked.status_revision,
        ..revoked
    };
    site.world.devices.put(again);
    site.world.devices.activate(&"revoked".parse().unwrap(), Some("revoked-12")).await.unwrap();
    // The list names its old certificate for ever.
    site.world.kept.lock().unwrap().authorities[0].applied = None;
    assert!(site.look().await.unwrap().authorities[0].suspended.is_empty());
    assert_eq!(site.world.device("revoked").await.status, Status::Active);
}

#[tokio::test]
async fn a_long_list_is_looked_up_in_hundreds() {
    let site = Site::new();
    let mut on_it: Vec<(u64, Option<RevocationReason>)> = (1000..21_000).map(|serial| (serial, None)).collect();
    on_it.push((11, None));
    site.device("last", &site.root, &[999_999]);
    on_it.push((999_999, None));
    site.publish(&site.root, site.root.list(&Said { number: 8, from: -10, to: 500, revoked: &on_it }));
    site.publish(&site.below, site.below.list(&Said { number: 3, from: -10, to: 500, revoked: &[] }));
    site.world.fuse.set(None);
    let suspended = site.look().await.unwrap().authorities[0].suspended.clone();
    assert_eq!(suspended.iter().map(DeviceId::as_str).collect::<Vec<_>>(), ["last", "revoked"]);
    let calls = site.world.fuse.passed() / 2;
    assert!(calls < 300, "{calls} calls for {} entries", on_it.len());
}

#[tokio::test]
async fn a_compromised_key_is_so_whatever_became_of_its_certificate() {
    let site = Site::new();
    let superseded: &[(u64, Option<RevocationReason>)] = &[(21, Some(RevocationReason::Superseded)), (11, None)];
    site.publish(&site.root, site.root.list(&Said { number: 8, from: -10, to: 500, revoked: superseded }));
    site.publish(&site.below, site.below.list(&Said { number: 3, from: -10, to: 500, revoked: &[] }));
    site.look().await.unwrap();
    assert_eq!(site.world.device("replaced").await.certificate_ids, ["replaced-22".to_owned()].into());
    // One came back with another certificate for its key, the other had withdrawn the one that now turns out to be compromised.
    let revoked = site.world.device("revoked").await;
    site.world.devices.put(Device { certificate_id: "revoked-12".into(), ..revoked });
    let (id, name) = ("revoked".parse().unwrap(), "revoked-12");
    assert!(site.world.devices.activate(&id, Some(name)).await.unwrap().changed);
    let compromised = [21, 11].map(|serial| (serial, Some(RevocationReason::KeyCompromise)));
    site.publish(&site.root, site.root.list(&Said { number: 9, from: -10, to: 500, revoked: &compromised }));
    let suspended = &site.look().await.unwrap().authorities[0].suspended;
    assert_eq!(*suspended, ["replaced", "revoked"].map(|name| name.parse().unwrap()).into());
    for name in ["replaced", "revoked"] {
        let device = site.world.device(name).await;
        assert_eq!(suspended_for(&device), Some(Cause::KeyCompromised), "{name}");
        let newest = device.certificate_id.clone();
        assert!(site.world.devices.activate(&device.id, Some(&newest)).await.is_err(), "{name}");
    }
    // It is carried out once.
    site.world.kept.lock().unwrap().authorities[0].applied = None;
    assert!(site.look().await.unwrap().authorities[0].suspended.is_empty());
}

#[tokio::test]
async fn one_device_that_fails_holds_up_none_of_the_others() {
    let site = Site::new();
    site.revoke();
    site.world.kept.lock().unwrap().stubborn = Some("replaced-21".into());
    for _ in 0..2 {
        assert!(matches!(site.look().await, Err(CloudError::NotFound(_))));
        for name in ["revoked", "stolen", "under"] {
            assert_eq!(site.world.device(name).await.status, Status::Suspended, "{name}");
        }
        assert_eq!(site.world.kept().authorities[0].applied, None, "it has to be done again");
    }
    site.world.kept.lock().unwrap().stubborn = None;
    site.look().await.unwrap();
    is_carried_out(&site).await;
}

#[tokio::test]
async fn an_authority_that_goes_over_to_another_certificate_takes_nobody_with_it() {
    for (reason, out) in
        [(Some(RevocationReason::Superseded), false), (Some(RevocationReason::CaCompromise), true), (None, true)]
    {
        let site = Site::new();
        // The same key, under another certificate of the same root.
        let second = {
            let mut second = site.world.kept().authorities[1].clone();
            second.id = Hash([0xee; 32]);
            second.identity.serial = Serial::from_bytes(&[10]).unwrap();
            second.crl_url = None;
            second
        };
        site.world.kept.lock().unwrap().authorities.push(second);
        let old = [(9, reason)];
        site.publish(&site.root, site.root.list(&Said { number: 8, from: -10, to: 500, revoked: &old }));
        site.publish(&site.below, site.below.list(&Said { number: 3, from: -10, to: 500, revoked: &[] }));
        site.look().await.unwrap();
        assert_eq!(site.world.device("under").await.status == Status::Suspended, out, "{reason:?}");
        assert!(site.world.kept().authorities[1].revoked_at.is_some());
        // And with both on the list, nothing is left to stand on.
        let both = [(9, reason), (10, reason)];
        site.publish(&site.root, site.root.list(&Said { number: 9, from: -5, to: 500, revoked: &both }));
        site.look().await.unwrap();
        assert_eq!(suspended_for(&site.world.device("under").await), Some(Cause::IssuerRevoked));
    }
}
