//! Which entries are meant: some by their ids, or all that wait and fit, once somebody has said how many those are.

use clap::Args;
use vitro_cloud::parked::Entry;
use vitro_proof::DeviceId;

use super::find;
use crate::error::CliError;
use crate::instant::parse_instant;
use crate::session::Session;

/// Which entries are meant.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Selection {
    /// Ids as `quarantine list` shows them; with the reason (reason/id) if several reasons have one
    #[arg(value_name = "ID", conflicts_with_all = ["reason", "thing", "since", "until", "count"])]
    pub(super) ids: Vec<String>,
    /// All that wait with this reason code (docs/reasons.md)
    #[arg(long, value_name = "CODE")]
    pub(super) reason: Option<String>,
    /// All that wait of this thing
    #[arg(long, value_name = "THING")]
    pub(super) thing: Option<DeviceId>,
    /// All that wait and were received at this instant or later, RFC 3339
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub(super) since: Option<i64>,
    /// All that wait and were received before this instant, RFC 3339
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    pub(super) until: Option<i64>,
    /// How many these are: nothing is done unless it is the number found
    #[arg(long, value_name = "NUMBER")]
    pub(super) count: Option<usize>,
    /// Only show which these are
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl Selection {
    /// The entries, the oldest first.
    ///
    /// # Errors
    /// [`CliError::Usage`] if nothing is named, [`CliError::NotFound`] for an id that is not there, [`CliError::Refused`] if the count
    /// is missing or another.
    pub(super) async fn find(&self, session: &Session) -> Result<Vec<Entry>, CliError> {
        let table = session.parked();
        let mut found = Vec::new();
        if self.ids.is_empty() {
            if !self.has_filter() {
                return Err(CliError::Usage(
                    "name entries by their ids, or with --reason, --thing, --since, --until".into(),
                ));
            }
            found = table.entries(self.reason.as_deref()).await?;
            found.retain(|entry| self.fits(entry));
        }
        for id in &self.ids {
            found.push(find(&table, id).await?);
        }
        sort(&mut found);
        found.dedup_by(|a, b| (&a.parked.reason, &a.parked.id) == (&b.parked.reason, &b.parked.id));
        if !self.dry_run {
            self.confirm(found.len())?;
        }
        Ok(found)
    }

    fn has_filter(&self) -> bool {
        self.reason.is_some() || self.thing.is_some() || self.since.is_some() || self.until.is_some()
    }

    fn fits(&self, entry: &Entry) -> bool {
        let row = &entry.parked;
        let received = row.received.seconds();
        row.state.is_waiting()
            && self.thing.as_ref().is_none_or(|thing| row.device.as_ref() == Some(thing))
            && self.since.is_none_or(|since| received >= since)
            && self.until.is_none_or(|until| received < until)
    }

    /// Whoever means many says how many: a filter that is too wide is told before it does anything.
    fn confirm(&self, found: usize) -> Result<(), CliError> {
        match self.count {
            _ if !self.ids.is_empty() => Ok(()),
            Some(count) if count == found => Ok(()),
            Some(count) => Err(CliError::Refused(format!("{found} entries fit, not {count}; nothing was done"))),
            None => Err(CliError::Refused(format!(
                "{found} entries fit; look at them with --dry-run and confirm with --count {found}"
            ))),
        }
    }
}

/// The oldest first.
pub(super) fn sort(rows: &mut [Entry]) {
    rows.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.parked.received, entry.parked.id.clone(), entry.parked.reason.clone());
        key(a).cmp(&key(b))
    });
}

#[cfg(test)]
mod tests {
    use vitro_cloud::parked::{Parked, ParkedState};
    use vitro_proof::UnixMillis;

    use super::*;

    fn entry(thing: &str, seconds: i64, state: ParkedState) -> Entry {
        let parked = Parked {
            reason: "device_suspended".into(),
            id: format!("{:015}-ab", seconds * 1000),
            state,
            device: thing.parse().ok(),
            object: None,
            detail: String::new(),
            received: UnixMillis(seconds * 1000),
        };
        Entry { parked, replays: 0, decision: None }
    }

    #[test]
    fn a_filter_takes_what_waits_and_fits() {
        let of = Selection {
            thing: Some("dev-1".parse().unwrap()),
            since: Some(10),
            until: Some(20),
            ..Selection::default()
        };
        for (thing, seconds, state, fits) in [
            ("dev-1", 10, ParkedState::Open, true),
            ("dev-1", 19, ParkedState::Replaying, true),
            ("dev-1", 9, ParkedState::Open, false),
            ("dev-1", 20, ParkedState::Open, false),
            ("dev-1", 15, ParkedState::Replayed, false),
            ("dev-1", 15, ParkedState::Dropped, false),
            ("dev-2", 15, ParkedState::Open, false),
            ("a b", 15, ParkedState::Open, false),
        ] {
            assert_eq!(of.fits(&entry(thing, seconds, state)), fits, "{thing} {seconds} {state:?}");
        }
    }

    #[test]
    fn who_means_many_says_how_many() {
        let of = |count| Selection { reason: Some("late".into()), count, ..Selection::default() };
        assert!(of(Some(3)).confirm(3).is_ok());
        for (count, found) in [(Some(2), 3), (None, 3), (None, 0)] {
            assert!(matches!(of(count).confirm(found), Err(CliError::Refused(_))));
        }
        assert!(Selection { ids: vec!["1".into()], ..Selection::default() }.confirm(1).is_ok());
        assert!(!Selection::default().has_filter());
    }
}
