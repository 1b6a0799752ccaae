//! Reading a sensor table from whatever an operator has: the table in JSON or TOML, or the TOML beside a recording.

use std::path::Path;

use vitro_device::recording::Columns;
use vitro_proof::SensorTable;

use crate::error::CliError;
use crate::files;

/// Reads a sensor table.
///
/// # Errors
/// [`CliError::File`], [`CliError::Malformed`].
pub(crate) fn read(path: &Path) -> Result<SensorTable, CliError> {
    let what = || path.display().to_string();
    let text = files::read(path)?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text).map_err(|e| CliError::malformed(what(), e));
    }
    let toml: toml::Table = toml::from_str(&text).map_err(|e| CliError::malformed(what(), e.message()))?;
    if toml.contains_key("column") {
        // Its errors name the file and the place in it.
        let columns = Columns::read(path).map_err(|e| CliError::malformed("sensors", e))?;
        return Ok(columns.table().clone());
    }
    toml::from_str(&text).map_err(|e| CliError::malformed(what(), e.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, text: &str) -> Result<SensorTable, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_three_forms_say_the_same() {
        let json = r#"{"version":2,"sensors":[
            {"name":"yield","unit":"kWh","kind":"counter","width":"100000","resets_normal":true},
            {"name":"temp","unit":"Cel","kind":"gauge"}]}"#;
        let toml = r#"
            version = 2
            [[sensors]]
            name = "yield"
            unit = "kWh"
            kind = "counter"
            width = "100000"
            resets_normal = true
            [[sensors]]
            name = "temp"
            unit = "Cel"
            kind = "gauge"
        "#;
        let recording = toml.replace("[[sensors]]", "[[column]]\ncolumn = \"c\"").replacen("\"c\"", "\"d\"", 1);
        let table = read_as("a.json", json).unwrap();
        assert_eq!(read_as("a.toml", toml).unwrap(), table);
        assert_eq!(read_as("a.toml", &recording).unwrap(), table);
    }

    #[test]
    fn what_is_wrong_names_the_file() {
        let message = |name: &str, text: &str| read_as(name, text).unwrap_err().to_string();
        assert!(message("a.json", "{").contains("a.json"));
        assert!(message("a.toml", "version = ").contains("a.toml"));
        assert!(message("b.toml", "version = 1\n[[column]]\ncolumn = \"x\"").contains("b.toml"));
    }
}
