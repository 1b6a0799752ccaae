//! Metrics in CloudWatch's embedded metric format: JSON lines in the log that CloudWatch turns into metrics.
//!
//! Specification: "Embedded metric format" in the Amazon CloudWatch user guide. Nothing is sent by this module; a line costs nothing
//! more than a log line.

use std::collections::BTreeMap;
use std::io::Write;

use serde_json::{Map, Value, json};
use vitro_proof::UnixMillis;

/// The namespace of all our metrics.
pub const NAMESPACE: &str = "Vitro";

/// Counts what happened in one invocation and writes it at its end.
#[derive(Clone, Debug)]
pub struct Metrics {
    stack: String,
    plain: BTreeMap<&'static str, f64>,
    by_reason: BTreeMap<(&'static str, String), f64>,
}

impl Metrics {
    /// Nothing counted yet. `stack` is the dimension that every metric has.
    #[must_use]
    pub fn new(stack: impl ToString) -> Self {
        Self { stack: stack.to_string(), plain: BTreeMap::new(), by_reason: BTreeMap::new() }
    }

    /// Adds to a count.
    #[allow(clippy::cast_precision_loss)] // counts of an invocation lie far below 2^52
    pub fn count(&mut self, name: &'static str, amount: u64) {
        *self.plain.entry(name).or_default() += amount as f64;
    }

    /// Adds to a count that is also told by reason. Its sum over all reasons is a metric too.
    #[allow(clippy::cast_precision_loss)] // as above
    pub fn count_reason(&mut self, name: &'static str, reason: &str, amount: u64) {
        *self.by_reason.entry((name, reason.to_owned())).or_default() += amount as f64;
    }

    /// Sets a value that is no count, such as a number of silent devices; zero is written too.
    #[allow(clippy::cast_precision_loss)] // as above
    pub fn gauge(&mut self, name: &'static str, value: u64) {
        self.plain.insert(name, value as f64);
    }

    /// What was counted under a name, over all reasons.
    #[must_use]
    pub fn total(&self, name: &str) -> f64 {
        let reasons: f64 = self.by_reason.iter().filter(|((n, _), _)| *n == name).map(|(_, amount)| amount).sum();
        self.plain.get(name).copied().unwrap_or_default() + reasons
    }

    /// What was counted under a name for one reason.
    #[must_use]
    pub fn of_reason(&self, name: &'static str, reason: &str) -> f64 {
        self.by_reason.get(&(name, reason.to_owned())).copied().unwrap_or_default()
    }

    /// The lines, one JSON document each: one for what has no reason, one a reason.
    #[must_use]
    pub fn render(&self, now: UnixMillis) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.plain.is_empty() {
            let values = self.plain.iter().map(|(name, value)| (*name, *value));
            lines.push(self.document(now, json!([["Stack"]]), None, values));
        }
        let mut reasons: BTreeMap<&str, Vec<(&str, f64)>> = BTreeMap::new();
        for ((name, reason), value) in &self.by_reason {
            reasons.entry(reason).or_default().push((name, *value));
        }
        for (reason, values) in reasons {
            let dimensions = json!([["Stack"], ["Stack", "Reason"]]);
            lines.push(self.document(now, dimensions, Some(reason), values.into_iter()));
        }
        lines
    }

    fn document<'a>(
        &self,
        now: UnixMillis,
        dimensions: Value,
        reason: Option<&str>,
        values: impl Iterator<Item = (&'a str, f64)>,
    ) -> String {
        let mut document = Map::new();
        let mut definitions = Vec::new();
        for (name, value) in values {
            definitions.push(json!({ "Name": name, "Unit": "Count" }));
            document.insert(name.to_owned(), json!(value));
        }
        document.insert("Stack".into(), json!(self.stack));
        if let Some(reason) = reason {
            document.insert("Reason".into(), json!(reason));
        }
        document.insert(
            "_aws".into(),
            json!({
                "Timestamp": now.0,
                "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": definitions }],
            }),
        );
        Value::Object(document).to_string()
    }

    /// Writes the lines to standard output, where Lambda takes them for log lines. A broken pipe there is nobody's business.
    pub fn emit(&self, now: UnixMillis) {
        let mut text = String::new();
        for line in self.render(now) {
            text.push_str(&line);
            text.push('\n');
        }
        if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
            tracing::debug!(%error, "metrics could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_embedded_format() {
        let mut metrics = Metrics::new("vitro-acme-dev");
        metrics.count("MessagesStored", 2);
        metrics.count("MessagesStored", 1);
        metrics.count_reason("Refused", "bad_signature", 4);
        metrics.count_reason("Refused", "too_large", 1);
        metrics.gauge("GapsLive", 0);
        let lines = metrics.render(UnixMillis(1_700_000_000_000));
        assert_eq!(lines.len(), 3);
        let plain: Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(plain["MessagesStored"], json!(3.0));
        assert_eq!(plain["GapsLive"], json!(0.0));
        assert_eq!(plain["Stack"], "vitro-acme-dev");
        assert_eq!(plain["_aws"]["Timestamp"], json!(1_700_000_000_000i64));
        assert_eq!(plain["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Vitro");
        let refused: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!((&refused["Reason"], &refused["Refused"]), (&json!("bad_signature"), &json!(4.0)));
        let dimensions = &refused["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
        assert_eq!(dimensions, &json!([["Stack"], ["Stack", "Reason"]]));
        assert!((metrics.total("Refused") - 5.0).abs() < f64::EPSILON);
        assert!((metrics.of_reason("Refused", "too_large") - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn nothing_counted_writes_nothing() {
        assert!(Metrics::new("s").render(UnixMillis(0)).is_empty());
    }
}
