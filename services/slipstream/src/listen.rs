//! `slipstream listen`: a receiver for the desk. Verifies every webhook and prints it.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use http::StatusCode;
use slipstream_core::signing::Key;

use crate::api::Api;
use crate::cli::DataDirArgument;
use crate::console::{Style, one_line, say};
use crate::credentials::Running;
use crate::receiver::{Arrival, Receiver, Reply};

/// Characters of an attribute that are shown.
const ATTRIBUTE_SHOWN_MAX: usize = 120;
/// Characters of the data that are shown.
const DATA_SHOWN_MAX: usize = 2000;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The loopback port to listen on
    #[arg(long, default_value_t = 9000)]
    port: u16,
    /// A signing key, `whsec_…`, to verify with; may be given several times
    #[arg(long = "secret", value_name = "KEY", env = "SLIPSTREAM_WEBHOOK_SECRET", hide_env_values = true)]
    secrets: Vec<String>,
    /// The status to answer with
    #[arg(long, default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Subscribe at the running `slipstream up`, for its demo site, and fetch the signing key from it
    #[arg(long)]
    subscribe: bool,
    #[command(flatten)]
    data_dir: DataDirArgument,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse::<StatusCode>().map_err(|error| error.to_string())?;
    if status.as_u16() >= 200 { Ok(status) } else { Err("1xx is not an answer".to_owned()) }
}

/// Receives until Ctrl-C.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut keys = Vec::new();
    for secret in &arguments.secrets {
        keys.push(Key::parse(secret).context("--secret")?);
    }
    let status = arguments.status;
    let receiver = Receiver::start(arguments.port, move |arrival| {
        say(block(&arrival, status));
        Reply::from(status)
    })
    .await?;
    let url = receiver.url();
    if arguments.subscribe {
        let root = arguments.data_dir.path()?;
        let running = Running::require(&root, "leave --subscribe away and give --secret")?;
        let api = Api::of(&running)?;
        api.subscribe(&running.site, &running.api_key, &url).await?;
        keys.extend(api.signing_keys(&running.operator_token, &running.site, &url).await?);
        say(format_args!("Subscribed to the letters of site {} at {}.", running.site, running.url));
    }
    let keyless = keys.is_empty();
    receiver.set_keys(keys);
    say(format_args!("Listening at {}, answering {status}. Ctrl-C ends.", Style::Strong.paint(&url)));
    if keyless {
        say(Style::Odd.paint("No key was given: nothing can be verified. Use --secret or --subscribe."));
    }
    tokio::signal::ctrl_c().await.context("cannot watch for Ctrl-C")?;
    if arguments.subscribe {
        say("\nEnded. The subscription stays: what is published meanwhile is retried until this listens again.");
    }
    Ok(())
}

/// A webhook, readable.
fn block(arrival: &Arrival, status: StatusCode) -> String {
    let event = arrival.event();
    let attribute = |name: &str| match &event[name] {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => one_line(text, ATTRIBUTE_SHOWN_MAX),
        other => one_line(&other.to_string(), ATTRIBUTE_SHOWN_MAX),
    };
    let signature = match arrival.verified {
        Ok(()) => Style::Good.paint("signature verified"),
        Err(error) => Style::Bad.paint(format_args!("NOT VERIFIED: {error}")),
    };
    let event_type = match attribute("type") {
        text if text.is_empty() => "(no CloudEvent)".to_owned(),
        text => text,
    };
    let mut block = format!("\n{}  {}  {signature}\n", arrival.at, Style::Strong.paint(event_type));
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let name = Style::Faint.paint(format_args!("{name:<11}"));
            writeln!(block, "  {name} {value}").expect("writing to a string cannot fail");
        }
    };
    for name in ["id", "source", "subject", "time", "siteslug", "priority", "intendeddeliverytime", "expirytime"] {
        field(name, &attribute(name));
    }
    field("webhook-id", &one_line(arrival.header("webhook-id"), ATTRIBUTE_SHOWN_MAX));
    let data = match (&event, &event["data"]) {
        (serde_json::Value::Null, _) => one_line(&String::from_utf8_lossy(&arrival.body), DATA_SHOWN_MAX),
        (_, serde_json::Value::Null) => String::new(),
        (_, data) => one_line(&data.to_string(), DATA_SHOWN_MAX),
    };
    field("data", &data);
    field("answered", status.as_str());
    block.truncate(block.trim_end().len());
    block
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use slipstream_core::signing::VerifyError;
    use slipstream_core::timestamp::Timestamp;

    use super::*;

    fn arrival(body: &'static [u8], verified: Result<(), VerifyError>) -> Arrival {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        Arrival { at: Timestamp::from_millis(0), headers, body: body.into(), verified }
    }

    #[test]
    fn an_event_is_shown_with_what_matters() {
        let body = br#"{"specversion":"1.0","id":"1","source":"/a","type":"t.x","priority":2,"data":{"b":1}}"#;
        assert_eq!(
            block(&arrival(body, Ok(())), StatusCode::OK),
            "\n1970-01-01T00:00:00.000Z  t.x  signature verified\n  id          1\n  source      /a\n  \
             priority    2\n  webhook-id  msg_1\n  data        {\"b\":1}\n  answered    200"
        );
    }

    #[test]
    fn what_is_no_event_is_shown_as_it_came_and_what_is_forged_is_said_to_be() {
        let text = block(&arrival(b"hello\x1b[31m", Err(VerifyError::NoMatch)), StatusCode::OK);
        assert!(text.contains("NOT VERIFIED: no signature fits") && text.contains("(no CloudEvent)"), "{text}");
        assert!(text.contains("hello\u{fffd}[31m"), "{text}");
    }

    #[test]
    fn only_final_statuses_can_be_answered() {
        assert!(status("503").is_ok() && status("100").is_err() && status("1000").is_err() && status("x").is_err());
    }
}
