//! An agreement as people write it: TOML or JSON with the contract's own names, and shorter where nothing is lost.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use vitro_contract::{Agreement, AgreementId, Bytes, Currency, Field, MeteringPoint, Payee, Role, Shard, Tariff, Term};

use super::certify;
use crate::error::CliError;
use crate::files;

/// The file. What is sorted in the contract may stand in any order here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgreementFile {
    id: AgreementId,
    shard: Shard,
    /// Left out for all metering points of the shard.
    #[serde(default)]
    points: Option<Vec<MeteringPoint>>,
    /// Left out where only the tariff's own sensor is of interest.
    #[serde(default)]
    fields: Option<Vec<Field>>,
    tariff: Tariff,
    /// A code of ISO 4217, or the contract's code and digits.
    currency: CurrencyFile,
    term: Term,
    payer: Role,
    payees: Vec<Payee>,
    /// Authorities whose devices count without approval: PEM files, by paths from this file's folder.
    #[serde(default)]
    authority_files: Vec<PathBuf>,
    /// The same as the contract has them.
    #[serde(default)]
    authorities: Vec<Bytes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CurrencyFile {
    Code(String),
    Full(Currency),
}

/// Reads an agreement and checks what can be checked of it alone.
///
/// # Errors
/// [`CliError::File`], [`CliError::Malformed`] with the first rule that it breaks.
pub(super) fn read(path: &Path) -> Result<Agreement, CliError> {
    let what = || path.display().to_string();
    let text = files::read(path)?;
    let file: AgreementFile = if path.extension().is_some_and(|extension| extension == "json") {
        serde_json::from_str(&text).map_err(|e| CliError::malformed(what(), e))?
    } else {
        toml::from_str(&text).map_err(|e| CliError::malformed(what(), e))?
    };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut pinned = file.authorities.clone();
    for file in &file.authority_files {
        pinned.extend(certify::of_file(&folder.join(file))?.into_iter().map(Bytes));
    }
    pinned.sort();
    let agreement = assemble(file, pinned);
    agreement.check().map_err(|e| CliError::malformed(what(), e))?;
    Ok(agreement)
}

fn assemble(file: AgreementFile, authorities: Vec<Bytes>) -> Agreement {
    let Tariff::PerUnit(tariff) = &file.tariff;
    let own = Field { sensor: tariff.sensor.clone(), unit: tariff.unit.clone() };
    let mut fields = file.fields.unwrap_or_else(|| vec![own]);
    fields.sort_by(|a, b| a.sensor.cmp(&b.sensor));
    let mut payees = file.payees;
    payees.sort_by_key(|payee| payee.role);
    Agreement {
        id: file.id,
        shard: file.shard,
        points: file.points.map(|mut points| {
            points.sort();
            points
        }),
        fields,
        tariff: file.tariff,
        currency: match file.currency {
            CurrencyFile::Code(code) => Currency::of(&code),
            CurrencyFile::Full(currency) => currency,
        },
        term: file.term,
        payer: file.payer,
        payees,
        authorities,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki;

    const TOML: &str = r#"
        id = "ppa-1"
        shard = "west"
        currency = "USD"
        payer = "dv"
        payees = [{ role = "sp", share = 3 }, { role = "rc", share = 7 }]
        [tariff]
        kind = "per_unit"
        sensor = "yield"
        unit = "kWh"
        price = "0.25"
        [term]
        period = "day"
        from = "2026-01-01"
    "#;

    fn read_as(name: &str, text: &str) -> Result<Agreement, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn short_and_full_forms_are_one_agreement() {
        let short = read_as("a.toml", TOML).unwrap();
        assert_eq!(short.payees[0].role, Role::Rc);
        assert_eq!((short.currency.code.as_str(), short.currency.digits), ("USD", 2));
        let full = read_as("a.json", &serde_json::to_string(&short).unwrap()).unwrap();
        assert_eq!(full.hash(), short.hash());
    }

    #[test]
    fn an_authority_is_pinned_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let valid = pki::Validity::new(1_700_000_000, 2_000_000_000).unwrap();
        let pem = pki::root_certificate("Acme devices", &pki::new_key().unwrap(), valid, 1).unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, format!("authority_files = [\"ca.pem\"]\n{TOML}")).unwrap();
        let pinned = read(&path).unwrap();
        assert_eq!(pinned.authorities, [Bytes(pki::der(&pem).unwrap())]);
        let full = read_as("a.json", &serde_json::to_string(&pinned).unwrap()).unwrap();
        assert_eq!(full.hash(), pinned.hash());
        assert_ne!(full.hash(), read_as("a.toml", TOML).unwrap().hash());
        std::fs::write(&path, format!("authority_files = [\"ca.pem\", \"ca.pem\"]\n{TOML}")).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("occurs once"));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (from, to, told) in [
            ("price = \"0.25\"", "price = \"-1\"", "below zero"),
            ("payer = \"dv\"", "payer = \"rc\"", "none is the payer"),
            ("shard = \"west\"", "shard = \"we/st\"", "not a name"),
            ("currency = \"USD\"", "currency = \"usd\"", "three capitals"),
            ("[term]", "surprise = 1\n[term]", "surprise"),
        ] {
            let message = read_as("a.toml", &TOML.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains("a.toml") && message.contains(told), "{message}");
        }
    }
}
