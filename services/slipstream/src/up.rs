//! `slipstream up`: everything in this process, until Ctrl-C.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::broker::Sync;
use crate::cli::DataDirArgument;
use crate::console::{Style, field, say};
use crate::data_dir::DataDir;
use crate::embedded::{Embedded, Facts, Options};
use crate::settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where to listen. Default: 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
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

/// Starts everything, says how to use it, and stops it at a signal.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = Settings::load(arguments.config.as_deref())?;
    let telemetry = slipstream_service::telemetry::init("slipstream", &settings.telemetry)?;
    let data = DataDir::open(&arguments.data_dir.path()?).await?;
    let options = Options {
        listen: arguments.listen.unwrap_or(settings.http.listen),
        sync: arguments.sync,
        nats_url: arguments.nats_url,
        settings,
    };
    let mut embedded = Embedded::start(data, options).await?;
    greet(embedded.facts(), &embedded.data().root().display().to_string());
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

fn greet(facts: &Facts, data: &str) {
    let running = &facts.running;
    say(format_args!(
        "{} {} is up, after {:.1} s.\n",
        Style::Strong.paint("Slipstream"),
        env!("CARGO_PKG_VERSION"),
        facts.started_in.as_secs_f64()
    ));
    field("API", Style::Strong.paint(&running.url));
    field("durability", durability(facts.sync, facts.broker_log.is_some()));
    field("data", data);
    field(
        "broker",
        match &facts.broker_log {
            Some(log) => format!("nats-server at {}, log in {}", facts.nats_url, log.display()),
            None => format!("{} (not ours)", without_credentials(&facts.nats_url)),
        },
    );
    say("");
    field("demo site", Style::Strong.paint(&running.site));
    field("API key", &running.api_key);
    field("operator", &running.operator_token);
    say("");
    say(Style::Faint.paint("Publish an event:"));
    say(format_args!(
        "  curl -i {url}/sites/{site}/events -H 'X-API-KEY: {key}' \\\n    \
           -H 'Content-Type: application/cloudevents+json' \\\n    \
           -d '{{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/try\",\"type\":\"communications.letter.created\",\
           \"visibility\":1,\"data\":{{\"recordId\":\"c3a9d1b2-7f40-4c55-9d0e-2b6a8f1e4d70\"}}}}'\n",
        url = running.url,
        site = running.site,
        key = running.api_key,
    ));
    say(Style::Faint.paint("List deliveries:"));
    say(format_args!(
        "  curl {url}/admin/v1/deliveries -H 'Authorization: Bearer {token}'\n",
        url = running.url,
        token = running.operator_token
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

/// A URL without the name and password that may stand in it.
fn without_credentials(url: &str) -> String {
    let part = |url: &str| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (_, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    };
    url.split(',').map(|url| part(url.trim())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_password_is_not_shown() {
        assert_eq!(without_credentials("nats://me:canary@a:4222, nats://b"), "nats://a:4222,nats://b");
        assert_eq!(without_credentials("me:canary@a"), "a");
    }
}
