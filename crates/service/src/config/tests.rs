use std::io::Write as _;
use std::time::Duration;

use super::*;

#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    http: HttpConfig,
    #[serde(default)]
    telemetry: TelemetryConfig,
    operator: OperatorConfig,
    #[serde(default)]
    allow: Vec<String>,
}

const TOKEN: (&str, &str) = ("SLIPSTREAM__OPERATOR__TOKEN", "0123456789012345");

fn load_with(file: Option<&str>, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let file = file.map(|text| {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    });
    let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    load_from(file.as_ref().map(tempfile::NamedTempFile::path), environment).map_err(|error| error.to_string())
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "allow = ['a']\n[http]\nlisten = '127.0.0.1:1'\nidle_timeout = '1m 5s'\nconnections_max = 7";
    let settings = load_with(Some(file), &[TOKEN, ("SLIPSTREAM__HTTP__LISTEN", "0.0.0.0:9000")]).unwrap();
    assert_eq!(settings.http.listen, "0.0.0.0:9000".parse().unwrap());
    assert_eq!(settings.http.idle_timeout, Duration::from_secs(65));
    assert_eq!(settings.http.connections_max, 7);
    assert_eq!(settings.http.head_timeout, HttpConfig::default().head_timeout);
    assert_eq!(settings.operator.token, Secret::new(TOKEN.1));
    assert_eq!(settings.allow, ["a"]);
}

#[test]
fn numbers_lists_and_enums_come_from_variables() {
    let settings = load_with(
        None,
        &[
            TOKEN,
            ("SLIPSTREAM__HTTP__CONNECTIONS_MAX", "12"),
            ("SLIPSTREAM__ALLOW", r#"["10.0.0.0/8", "127.0.0.1/32"]"#),
            ("SLIPSTREAM__TELEMETRY__LOG_FORMAT", "json"),
            ("SLIPSTREAM__TELEMETRY__OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("SLIPSTREAM_NATS_SERVER", "not ours: one underscore"),
        ],
    )
    .unwrap();
    assert_eq!(settings.http.connections_max, 12);
    assert_eq!(settings.allow, ["10.0.0.0/8", "127.0.0.1/32"]);
    assert_eq!(settings.telemetry.log_format, LogFormat::Json);
    assert!(settings.telemetry.otlp_endpoint.is_some());
}

#[test]
fn a_file_that_is_no_toml_is_told_by_place_and_without_its_text() {
    for (text, place) in [
        ("[operator]\ntoken = canary-of-16-bytes", "line 2, column 9"),
        ("operator.token = 'canary-of-16-bytes'\noperator.token = 'canary-of-16-bytes'", "line 2, column 10"),
        ("token = 'canary-of-16-bytes", "line 1, column "),
    ] {
        let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let error = load_from::<Settings>(Some(file.path()), []).unwrap_err();
        let sources = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told: Vec<_> = sources.map(|error| format!("{error} {error:?}")).collect();
        let told = told.join(": ");
        assert!(told.contains(place) && !told.contains("canary"), "{told}");
    }
}

#[test]
fn errors_name_the_variable() {
    for (name, value) in [
        ("SLIPSTREAM__HTTP__LISTEN", "nowhere"),
        ("SLIPSTREAM__HTTP__LISEN", "127.0.0.1:1"),
        ("SLIPSTREAM__HTTP__BODY_TIMEOUT", "30"),
        ("SLIPSTREAM__HTTP__CONNECTIONS_MAX", "many"),
        ("SLIPSTREAM__TELEMETRY__LOG_FORMAT", "xml"),
        ("SLIPSTREAM__NONSENSE", "1"),
        ("SLIPSTREAM__ALLOW", "[broken"),
        ("SLIPSTREAM__ALLOW", "['a']\nother = 1"),
        ("SLIPSTREAM__ALLOW", "[['a']]"),
        ("SLIPSTREAM__OPERATOR__TOKEN", "short"),
    ] {
        let error = load_with(None, &[TOKEN, (name, value)]).unwrap_err();
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn errors_name_the_key_and_the_file() {
    for (file, key) in [
        ("[http]\nlisen = '127.0.0.1:1'", "http.lisen"),
        ("[http]\nlisten = 5", "http.listen"),
        ("[nonsense]", "nonsense"),
    ] {
        let error = load_with(Some(file), &[TOKEN]).unwrap_err();
        assert!(error.contains(key) && error.contains(".toml"), "{error}");
    }
    let error = load_with(Some("[http"), &[TOKEN]).unwrap_err();
    assert!(error.contains(".toml"), "{error}");
}

#[test]
fn a_missing_setting_names_the_variable_that_gives_it() {
    let error = load_with(None, &[("SLIPSTREAM__OPERATOR__TOKEN", "0123456789012345")]).map(|_| ());
    assert_eq!(error, Ok(()));
    let error = load_with(Some("[operator]"), &[]).unwrap_err();
    assert!(error.contains("SLIPSTREAM__OPERATOR__TOKEN"), "{error}");
    let error = load_with(None, &[]).unwrap_err();
    assert!(error.contains("SLIPSTREAM__OPERATOR"), "{error}");
}

#[test]
fn secrets_do_not_print() {
    let settings = load_with(None, &[("SLIPSTREAM__OPERATOR__TOKEN", "canary-canary-canary")]).unwrap();
    assert!(!format!("{settings:?} {}", settings.operator.token).contains("canary"));
    let error = load_with(None, &[("SLIPSTREAM__OPERATOR__TOKEN", "canary")]).unwrap_err();
    assert!(!error.contains("canary"), "{error}");
}
