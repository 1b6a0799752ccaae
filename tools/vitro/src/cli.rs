//! The command line's grammar.

use clap::{Args, Parser, Subcommand};

use crate::commands::{ca, command_key, data_key, days, device, ledger, manifest, proof, quarantine, readings, trust};

/// Vitro's operator: authorities, devices, keys; what was stored, refused and agreed on.
#[derive(Debug, Parser)]
#[command(name = "vitro", version, propagate_version = true, max_term_width = 110, after_help = AFTER_HELP)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Credentials, region and endpoints are found as every AWS program finds them; AWS_ENDPOINT_URL points at a local stack.
Exit codes: 0 done, 1 refused or failed, 2 wrong arguments, 3 not there, 75 a dependency is away (try again).";

/// Which installation is meant.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Customer whose installation is meant
    #[arg(long, global = true, env = "VITRO_CUSTOMER", value_name = "NAME")]
    pub customer: Option<String>,
    /// Stage of the installation
    #[arg(long, global = true, env = "VITRO_STAGE", value_name = "NAME", default_value = "dev")]
    pub stage: String,
    /// AWS region; default: as every AWS program finds it
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Certificate authorities that vouch for devices
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Devices: keys, certificates, registration
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// The authorities whose devices are taken in, and where their revocation lists are
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    /// What the customer says about devices to come
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),
    /// The key that commands to devices are signed with
    #[command(subcommand)]
    CommandKey(command_key::CommandKeyCommand),
    /// The keys that confidential devices encrypt for
    #[command(subcommand)]
    DataKey(data_key::DataKeyCommand),
    /// A day's stored readings, each signature verified again
    Readings(readings::ReadingsArgs),
    /// Where a device's days stand
    Days(days::DaysArgs),
    /// One day: outcome, summaries of both sides, and where each figure comes from
    Day(days::DayArgs),
    /// Ask for a parked day to be published again, once its cause is removed
    Republish(days::RepublishArgs),
    /// What was refused or parked
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Evidence that a single reading or sign of life is part of what is on the ledger
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// The ledger, as the party that a connection profile names
    Ledger(ledger::LedgerArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.kind())
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_every_command_stand_anywhere() {
        for line in [
            "vitro --customer acme --stage test --region eu-central-1 days dev-1 --json",
            "vitro days dev-1 --json --customer acme --stage test --region eu-central-1",
        ] {
            let global = parse(line).unwrap().global;
            assert_eq!((global.customer.as_deref(), global.stage.as_str()), (Some("acme"), "test"));
            assert_eq!(global.region.as_deref(), Some("eu-central-1"));
        }
        let ledger = parse("vitro ledger status --profile p.json --json").unwrap();
        assert!(matches!(ledger.command, Command::Ledger(args) if args.json && args.profile.is_some()));
    }

    #[test]
    fn wrong_arguments_are_told_before_anything_is_done() {
        use clap::error::ErrorKind::{ArgumentConflict, InvalidValue, MissingRequiredArgument, ValueValidation};
        for (line, kind) in [
            ("vitro device show a/b", ValueValidation),
            ("vitro device suspend dev-1 --last-good 3 --nothing-good", ArgumentConflict),
            ("vitro device exchange dev-1", MissingRequiredArgument),
            ("vitro device new dev-1 --ca c --out o --sensors s --zone Etc/UTC", MissingRequiredArgument),
            ("vitro readings dev-1 --day 2026-02-30", ValueValidation),
            ("vitro readings dev-1", MissingRequiredArgument),
            ("vitro ca new d --name x --not-before yesterday", ValueValidation),
            ("vitro ca new d --name x --not-after 2026-01-01T00:00:00Z --valid-days 3", ArgumentConflict),
            ("vitro ca new d --name x --path-length 9", ValueValidation),
            ("vitro ca intermediate d --name x", MissingRequiredArgument),
            ("vitro ca revoke d", MissingRequiredArgument),
            ("vitro ca revoke d --serial 00", ValueValidation),
            ("vitro ca revoke d --serial 01 --device dev-1", ArgumentConflict),
            ("vitro device renew dev-1 --folder f", MissingRequiredArgument),
            ("vitro device renew dev-1 --folder f --ca c --finish", ArgumentConflict),
            ("vitro ledger approve-devices", MissingRequiredArgument),
            ("vitro ledger approve-devices dev-1 --shard west", ArgumentConflict),
            ("vitro ledger approve-devices --shard west --file list.csv", ArgumentConflict),
            ("vitro ledger approve-devices --shard west --yes", InvalidValue),
            ("vitro ledger approve-devices --shard west --yes 00ff", ValueValidation),
            (
                "vitro ledger approve-devices --file list.csv --yes \
                 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                ArgumentConflict,
            ),
            ("vitro proof alive dev-1", MissingRequiredArgument),
            ("vitro proof reading dev-1 17", MissingRequiredArgument),
            ("vitro proof reading dev-1 17 --block 3 --day 2026-01-02", ArgumentConflict),
            ("vitro device publish dev-1 --wait 3601", ValueValidation),
            ("vitro ledger register-device", MissingRequiredArgument),
            ("vitro ledger statement abc", ValueValidation),
            ("vitro ledger close a/b --from 2026-01-01 --to 2026-01-02", ValueValidation),
            ("vitro ledger approve a --hash 00", ValueValidation),
            ("vitro ledger discover", MissingRequiredArgument),
            ("vitro ledger discover --network n-1 --tls-ca s3://bucket", ValueValidation),
            ("vitro ledger make-profile p --identity i --out o", MissingRequiredArgument),
            ("vitro ledger make-profile p --identity i --out o --operator A --required A", ArgumentConflict),
            ("vitro ledger make-profile p --identity i --out o --any-of 3:A,B", ValueValidation),
            ("vitro ledger enroll --msp M --enrollment-id a --out o", MissingRequiredArgument),
            ("vitro ledger enroll --ca https://x --msp M --enrollment-id a --out o", MissingRequiredArgument),
            (
                "vitro ledger enroll --ca https://x --tls-ca c --part p --msp M --enrollment-id a --out o",
                ArgumentConflict,
            ),
            ("vitro ledger enroll --part p --msp M --enrollment-id a --out secret:", ValueValidation),
            ("vitro ledger register-identity --part p --identity i --enrollment-id a", MissingRequiredArgument),
        ] {
            assert_eq!(parse(line).unwrap_err(), kind, "{line}");
        }
    }
}
