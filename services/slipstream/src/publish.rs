//! `slipstream publish`: makes events and publishes them, in any of the three modes.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use slipstream_core::limits::BODY_BYTES_MAX;
use slipstream_service::clock;

use crate::api::{Answer, Api, Mode};
use crate::cli::DataDirArgument;
use crate::console::{Style, one_line, say};
use crate::credentials::Running;
use crate::events::{NewEvent, When};

/// Events in one request of batch mode.
const BATCH_MAX: usize = 100;
/// Requests that are printed one by one; beyond, a sum is.
const PRINTED_MAX: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the API is. Default: the running `slipstream up`
    #[arg(long)]
    url: Option<String>,
    /// The site to publish to. Default: the demo site of the running one
    #[arg(long)]
    site: Option<String>,
    /// The API key. Default: the demo account's
    #[arg(long, env = "SLIPSTREAM_API_KEY", hide_env_values = true)]
    key: Option<String>,
    #[command(flatten)]
    data_dir: DataDirArgument,
    /// The event's type
    #[arg(long = "type", value_name = "TYPE", default_value = "communications.letter.created")]
    event_type: String,
    /// The event's source, a URI-reference
    #[arg(long, default_value = "/slipstream/cli")]
    source: String,
    /// The event's id; with --count, `-1`, `-2` … are added. Default: a fresh one each
    #[arg(long)]
    id: Option<String>,
    /// What the event is about
    #[arg(long)]
    subject: Option<String>,
    /// The event's data, JSON or text, or @FILE. Default: a letter's
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// 0 internal, 1 public (webhooks see only these), 2 work queue, 3 private
    #[arg(long, default_value_t = 1)]
    visibility: i64,
    /// 0 normal, 1 high, 2 realtime
    #[arg(long)]
    priority: Option<i64>,
    /// Not to be delivered before: RFC 3339, or from now on, as +2s
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    intended_delivery_time: Option<When>,
    /// Not to be delivered after: RFC 3339, or from now on, as +1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    expiry_time: Option<When>,
    /// How the event is put into the request
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// How many events to publish
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
}

/// Where to publish, and by whose key.
struct Target {
    api: Api,
    site: String,
    key: String,
}

impl Target {
    fn find(arguments: &Arguments) -> anyhow::Result<Self> {
        let (url, site, key) = match (&arguments.url, &arguments.site, &arguments.key) {
            (Some(url), Some(site), Some(key)) => (url.clone(), site.clone(), key.clone()),
            (url, site, key) => {
                let running = Running::require(&arguments.data_dir.path()?, "give --url, --site and --key")?;
                // A key is never sent to a place that it was not made for.
                anyhow::ensure!(
                    url.is_none() || key.is_some(),
                    "--url needs --key too: the saved key is of another place"
                );
                let or = |given: &Option<String>, saved: String| given.clone().unwrap_or(saved);
                (or(url, running.url), or(site, running.site), or(key, running.api_key))
            }
        };
        anyhow::ensure!(site.bytes().all(|byte| byte.is_ascii_alphanumeric()), "`{site}` is not a site's slug");
        Ok(Self { api: Api::new(&url)?, site, key })
    }
}

/// Publishes and prints each answer.
///
/// # Errors
/// At the first refusal, with what it says.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let target = Target::find(&arguments)?;
    let data = data(arguments.data.as_deref())?;
    let per_request = if arguments.mode == Mode::Batch { BATCH_MAX } else { 1 };
    let ids: Vec<String> = (1..=arguments.count).map(|number| id(&arguments, number)).collect();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for (index, ids) in ids.chunks(per_request).enumerate() {
        let events = ids.iter().map(|id| new_event(&arguments, id, data.as_deref()).build());
        let events = events.collect::<anyhow::Result<Vec<_>>>()?;
        let answer = target.api.publish(&target.site, &target.key, arguments.mode, &events).await?;
        slowest = slowest.max(answer.took);
        anyhow::ensure!(answer.status.is_success(), "the event was refused: {answer}");
        if index < PRINTED_MAX {
            report(&answer, ids, arguments.mode);
        } else if index == PRINTED_MAX {
            say(Style::Faint.paint("…"));
        }
    }
    if ids.len() > 1 {
        let took = began.elapsed().as_secs_f64();
        let rate = ids.len() as f64 / took.max(f64::MIN_POSITIVE);
        let slowest = slowest.as_secs_f64() * 1000.0;
        let count = ids.len();
        say(format_args!("{count} events accepted in {took:.2} s: {rate:.0}/s, slowest answer {slowest:.1} ms"));
    }
    Ok(())
}

fn report(answer: &Answer, ids: &[String], mode: Mode) {
    let what = match ids {
        [id] => one_line(id, 60),
        [first, .., last] => format!("{} events, {} to {}", ids.len(), one_line(first, 40), one_line(last, 40)),
        [] => String::new(),
    };
    let took = format!("{:.1} ms", answer.took.as_secs_f64() * 1000.0);
    say(format_args!("{}  {took:>9}  {:<10}  {what}", Style::Good.paint(answer.status), mode.as_str()));
}

fn id(arguments: &Arguments, number: u32) -> String {
    match &arguments.id {
        Some(id) if arguments.count == 1 => id.clone(),
        Some(id) => format!("{id}-{number}"),
        None => clock::new_uuid().to_string(),
    }
}

fn new_event(arguments: &Arguments, id: &str, data: Option<&str>) -> NewEvent {
    let now = clock::now();
    let letter = NewEvent::letter(id);
    NewEvent {
        source: arguments.source.clone(),
        event_type: arguments.event_type.clone(),
        subject: arguments.subject.clone(),
        data: data.map(str::to_owned).or(letter.data),
        visibility: arguments.visibility,
        priority: arguments.priority,
        intended_delivery_time: arguments.intended_delivery_time.map(|when| when.seen_from(now)),
        expiry_time: arguments.expiry_time.map(|when| when.seen_from(now)),
        id: letter.id,
    }
}

/// The data that was given, out of a file if it says so.
fn data(argument: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(path) = argument.and_then(|data| data.strip_prefix('@')) else {
        return Ok(argument.map(str::to_owned));
    };
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {path}"))?.len();
    anyhow::ensure!(size <= BODY_BYTES_MAX as u64, "{path} has {size} bytes; a request takes {BODY_BYTES_MAX}");
    std::fs::read_to_string(path).map(Some).with_context(|| format!("cannot read {path} as UTF-8 text"))
}
