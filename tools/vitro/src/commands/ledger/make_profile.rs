//! `vitro ledger make-profile`: a connection profile of the organizations' parts of a network and an identity.

use vitro_ledger::{Endorsers, Ledger, policy};
use zeroize::Zeroizing;

use super::{MakeProfileArgs, Screen};
use crate::cli::Global;
use crate::error::CliError;
use crate::network::{self, Frame, NetworkPart, Plan};
use crate::{files, identity, output};

pub(super) async fn run(args: &MakeProfileArgs, global: &Global, screen: &mut Screen<'_>) -> Result<(), CliError> {
    let read = |path: &std::path::PathBuf| NetworkPart::from_json(&path.display().to_string(), &files::read(path)?);
    let parts: Vec<_> = args.parts.iter().map(read).collect::<Result<_, _>>()?;
    let plan = match &args.operator {
        Some(operator) => Plan::Operator(operator.clone()),
        None => Plan::Other(Endorsers { required: args.required.clone(), any_of: args.any_of.clone() }),
    };
    let held = identity::read(&args.identity, global).await?;
    let client_tls = match &args.client_tls {
        Some(place) => Some(identity::read(place, global).await?.as_client_tls()?),
        None => held.client_tls().cloned(),
    };
    let frame = Frame {
        channel: args.channel.clone(),
        chaincode: args.chaincode.clone(),
        plan,
        identity: held.identity().clone(),
        client_tls,
    };
    let profile = network::join(&parts, frame)?;
    if profile.identity.key_pem.is_some() {
        // A key that cannot be read shall be told now, as the parts' trust anchors are, not when somebody connects.
        Ledger::from_profile(&profile).map_err(vitro_client::ClientError::from)?;
    }
    let text = serde_json::to_string_pretty(&profile).map_err(|e| CliError::malformed("the profile", e))?;
    let text = Zeroizing::new(text + "\n");
    if args.replace {
        files::replace_secret(&args.out, &text)?
    } else {
        files::write_secret(&args.out, &text)?
    }
    // Whose word is enough is for the party to see, whoever wrote the parts.
    let plan = policy::in_words(&policy::of_plan(&profile.endorsers));
    let made = serde_json::json!({
        "profile": args.out, "msp": profile.identity.msp, "channel": profile.channel,
        "peers": profile.peers.len(), "orderers": profile.orderers.len(), "policy": plan,
    });
    screen.show(&made, |out, _| {
        let (path, msp) = (args.out.display(), &profile.identity.msp);
        output::line(out, &format!("written  {path}: {msp} on {}, {} peers", profile.channel, profile.peers.len()))?;
        output::line(out, &format!("policy   {plan}"))
    })
}
