//! Certificates that were ended, or end while they are registered: an announcement that is delivered again revives none.

use rcgen::RevocationReason;
use vitro_cloud::devices::{Cause, Status};
use vitro_proof::{SequenceNumber, UnixMillis};

use super::{NOW, Site, key};
use crate::ports::CertificateState;

/// A device with a certificate and a later one for the same key.
async fn renewed() -> (Site, String, String) {
    let (site, own) = (Site::new().await, key());
    site.expect("dev-1");
    let (first, second) = (site.waits("dev-1", &own), site.waits_since("dev-1", &own, NOW - 100));
    for id in [&first, &second] {
        assert!(site.announce(id).await);
    }
    assert_eq!(site.device("dev-1").certificate_id, second);
    (site, first, second)
}

impl Site {
    fn set_state(&self, id: &str, state: CertificateState) {
        self.world.change(|kept| kept.certificates.get_mut(id).unwrap().1 = Some(state));
    }
}

#[tokio::test]
async fn what_a_renewal_ended_stays_ended() {
    let (site, first, second) = renewed().await;
    // `vitro device renew --finish`
    site.world
        .change(|kept| _ = kept.devices.get_mut(&"dev-1".parse().unwrap()).unwrap().certificate_ids.remove(&first));
    for state in [CertificateState::Inactive, CertificateState::Pending] {
        site.set_state(&first, state);
        assert!(site.announce(&first).await);
        assert_eq!(site.state(&first), CertificateState::Inactive);
        let device = site.device("dev-1");
        assert_eq!((&device.certificate_id, &device.certificate_ids), (&second, &[second.clone()].into()));
    }
    assert_eq!(site.reasons(), ["certificate_withdrawn"]);
    assert_eq!(site.state(&second), CertificateState::Active);
}

#[tokio::test]
async fn what_somebody_ended_by_hand_stays_ended() {
    let (site, _, second) = renewed().await;
    site.set_state(&second, CertificateState::Inactive);
    assert!(site.announce(&second).await);
    assert_eq!(
        (site.state(&second), site.reasons()),
        (CertificateState::Inactive, vec!["certificate_withdrawn".into()])
    );
    // A reinstatement that AWS IoT has not heard of yet holds it back as well, and nobody ended it.
    site.world.change(|kept| kept.devices.get_mut(&"dev-1".parse().unwrap()).unwrap().status_revision = 2);
    assert!(site.announce(&second).await);
    assert_eq!(site.state(&second), CertificateState::Active);
}

#[tokio::test]
async fn a_replay_that_is_killed_comes_to_its_end() {
    let own = key();
    let refused = || async {
        let site = Site::new().await;
        let id = site.waits("dev-1", &own);
        assert!(site.announce(&id).await);
        assert_eq!(site.state(&id), CertificateState::Inactive);
        site.expect("dev-1");
        site.world.fuse.set(None);
        (site, id)
    };
    let (undisturbed, id) = refused().await;
    assert!(undisturbed.announce(&id).await);
    for limit in 0..undisturbed.world.fuse.passed() {
        let (site, id) = refused().await;
        site.world.fuse.set(Some(limit));
        assert!(!site.announce(&id).await, "killed at {limit}");
        site.world.fuse.set(None);
        assert!(site.announce(&id).await, "again after {limit}");
        assert_eq!(site.state(&id), CertificateState::Active, "{limit}");
        assert!(site.device("dev-1").admitting.is_empty(), "{limit}");
        assert_eq!(site.reasons(), ["not_in_manifest"], "{limit}");
    }
}

#[tokio::test]
async fn an_older_certificate_takes_no_newer_ones_place() {
    let (site, own) = (Site::new().await, key());
    site.expect("dev-1");
    let (older, newer) = (site.waits_since("dev-1", &own, NOW - 900), site.waits_since("dev-1", &own, NOW - 100));
    for id in [&newer, &older] {
        assert!(site.announce(id).await);
        assert_eq!((site.state(id), site.device("dev-1").certificate_id), (CertificateState::Active, newer.clone()));
    }
    assert_eq!(site.device("dev-1").certificate_ids, [older, newer.clone()].into());
    // Unless the newer one was revoked: then any other is better.
    let revoke = |device: &mut vitro_cloud::devices::Device| _ = device.revoked_certificates.insert(newer.clone());
    site.world.change(|kept| revoke(kept.devices.get_mut(&"dev-1".parse().unwrap()).unwrap()));
    let other = site.waits_since("dev-1", &own, NOW - 500);
    assert!(site.announce(&other).await);
    assert_eq!(site.device("dev-1").certificate_id, other);
}

#[tokio::test]
async fn revoked_while_it_registers_it_is_out_wherever_it_is_killed() {
    let cases = [
        (RevocationReason::Superseded, Cause::CertificateRevoked),
        (RevocationReason::KeyCompromise, Cause::KeyCompromised),
    ];
    for (reason, cause) in cases {
        let own = key();
        let about_to = || async {
            let site = Site::new().await;
            site.expect("dev-1");
            let id = site.waits("dev-1", &own);
            site.revokes_while_it_registers(&id, reason).await;
            site.world.fuse.set(None);
            (site, id)
        };
        let (undisturbed, id) = about_to().await;
        assert!(undisturbed.announce(&id).await);
        let points = undisturbed.world.fuse.passed();
        for limit in 0..=points {
            let (site, id) = about_to().await;
            site.world.fuse.set(Some(limit));
            assert_eq!(site.announce(&id).await, limit == points, "killed at {limit}");
            let told_before = site.outbox.take().status;
            site.world.fuse.set(None);
            assert!(site.announce(&id).await, "again after {limit}");
            let device = site.device("dev-1");
            assert_eq!((device.status, device.cause), (Status::Suspended, Some(cause)), "{limit}");
            assert_eq!(device.last_good, Some(SequenceNumber(41)));
            assert_eq!(device.suspended_at, Some(UnixMillis(NOW * 1000)));
            assert!(device.revoked_certificates.contains(&id), "{limit}");
            assert_eq!(site.state(&id), CertificateState::Inactive, "{limit}");
            assert_eq!(site.reasons(), ["certificate_revoked"], "{limit}");
            let told = told_before.into_iter().chain(site.outbox.take().status);
            assert!(told.into_iter().any(|task| task.thing.as_str() == "dev-1"), "killed at {limit}");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_called_compromised_is_so_by_whatever_certificate() {
    for (reason, out) in [(RevocationReason::KeyCompromise, true), (RevocationReason::Superseded, false)] {
        let site = Site::new().await;
        site.expect("dev-1");
        let own = key();
        assert!(site.announce(&site.waits("dev-1", &own)).await);
        // Another certificate for its key, which nobody has shown so far, is on the list when somebody does.
        let second = site.waits("dev-1", &own);
        site.revokes_while_it_registers(&second, reason).await;
        site.world.change(|kept| kept.authorities[0].crl = kept.comes.take());
        assert!(site.announce(&second).await);
        assert_eq!(
            (site.state(&second), site.reasons()),
            (CertificateState::Inactive, vec!["certificate_revoked".to_owned()])
        );
        let device = site.device("dev-1");
        let told = site.outbox.take().status.len();
        if out {
            assert_eq!((device.status, device.cause, told), (Status::Suspended, Some(Cause::KeyCompromised), 1));
        } else {
            assert_eq!((device.status, told), (Status::Active, 0));
        }
    }
}
