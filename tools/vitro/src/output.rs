//! What commands print: lines and tables for people, JSON for programs. Everything goes to one writer, so that tests see it.

use std::io::Write;

use serde::Serialize;

use crate::error::CliError;

/// Writes any value as indented JSON with a newline.
///
/// # Errors
/// [`CliError::Output`] if standard output is closed.
pub fn json<T: Serialize>(out: &mut dyn Write, value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::malformed("output", e))?;
    line(out, &text)
}

/// Writes one line.
///
/// # Errors
/// [`CliError::Output`] if standard output is closed.
pub fn line(out: &mut dyn Write, text: &str) -> Result<(), CliError> {
    writeln!(out, "{text}").map_err(CliError::Output)
}

/// Writes rows under a header, columns aligned.
///
/// # Errors
/// [`CliError::Output`] if standard output is closed.
pub fn table(out: &mut dyn Write, header: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let write = |cells: &mut dyn Iterator<Item = &str>| {
        let text: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.join("  ").trim_end().to_owned()
    };
    line(out, &write(&mut header.iter().copied()))?;
    for row in rows {
        line(out, &write(&mut row.iter().map(String::as_str)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut out = Vec::new();
        table(&mut out, &["a", "long"], &[vec!["xyz".into(), "1".into()], vec!["é".into(), "22".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a    long\nxyz  1\né    22\n");
    }
}
