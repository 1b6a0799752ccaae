//! The members of a JSON object as they stand: a number is not made a double, as `serde_json` would.

use serde::de::IgnoredAny;

/// The members of an object, in their order, each value as its own text. A name stands once.
///
/// # Errors
/// What is wrong with it.
pub(super) fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    // What follows only cuts, and may rely on the form being right.
    serde_json::from_str::<IgnoredAny>(text).map_err(|e| e.to_string())?;
    let not_one = || "it is no object".to_owned();
    let mut rest = text.trim().strip_prefix('{').ok_or_else(not_one)?.trim_start();
    let mut members: Vec<(String, &str)> = Vec::new();
    while !rest.starts_with('}') {
        let (name, after) = cut(rest);
        let name: String = serde_json::from_str(name).map_err(|e| e.to_string())?;
        let after = after.trim_start().strip_prefix(':').ok_or_else(not_one)?;
        let (value, after) = cut(after.trim_start());
        if members.iter().any(|(known, _)| *known == name) {
            return Err(format!("{name:?} stands twice"));
        }
        members.push((name, value));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        if rest.is_empty() {
            return Err(not_one());
        }
    }
    Ok(members)
}

/// Cuts the value off that a text of good form begins with.
fn cut(text: &str) -> (&str, &str) {
    let (mut depth, mut quoted, mut escaped) = (0u32, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            quoted = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => quoted = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => depth -= 1,
                // The end of a number or word: of what is around it.
                b'}' | b']' | b',' | b':' if depth == 0 => return text.split_at(at),
                byte if byte.is_ascii_whitespace() && depth == 0 => return text.split_at(at),
                _ => continue,
            }
        }
        if depth == 0 && !quoted {
            return text.split_at(at + 1);
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_stand_as_they_were_written() {
        let text = r#" { "a" : 1.50e+2 , "b\u0041\"," : {"x": "}\\", "y": [1, {"z": 2}]}, "c":null,"d":"q,\"}" } "#;
        let found = members(text).unwrap();
        let expected =
            [("a", "1.50e+2"), ("bA\",", r#"{"x": "}\\", "y": [1, {"z": 2}]}"#), ("c", "null"), ("d", r#""q,\"}""#)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!(members("{}").unwrap(), []);
        for (text, told) in [
            ("[1]", "no object"),
            ("7", "no object"),
            ("{\"a\": 01}", "invalid number"),
            ("{\"a\": 1,}", "key must be a string"),
            ("{\"a\": 1} x", "trailing characters"),
            ("{\"a\": 1, \"\\u0061\": 2}", "stands twice"),
        ] {
            let found = members(text).unwrap_err();
            assert!(found.contains(told), "{text}: {found}");
        }
    }

    proptest! {
        #[test]
        fn each_value_reads_as_it_does_in_the_whole(
            names in proptest::collection::btree_set("\\PC{0,6}", 0..5),
            values in proptest::collection::vec("\\PC{0,8}", 5),
        ) {
            let object: serde_json::Map<_, _> = names
                .into_iter()
                .zip(values)
                .map(|(name, value)| (name.clone(), serde_json::json!([value, {name: [1, null, "]}"]}])))
                .collect();
            for text in [serde_json::to_string(&object).unwrap(), serde_json::to_string_pretty(&object).unwrap()] {
                let found = members(&text).unwrap();
                prop_assert_eq!(found.len(), object.len());
                for (name, value) in found {
                    prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(value).unwrap(), &object[&name]);
                }
            }
        }
    }
}
