//! Chains and revocation lists of another origin (`tests/outsider/chains.py`): what is good is taken, everything else is refused by
//! its code.

use serde_json::Value;
use vitro_proof::chain::{ChainFault, ChainPolicy, Crl, CrlFault, verify_chain};
use vitro_proof::{Reason, UnixMillis};

use crate::vectors::{load, un};

fn array<'v>(vector: &'v Value, name: &str) -> &'v Vec<Value> {
    vector[name].as_array().unwrap()
}

fn now(vector: &Value) -> UnixMillis {
    UnixMillis(vector["now"].as_i64().unwrap() * 1000)
}

#[test]
fn chains_of_another_origin() {
    let file = load("chains.json");
    let mut told = std::collections::BTreeSet::new();
    for vector in array(&file, "chains") {
        let name = vector["name"].as_str().unwrap();
        let ders = |field: &str| -> Vec<Vec<u8>> { array(vector, field).iter().map(un).collect() };
        let (issuers, roots) = (ders("issuers"), ders("roots"));
        let lists: Vec<Crl> = array(vector, "lists")
            .iter()
            // A list of an authority that may not sign any is no list.
            .filter_map(|list| Crl::verify(&un(&list["list"]), &un(&list["issuer"])).ok())
            .collect();
        let issuers: Vec<&[u8]> = issuers.iter().map(Vec::as_slice).collect();
        let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
        let lists: Vec<&Crl> = lists.iter().collect();
        let verdict =
            verify_chain(&un(&vector["leaf"]), &issuers, &roots, &lists, now(vector), ChainPolicy::WithRevocation);
        let code = verdict.as_ref().map_or_else(|fault| fault.reason(), |_| "good");
        assert_eq!(code, vector["verdict"].as_str().unwrap(), "{name}: {verdict:?}");
        told.insert(code);
    }
    assert_eq!(told.len(), 13, "every code and one good: {told:?}");
}

#[test]
fn lists_of_another_origin() {
    let file = load("chains.json");
    for vector in array(&file, "lists") {
        let name = vector["name"].as_str().unwrap();
        let verdict = Crl::parse_and_verify(&un(&vector["list"]), &un(&vector["issuer"]), now(vector));
        let code = verdict.as_ref().map_or_else(|fault| fault.reason(), |_| "good");
        assert_eq!(code, vector["verdict"].as_str().unwrap(), "{name}: {:?}", verdict.err());
        let Some(revoked) = vector.get("revoked") else { continue };
        let list = verdict.unwrap();
        assert_eq!(list.number().to_string(), vector["number"].as_str().unwrap(), "{name}");
        let said: serde_json::Map<String, Value> =
            list.revoked().map(|(serial, what)| (serial.to_string(), what.reason.as_str().into())).collect();
        assert_eq!(Value::Object(said), *revoked, "{name}");
    }
}

#[test]
fn every_chain_reason_has_a_code_of_its_own_on_the_page() {
    let page = std::fs::read_to_string(crate::vectors::folder().join("../../docs/reasons.md")).unwrap();
    let section = page.split("## Chain").nth(1).unwrap().split("\n## ").next().unwrap();
    let (when, text) = (UnixMillis(0), String::new);
    let reason = vitro_proof::chain::RevocationReason::Unspecified;
    let cause = vitro_proof::chain::BrokenLink::Signature;
    let number = vitro_proof::chain::CrlNumber::from(0);
    let mut codes = vec![
        ChainFault::UnknownCa { issuer: text() }.reason(),
        ChainFault::WrongCurve { certificate: text() }.reason(),
        ChainFault::BadChain { certificate: text(), cause }.reason(),
        ChainFault::NotADeviceCertificate("").reason(),
        ChainFault::IssuerExpired { issuer: text(), not_after: when }.reason(),
        ChainFault::IssuerNotYetValid { issuer: text(), not_before: when }.reason(),
        ChainFault::CertificateExpired { not_after: when }.reason(),
        ChainFault::CertificateNotYetValid { not_before: when }.reason(),
        ChainFault::CrlMissing { issuer: text(), certificate: text() }.reason(),
        ChainFault::CrlExpired { issuer: text(), next_update: when }.reason(),
        ChainFault::IssuerRevoked { issuer: text(), at: when, reason }.reason(),
        ChainFault::CertificateRevoked { at: when, reason }.reason(),
        CrlFault::Unreadable(text()).reason(),
        CrlFault::Unsupported("").reason(),
        CrlFault::OtherIssuer("").reason(),
        CrlFault::BadSignature.reason(),
        CrlFault::Stale { next_update: when }.reason(),
        CrlFault::NotYetValid { this_update: when }.reason(),
        CrlFault::NumberBackwards { number, known: number }.reason(),
    ];
    for code in &codes {
        assert!(section.contains(&format!("`{code}`")), "{code} is not in docs/reasons.md");
    }
    let all = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), all);
}
