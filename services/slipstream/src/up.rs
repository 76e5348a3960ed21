//! `slipstream up`: everything in this process, until Ctrl-C.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::broker::Sync;
use crate::cli::DataDirArgument;
use crate::console::{Style, field, say};
use crate::credentials::Running;
use crate::data_dir::DataDir;
use crate::embedded::{Embedded, Facts, Options};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen for everybody. Default: 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The port of the operator API, the probes and the metrics; 0 for any. Default: 8081, on loopback; any, if
    /// `--listen` asks for any port
    #[arg(long, value_name = "PORT")]
    operator_port: Option<u16>,
    #[command(flatten)]
    data_dir: DataDirArgument,
    /// When the broker writes to disk: `always` (before it accepts), or every so often, as `100ms`
    #[arg(long, value_name = "WHEN", default_value = "always")]
    sync: Sync,
    /// Use a running NATS server (2.15.1 or newer, with JetStream) in place of the embedded one
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    /// Configuration file (TOML); variables `SLIPSTREAM__…` go before it, flags before both
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    /// Where operators connect, if the settings say `set`.
    fn operator_listen(&self, set: SocketAddr) -> SocketAddr {
        let any = self.listen.is_some_and(|listen| listen.port() == 0).then_some(0);
        SocketAddr::new(set.ip(), self.operator_port.or(any).unwrap_or(set.port()))
    }
}

/// Starts everything, says how to use it, and stops it at a signal.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(arguments.config.as_deref())?;
    let telemetry = slipstream_service::telemetry::init("slipstream", &settings.telemetry)?;
    let data = DataDir::open(&arguments.data_dir.path()?).await?;
    let options = Options {
        operator_listen: arguments.operator_listen(settings.http.operator_listen),
        listen: arguments.listen.unwrap_or(settings.http.listen),
        sync: arguments.sync,
        nats_url: arguments.nats_url,
        settings,
    };
    let mut embedded = Embedded::start(data, options).await?;
    let credentials = Credentials::shown(&embedded.facts().running, std::io::stdout().is_terminal());
    greet(embedded.facts(), embedded.data(), credentials);
    // Nothing to do but to keep the broker alive, until a signal or a failure.
    embedded.run_until(std::future::pending::<()>()).await;
    say("\nStopping: finishing what is under way (once more Ctrl-C stops at once).");
    let is_embedded = embedded.facts().broker_log.is_some();
    let stopped = embedded.stop().await;
    telemetry.shutdown().await;
    stopped?;
    say(if is_embedded { "Stopped, and nats-server with it. The data stays." } else { "Stopped. The data stays." });
    Ok(())
}

/// What stands for the credentials in a greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Credentials<'a> {
    api_key: &'a str,
    operator_token: &'a str,
    /// Whether these are the credentials themselves.
    are_shown: bool,
}

impl<'a> Credentials<'a> {
    /// Whoever sits at a terminal may see them. Anything else, a file or a journal, keeps what it is given and shows it to
    /// others: that gets the names of variables, to be filled from the file for the owner's eyes.
    fn shown(running: &'a Running, is_terminal: bool) -> Self {
        if is_terminal {
            Self { api_key: &running.api_key, operator_token: &running.operator_token, are_shown: true }
        } else {
            Self { api_key: "$API_KEY", operator_token: "$OPERATOR_TOKEN", are_shown: false }
        }
    }
}

fn greet(facts: &Facts, data: &DataDir, credentials: Credentials<'_>) {
    let running = &facts.running;
    say(format_args!(
        "{} {} is up, after {:.1} s.\n",
        Style::Strong.paint("Slipstream"),
        env!("CARGO_PKG_VERSION"),
        facts.started_in.as_secs_f64()
    ));
    field("API", Style::Strong.paint(&running.url));
    field("operator API", format_args!("{}, with /readyz and /metrics; not for the public", running.operator_url));
    field("durability", durability(facts.sync, facts.broker_log.is_some()));
    field("data", data.root().display());
    field(
        "broker",
        match &facts.broker_log {
            Some(log) => format!("nats-server at {}, log in {}", facts.nats_url, log.display()),
            None => format!("{} (not ours)", facts.nats_url),
        },
    );
    say("");
    field("demo site", Style::Strong.paint(&running.site));
    if credentials.are_shown {
        field("API key", credentials.api_key);
        field("operator token", credentials.operator_token);
    } else {
        let file = Running::file(data);
        field("API key", format_args!("the api_key in {}", file.display()));
        field("operator token", format_args!("the operator_token in {}", file.display()));
    }
    if running.makes_ecg_tokens {
        field("ECG tokens", "slipstream ecg-token --role webhookManager --organization UUID");
    }
    say("");
    say(Style::Faint.paint("Publish an event:"));
    say(format_args!(
        "  curl -i {url}/sites/{site}/events -H \"X-API-KEY: {key}\" \\\n    \
           -H 'Content-Type: application/cloudevents+json' \\\n    \
           -d '{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/try\",\"type\":\"communications.letter.created\",\
           \"visibility\":1,\"data\":{{\"recordId\":\"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70\"}}}}'\n",
        url = running.url,
        site = running.site,
        key = credentials.api_key,
    ));
    say(Style::Faint.paint("List deliveries:"));
    say(format_args!(
        "  curl {url}/admin/v1/deliveries -H \"Authorization: Bearer {token}\"\n",
        url = running.operator_url,
        token = credentials.operator_token
    ));
    say(Style::Faint.paint("See them arrive, in another terminal:"));
    say("  slipstream listen --subscribe\n");
    say("Ctrl-C stops.");
}

/// What the setting promises, in words.
fn durability(sync: Sync, is_embedded: bool) -> String {
    match sync {
        Sync::Always if is_embedded => "sync always: what was accepted is on disk and survives a power cut".to_owned(),
        Sync::Always => "as the NATS server is set (told to us: sync always)".to_owned(),
        Sync::Every(_) => {
            format!("sync every {sync}: a power cut loses what was accepted since; a crash loses nothing")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_for_terminals_only() {
        let text = |name: &str| name.to_owned();
        let running = Running {
            url: text("u"),
            operator_url: text("o"),
            site: text("s"),
            api_key: text("canary-key"),
            operator_token: text("canary-token"),
            makes_ecg_tokens: true,
        };
        let shown = Credentials::shown(&running, true);
        assert_eq!((shown.api_key, shown.operator_token, shown.are_shown), ("canary-key", "canary-token", true));
        let hidden = format!("{:?}", Credentials::shown(&running, false));
        assert!(!hidden.contains("canary") && hidden.contains("$API_KEY"), "{hidden}");
    }

    #[test]
    fn the_operators_port_is_the_flags_or_any_or_the_settings() {
        let port = |listen: Option<&str>, operator_port| {
            let arguments = Arguments {
                listen: listen.map(|listen| listen.parse().unwrap()),
                operator_port,
                data_dir: DataDirArgument::default(),
                sync: Sync::Always,
                nats_url: None,
                config: None,
            };
            arguments.operator_listen(([127, 0, 0, 1], 9091).into()).port()
        };
        assert_eq!(port(None, None), 9091);
        assert_eq!(port(Some("127.0.0.1:9000"), None), 9091);
        assert_eq!(port(Some("127.0.0.1:0"), None), 0);
        assert_eq!(port(Some("127.0.0.1:0"), Some(7)), 7);
        assert_eq!(port(None, Some(0)), 0);
    }
}
