//! `vitro ledger discover`: this account's part of a network on Amazon Managed Blockchain.

use super::{DiscoverArgs, Screen};
use crate::cli::Global;
use crate::error::CliError;
use crate::managed_blockchain::{self, Discovered};
use crate::network::NetworkPart;
use crate::pem_source::PemSource;
use crate::{files, output, session};

pub(super) async fn run(args: &DiscoverArgs, global: &Global, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let aws = session::aws(global).await?;
    let region = aws.region().map(ToString::to_string).unwrap_or_default();
    let source = args.tls_ca.clone().unwrap_or_else(|| PemSource::managed_blockchain(&region));
    let tls_ca = source.read(global).await?;
    let client = aws_sdk_managedblockchain::Client::new(&aws);
    let found = managed_blockchain::discover(&client, &args.network, &args.members, &tls_ca).await?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&found.part).map_err(|e| CliError::malformed("the part", e))?;
        if args.replace {
            // Only what is a part is replaced: a profile holds a key.
            if path.exists() {
                NetworkPart::from_json(&path.display().to_string(), &files::read(path)?)?;
            }
            files::replace(path, text + "\n")?;
        } else {
            files::write_public(path, &(text + "\n"))?;
        }
    }
    screen.show(&found, |out, found| {
        let Discovered { name, fabric, vpc_endpoint_service, part, .. } = found;
        output::line(out, &format!("network    {} ({name}), Hyperledger Fabric {fabric}", part.network))?;
        output::line(out, &format!("through    a VPC endpoint for {vpc_endpoint_service}"))?;
        for orderer in &part.orderers {
            output::line(out, &format!("orderer    {}", orderer.address))?;
        }
        for authority in &part.authorities {
            output::line(out, &format!("CA         {} of {}", authority.address, authority.msp))?;
        }
        let nodes = found.nodes.iter().map(|node| {
            let address = node.address.clone().unwrap_or_default();
            vec![node.member.clone(), node.id.clone(), node.status.clone(), address]
        });
        output::table(out, &["member", "node", "status", "address"], &nodes.collect::<Vec<_>>())?;
        for member in found.members.iter().filter(|member| !member.owned && member.status != "DELETED") {
            let (id, name) = (&member.id, &member.name);
            output::line(
                out,
                &format!("elsewhere  {id} ({name}): its owner runs this command and hands its part over"),
            )?;
        }
        match &args.out {
            Some(path) => output::line(out, &format!("written    {}", path.display())),
            None => Ok(()),
        }
    })
}
