//! `slipstream ecg-token`: a token for the ECG surface of a running `slipstream up`.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;
use slipstream_service::clock;
use uuid::Uuid;

use crate::cli::DataDirArgument;
use crate::console::say;
use crate::credentials::Running;
use crate::ecg_issuer::EcgIssuer;

/// How long a token may be good: for a day of trying things out.
const VALID_FOR_MAX: Duration = Duration::from_hours(24);
/// Who holds a token if nobody is named: always the same one.
const SOMEBODY: &str = "0192e4a0-7b1c-7d3e-8f45-6a7b8c9d0e1f";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What it permits: everything, or what belongs to the organizations named
    #[arg(long, value_enum)]
    role: Role,
    /// An organization that it is for: any UUID. May be given several times; a manager needs one at least
    #[arg(long = "organization", value_name = "UUID")]
    organizations: Vec<Uuid>,
    /// Who holds it, in `createdBy` and in the audit log
    #[arg(long, value_name = "UUID", default_value = SOMEBODY)]
    subject: Uuid,
    /// How long it is good, at most a day
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    valid_for: Duration,
    #[command(flatten)]
    data_dir: DataDirArgument,
}

/// A role of the ECG surface, by the name that it has in tokens (SPEC 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    #[value(name = "webhookAdmin")]
    Admin,
    #[value(name = "webhookManager")]
    Manager,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Admin => "webhookAdmin",
            Self::Manager => "webhookManager",
        }
    }
}

/// Prints the token and nothing else, so that a shell can take it up.
#[expect(clippy::unused_async, reason = "every command is asynchronous")]
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { role, organizations, subject, valid_for, data_dir } = arguments;
    anyhow::ensure!(
        role == Role::Admin || !organizations.is_empty(),
        "a webhookManager manages organizations: name one with --organization"
    );
    anyhow::ensure!(
        valid_for <= VALID_FOR_MAX && valid_for >= Duration::from_secs(1),
        "--valid-for must be between a second and a day"
    );
    let root = data_dir.path()?;
    let running = Running::require(&root, "ask the issuer that the services' `auth.ecg` names")?;
    anyhow::ensure!(
        running.makes_ecg_tokens,
        "the running `slipstream up` takes no tokens of its own making, because its `auth.ecg` names issuers or it can be \
         reached from other machines: ask an issuer of `auth.ecg`"
    );
    let issuer = EcgIssuer::find(&root)?.with_context(|| format!("{} holds no key to sign with", root.display()))?;
    let now = clock::now().as_seconds();
    let token = issuer.sign(json!({
        "sub": subject,
        "roles": [role.name()],
        "organizationIds": organizations,
        "iat": now,
        "nbf": now,
        "exp": now + valid_for.as_secs() as i64,
        "jti": Uuid::new_v4(),
    }))?;
    say(token);
    Ok(())
}
