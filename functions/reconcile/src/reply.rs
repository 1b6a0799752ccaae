//! Replies: what a device says became of a command. The first reply to a command is archived, whoever sent the command; one about a
//! day is noted on that day as well.

use vitro_cloud::admission::{self, Refusal as Admission};
use vitro_cloud::archive::{CBOR, reply_key};
use vitro_cloud::days::{DayRow, edit};
use vitro_cloud::devices::Registered;
use vitro_cloud::rule_event::RuleEvent;
use vitro_cloud::{CloudError, days::DayStore};
use vitro_proof::command::Reply;
use vitro_proof::{DeviceId, Kind, LocalDay};

use crate::command_id::day_of;
use crate::intake::Taken;
use crate::ports::Ports;
use crate::refusal::Refusal;

impl Ports {
    /// Takes a message of a reply topic: it is verified, archived and logged, and noted on the day that the command was about.
    ///
    /// # Errors
    /// [`CloudError`] if the message has to come again.
    pub async fn take_reply(&self, event: &RuleEvent) -> Result<Taken, CloudError> {
        let verified = self.verify_reply(event).await?;
        match verified {
            Err(refusal) => self.refuse(event, &refusal).await,
            Ok((thing, reply)) => {
                let text = reply.describe();
                // The archive keeps it before the day says so.
                self.archive.put_once(&reply_key(&thing, &reply.command), event.envelope.clone(), CBOR).await?;
                let day = day_of(&reply.command);
                let noted = match day {
                    Some(day) => note(self.days.as_ref(), &thing, day, &reply, &text).await?,
                    None => false,
                };
                tracing::info!(%thing, status = reply.status, reply = %text, day = ?day, noted, "reply");
                Ok(if noted { Taken::Accepted } else { Taken::Duplicate })
            }
        }
    }

    async fn verify_reply(&self, event: &RuleEvent) -> Result<Result<(DeviceId, Reply), Refusal>, CloudError> {
        let envelope = match admission::open(&event.envelope, Kind::Reply) {
            Ok(envelope) => envelope,
            Err(refusal) => return Ok(Err(refusal.into())),
        };
        let Ok(thing) = event.thing.parse::<DeviceId>() else { return Ok(Err(Admission::UnknownDevice.into())) };
        let device = self.devices.device(&thing).await?;
        if let Err(refusal) = admission::identify(event, envelope.header(), device.as_ref()) {
            return Ok(Err(refusal.into()));
        }
        let Some(device) = device else { return Ok(Err(Admission::UnknownDevice.into())) };
        let device = Registered::new(device)?;
        if let Err(refusal) = admission::verify(&envelope, &device.key) {
            return Ok(Err(refusal.into()));
        }
        Ok(Reply::decode(envelope.payload())
            .map(|reply| (thing, reply))
            .map_err(|fault| Refusal::NotAReply(fault.to_string())))
    }
}

async fn note(
    days: &dyn DayStore,
    thing: &DeviceId,
    day: LocalDay,
    reply: &Reply,
    text: &str,
) -> Result<bool, CloudError> {
    if days.get(thing, day).await?.is_none() {
        return Ok(false);
    }
    let noted = edit::<CloudError>(days, thing, day, |row: &mut DayRow| Ok(row.replied(reply.command, text))).await?;
    Ok(noted.1)
}
