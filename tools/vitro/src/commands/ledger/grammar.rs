//! The grammar of `vitro ledger`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vitro_contract::{AgreementId, MspId, Shard};
use vitro_ledger::EndorserGroup;
use vitro_proof::{DeviceId, Hash, LocalDay};

use super::lifecycle;
use crate::fabric_ca::Attribute;
use crate::identity::IdentityPlace;
use crate::instant::parse_instant;
use crate::pem_source::PemSource;
use crate::secret_source::SecretSource;

/// `vitro ledger` with its own flags.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// Connection profile of the calling party: where the network is, and as whom to speak (JSON, readable by its owner alone)
    #[arg(long, global = true, env = "VITRO_LEDGER_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do on the ledger.
    #[command(subcommand)]
    pub command: LedgerCommand,
}

/// What to do on the ledger.
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// How far the chain is, and who plays which role
    Status,
    /// Show a block of the chain
    Block {
        /// Its number
        number: u64,
    },
    /// Show a transaction
    Transaction {
        /// Its id
        id: String,
    },
    /// Show what the contract told, block by block, a line each
    Events(EventsArgs),
    /// Bring the chaincode onto the channel: install, approve, commit
    #[command(subcommand)]
    Lifecycle(lifecycle::LifecycleCommand),
    /// Submit this party's word on who plays which role; in force when all four said the same (admin)
    ConfigureRoles(RolesArgs),
    /// Register devices on the ledger as the AWS registry has them (operator)
    RegisterDevice {
        /// Thing names
        #[arg(required = true)]
        things: Vec<DeviceId>,
    },
    /// Register a device's certificate chain: by it the device counts for agreements that pin its authority (operator)
    Certify {
        /// Thing name
        thing: DeviceId,
        /// The chain in PEM, the device's own certificate first; left out, it is taken from the registry and the trust store
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
    },
    /// Approve devices: those of a list of one's own, or those whose entries were read (admin of RC, DV)
    ApproveDevices(ApproveDevicesArgs),
    /// List devices on the ledger
    Devices {
        /// Only this shard
        #[arg(long)]
        shard: Option<Shard>,
    },
    /// Show a device and its chain of blocks
    Device {
        /// Thing name
        thing: DeviceId,
    },
    /// Propose an agreement that is written in TOML or JSON (admin)
    Propose {
        /// The agreement
        file: PathBuf,
    },
    /// Propose other terms for an agreement, from their first day on: a billing period begins there (admin)
    Amend {
        /// The whole new terms, written as the agreement was
        file: PathBuf,
    },
    /// Propose the end of an agreement (admin)
    Terminate {
        /// Its id
        id: AgreementId,
        /// Last local day on which it holds, YYYY-MM-DD: a billing period ends there
        #[arg(long)]
        last: LocalDay,
    },
    /// What a draft would have billed over past days, both included, if it had held then
    Simulate {
        /// The draft, in TOML or JSON
        #[arg(required_unless_present = "proposal", conflicts_with = "proposal")]
        file: Option<PathBuf>,
        /// Id of an agreement instead, of which something was proposed
        #[arg(long, value_name = "ID", requires = "hash")]
        proposal: Option<AgreementId>,
        /// Hash of what was proposed
        #[arg(long, requires = "proposal")]
        hash: Option<Hash>,
        /// First local day, YYYY-MM-DD
        #[arg(long)]
        from: LocalDay,
        /// Last local day, YYYY-MM-DD
        #[arg(long)]
        to: LocalDay,
    },
    /// Approve what was proposed: an agreement, an amendment or a termination (admin)
    Approve {
        /// Its id
        id: AgreementId,
        /// Hash of what is approved; needed if several proposals of the id are open
        #[arg(long)]
        hash: Option<Hash>,
        /// File with the terms as this party understands them: approve only if they are the same
        #[arg(long, value_name = "FILE", conflicts_with = "hash")]
        file: Option<PathBuf>,
    },
    /// Show the proposals of an agreement, or of all
    Agreement {
        /// Its id
        id: Option<AgreementId>,
    },
    /// Query an agreement's summaries over days, both included
    Summaries(PeriodArgs),
    /// Show what the ledger has of a device's day
    Day {
        /// Thing name
        thing: DeviceId,
        /// Local day of the site, YYYY-MM-DD
        day: LocalDay,
    },
    /// Show all that became of a device's days: accounts, corrections, the statements that cite them
    History {
        /// Thing name
        thing: DeviceId,
        /// First local day, YYYY-MM-DD
        from: LocalDay,
        /// Last local day; left out for the first alone
        to: Option<LocalDay>,
    },
    /// All that an auditor needs of a device's day (--json: with the block's bytes)
    Audit {
        /// Thing name
        thing: DeviceId,
        /// Local day of the site, YYYY-MM-DD
        day: LocalDay,
    },
    /// Show a shard's signs of life, hour by hour, and of which hours nothing was said
    Hours {
        /// The shard
        shard: Shard,
        /// An instant in the first hour, RFC 3339
        #[arg(long, value_parser = parse_instant)]
        from: i64,
        /// An instant in the last hour, RFC 3339
        #[arg(long, value_parser = parse_instant)]
        to: i64,
    },
    /// Close a period, both days included: the statement is drawn (operator)
    Close(PeriodArgs),
    /// Draw a statement of corrections alone: of what changed in closed periods, and cannot wait for the next one (operator)
    Correct {
        /// The agreement's id
        id: AgreementId,
        /// Hash of the version whose payer, payees and currency the days have; default: the newest
        #[arg(long)]
        terms: Option<Hash>,
    },
    /// List the statements of an agreement: closed periods, then corrections alone
    Statements {
        /// The agreement's id
        id: AgreementId,
    },
    /// Show a statement
    Statement {
        /// Its id: 64 hexadecimal digits
        id: Hash,
    },
    /// Store the operator's profile in Secrets Manager, where the functions read it
    PutSecret,
    /// Find this account's part of a network on Amazon Managed Blockchain
    Discover(DiscoverArgs),
    /// Make a connection profile of the organizations' parts of a network and an identity
    MakeProfile(MakeProfileArgs),
    /// Enrol with a Fabric CA: a new key and its certificate become an identity in a file or in Secrets Manager
    Enroll(EnrollArgs),
    /// Renew an identity at its Fabric CA before its certificate expires
    Reenroll(ReenrollArgs),
    /// Make somebody known to a Fabric CA, as an identity that may: the secret that comes is for `enroll`
    RegisterIdentity(RegisterIdentityArgs),
}

/// Arguments of `ledger discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// The network's id, n-…
    #[arg(long, value_name = "ID")]
    pub network: String,
    /// A member's id, m-…; default: every member that this account owns
    #[arg(long = "member", value_name = "ID")]
    pub members: Vec<String>,
    /// Authorities that the nodes' TLS certificates chain to: FILE, https://…, s3://BUCKET/KEY or secret:NAME; default: where AWS publishes
    /// them for the region
    #[arg(long, value_name = "PEM")]
    pub tls_ca: Option<PemSource>,
    /// Write the part to a new file, which holds no secret
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace a part that is there
    #[arg(long, requires = "out")]
    pub replace: bool,
}

/// Arguments of `ledger make-profile`.
#[derive(Debug, Args)]
pub struct MakeProfileArgs {
    /// Parts of the network, as each organization's `ledger discover` wrote them, or by hand
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,
    /// As whom to speak: FILE (readable by its owner alone) or secret:NAME, an identity or a profile whose identity is taken
    #[arg(long, value_name = "IDENTITY")]
    pub identity: IdentityPlace,
    /// What is shown to nodes that want to know who connects: FILE or secret:NAME, as `enroll --enrollment-profile tls` writes it; default:
    /// what the profile has that --identity names
    #[arg(long, value_name = "IDENTITY")]
    pub client_tls: Option<IdentityPlace>,
    /// The channel
    #[arg(long, default_value = "mychannel")]
    pub channel: String,
    /// The name under which the contract is deployed
    #[arg(long, default_value = "vitro")]
    pub chaincode: String,
    /// MSP of the operator, who endorses everything with two of the three others; where the parts name more or fewer, the policy is named by
    /// --required and --any-of
    #[arg(long, value_name = "MSP", required_unless_present_any = ["required", "any_of"], conflicts_with_all = ["required", "any_of"])]
    pub operator: Option<String>,
    /// Where the chaincode's policy is another one: an MSP that must endorse
    #[arg(long, value_name = "MSP")]
    pub required: Vec<String>,
    /// Where the chaincode's policy is another one: so many of these MSPs must endorse
    #[arg(long, value_name = "COUNT:MSP,MSP,…", value_parser = parse_group)]
    pub any_of: Vec<EndorserGroup>,
    /// Where the profile is written, readable by its owner alone
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace a profile that is there
    #[arg(long)]
    pub replace: bool,
}

/// Which Fabric CA is asked.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// The CA's address, https://host:port
    #[arg(long, value_name = "URL", required_unless_present = "part", conflicts_with = "part", requires = "tls_ca")]
    pub ca: Option<String>,
    /// Authorities that its TLS certificate comes from: FILE, https://…, s3://BUCKET/KEY or secret:NAME
    #[arg(long, value_name = "PEM")]
    pub tls_ca: Option<PemSource>,
    /// Part of the network that names the CA of the MSP, as `ledger discover` writes it, instead of --ca and --tls-ca
    #[arg(long, value_name = "FILE", conflicts_with = "tls_ca")]
    pub part: Option<PathBuf>,
    /// The CA's name, where its server has several
    #[arg(long, value_name = "NAME")]
    pub ca_name: Option<String>,
}

/// What a certificate shall say beside the name.
#[derive(Debug, Args)]
pub struct CertificateArgs {
    /// The CA's signing profile, such as tls; default: an enrolment certificate
    #[arg(long, value_name = "NAME")]
    pub enrollment_profile: Option<String>,
    /// A host name or address for the certificate
    #[arg(long = "csr-host", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// An attribute that the certificate shall show; NAME:opt if it may be without
    #[arg(long = "attribute", value_name = "NAME")]
    pub attributes: Vec<String>,
}

/// Arguments of `ledger enroll`.
#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// Which Fabric CA.
    #[command(flatten)]
    pub ca: CaArgs,
    /// What the certificate shall say.
    #[command(flatten)]
    pub certificate: CertificateArgs,
    /// The MSP of the organization
    #[arg(long)]
    pub msp: String,
    /// The name that was registered
    #[arg(long, value_name = "ID")]
    pub enrollment_id: String,
    /// Where the secret is that the registration gave: - (a line of standard input), FILE, env:NAME or secret:NAME
    #[arg(long, value_name = "SOURCE", default_value = "-")]
    pub enrollment_secret: SecretSource,
    /// Where the identity goes: FILE or secret:NAME; where a connection profile lies, it becomes the profile's
    #[arg(long, value_name = "PLACE")]
    pub out: IdentityPlace,
    /// Replace another identity that is there
    #[arg(long)]
    pub replace: bool,
}

/// Arguments of `ledger reenroll`.
#[derive(Debug, Args)]
pub struct ReenrollArgs {
    /// Which Fabric CA.
    #[command(flatten)]
    pub ca: CaArgs,
    /// What the certificate shall say.
    #[command(flatten)]
    pub certificate: CertificateArgs,
    /// The identity, or the connection profile that holds it: FILE or secret:NAME; the renewed one takes its place
    #[arg(long, value_name = "PLACE")]
    pub identity: IdentityPlace,
    /// Do nothing while the certificate is good for longer than this
    #[arg(long, value_name = "DAYS")]
    pub within_days: Option<u32>,
    /// Keep the key
    #[arg(long)]
    pub reuse_key: bool,
}

/// Arguments of `ledger register-identity`.
#[derive(Debug, Args)]
pub struct RegisterIdentityArgs {
    /// Which Fabric CA.
    #[command(flatten)]
    pub ca: CaArgs,
    /// The identity that registers: FILE or secret:NAME
    #[arg(long, value_name = "PLACE")]
    pub identity: IdentityPlace,
    /// The name to register
    #[arg(long, value_name = "ID")]
    pub enrollment_id: String,
    /// Its type, which becomes its role: who agrees to things on the ledger is an admin
    #[arg(long = "type", value_name = "TYPE", default_value = "client", value_parser = ["client", "admin", "peer", "orderer"])]
    pub kind: String,
    /// Its affiliation; default: the registrar's
    #[arg(long, default_value = "", hide_default_value = true)]
    pub affiliation: String,
    /// How often the secret may be used; default: as the CA is set
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    pub max_enrollments: Option<i32>,
    /// An attribute of it; with :ecert every certificate shows it
    #[arg(long = "attribute", value_name = "NAME=VALUE[:ecert]")]
    pub attributes: Vec<Attribute>,
    /// Where its enrollment secret goes, which is never shown: a new FILE, or secret:NAME
    #[arg(long, value_name = "PLACE")]
    pub secret_out: IdentityPlace,
}

fn parse_group(text: &str) -> Result<EndorserGroup, String> {
    let told = || "a count, a colon and MSPs, as in 2:RcMSP,DvMSP,SpMSP".to_owned();
    let (count, names) = text.split_once(':').ok_or_else(told)?;
    let of: Vec<_> = names.split(',').map(str::to_owned).collect();
    match count.parse() {
        Ok(count) if (1..=of.len()).contains(&count) && of.iter().all(|name| !name.is_empty()) => {
            Ok(EndorserGroup { count, of })
        }
        _ => Err(told()),
    }
}

/// Which MSP plays which role.
#[derive(Debug, Args)]
pub struct RolesArgs {
    /// MSP of the operator
    #[arg(long, default_value = "OperatorMSP")]
    pub operator: MspId,
    /// MSP of resource consumption
    #[arg(long, default_value = "RcMSP")]
    pub rc: MspId,
    /// MSP of data verification
    #[arg(long, default_value = "DvMSP")]
    pub dv: MspId,
    /// MSP of the service provider
    #[arg(long, default_value = "SpMSP")]
    pub sp: MspId,
}

/// Which devices are approved.
#[derive(Debug, Args)]
pub struct ApproveDevicesArgs {
    /// Thing names
    #[arg(required_unless_present_any = ["shard", "file"])]
    pub things: Vec<DeviceId>,
    /// Every device of a shard that this party has not approved yet
    #[arg(long, conflicts_with = "things")]
    pub shard: Option<Shard>,
    /// This party's own list in CSV: device, and public_key (from the maker, or read from the device) with metering_point, or entry (its
    /// hash). The ledger has to have each device just so
    #[arg(long, conflicts_with_all = ["things", "shard"])]
    pub file: Option<PathBuf>,
    /// Without a list: the hash that stood under what was shown. Just that is approved, if it is still what waits
    #[arg(long, conflicts_with = "file", value_name = "HASH")]
    pub yes: Option<Hash>,
}

/// An agreement and days, both included.
#[derive(Debug, Args)]
pub struct PeriodArgs {
    /// The agreement's id
    pub id: AgreementId,
    /// First local day, YYYY-MM-DD
    #[arg(long)]
    pub from: LocalDay,
    /// Last local day, YYYY-MM-DD
    #[arg(long)]
    pub to: LocalDay,
}

/// Arguments of `ledger events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The first block
    #[arg(long, value_name = "BLOCK", default_value_t = 0)]
    pub from: u64,
    /// The last block; default: the newest
    #[arg(long, value_name = "BLOCK")]
    pub to: Option<u64>,
    /// Only events of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Wait for further blocks until stopped
    #[arg(long)]
    pub follow: bool,
}
