//! One authority's list: taken, or why not.

use vitro_cloud::CloudError;
use vitro_cloud::days::ObjectRef;
use vitro_cloud::trust::{AcceptedCrl, PKIX_CRL, TrustedAuthority, crl_key};
use vitro_proof::UnixMillis;
use vitro_proof::chain::Crl;
use vitro_proof::crypto::sha256;

use crate::fault::Fault;
use crate::ports::Ports;

/// What came of looking for a newer list.
pub(crate) enum Refreshed {
    /// There is a newer one, and it is in force now.
    Newer(AcceptedCrl),
    /// The last one is still the newest.
    Same,
    /// What was found is not taken.
    Fault(Fault),
}

impl Ports {
    /// Looks for a newer list at the authority's address. It is in the archive before it is in force.
    pub(crate) async fn refresh(
        &self,
        authority: &TrustedAuthority,
        url: &str,
        now: UnixMillis,
    ) -> Result<Refreshed, CloudError> {
        let bytes = match self.lists.fetch(url).await {
            Ok(bytes) => bytes,
            Err(fault) => return Ok(Refreshed::Fault(fault)),
        };
        let list = match Crl::parse_and_verify(&bytes, &authority.certificate, now) {
            Ok(list) => list,
            Err(fault) => return Ok(Refreshed::Fault(fault.into())),
        };
        if let Some(known) = &authority.crl {
            if known.digest == list.hash() {
                return Ok(Refreshed::Same);
            }
            if let Err(fault) = list.check_follows(known.number) {
                return Ok(Refreshed::Fault(fault.into()));
            }
            if known.number == list.number() {
                // An authority may sign a list anew; what it says must be the same.
                let same = says_the_same(&list, &self.list(authority, known).await?);
                let fault = || Refreshed::Fault(Fault::SameNumber(list.number().to_string()));
                return Ok(if same { Refreshed::Same } else { fault() });
            }
        }
        let accepted = AcceptedCrl {
            number: list.number(),
            this_update: list.this_update(),
            next_update: list.next_update(),
            digest: sha256(&[&bytes]),
            key: crl_key(authority.id, list.number(), list.hash()),
        };
        self.archive.put_once(&accepted.key, bytes, PKIX_CRL).await?;
        // Whoever was faster had a newer one; the next look reads it.
        Ok(if self.trust.accept(authority.id, &accepted).await? { Refreshed::Newer(accepted) } else { Refreshed::Same })
    }

    /// An accepted list, from the archive.
    pub(crate) async fn list(&self, authority: &TrustedAuthority, accepted: &AcceptedCrl) -> Result<Crl, CloudError> {
        let object = ObjectRef { key: accepted.key.clone(), version: String::new() };
        let bytes = self.archive.get(&object).await?;
        let damaged = |detail: String| CloudError::damaged(format!("the archive's {}", accepted.key), detail);
        let list = Crl::verify(&bytes, &authority.certificate).map_err(|fault| damaged(fault.to_string()))?;
        if list.hash() == accepted.digest { Ok(list) } else { Err(damaged(format!("its digest is {}", list.hash()))) }
    }
}

fn says_the_same(one: &Crl, other: &Crl) -> bool {
    one.this_update() == other.this_update()
        && one.next_update() == other.next_update()
        && one.revoked().eq(other.revoked())
}
