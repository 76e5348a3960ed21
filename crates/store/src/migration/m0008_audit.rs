//! Who did what, append-only; and the keys of requests that may be sent again.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Audit {
    Table,
    Number,
    Id,
    AtMs,
    Actor,
    Action,
    Kind,
    Target,
    Site,
    Trace,
    Outcome,
    Status,
    Begun,
    Previous,
    Hash,
}

#[derive(DeriveIden)]
enum IdempotencyKeys {
    Table,
    Scope,
    Fingerprint,
    Token,
    LeaseUntilMs,
    ExpiresMs,
    Status,
    Headers,
    Body,
}

/// A column that must have a value.
fn required(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind).not_null().take()
}

/// A column that may have none.
fn optional(name: impl IntoIden, kind: ColumnType) -> ColumnDef {
    ColumnDef::new_with_type(name, kind)
}

/// Read the same on both backends. One per question that the audit is asked, each in the order of its pages.
const INDEXES: [&str; 6] = [
    "CREATE INDEX audit_actor ON audit (actor, number)",
    "CREATE INDEX audit_action ON audit (action, number)",
    "CREATE INDEX audit_target ON audit (target, number)",
    "CREATE INDEX audit_site ON audit (site, number)",
    "CREATE INDEX audit_at ON audit (at_ms)",
    "CREATE INDEX idempotency_keys_expires ON idempotency_keys (expires_ms)",
];

/// Nobody changes a record, and nobody removes one before 6 years are over (THREATS 9): 6 × 365.25 × 86,400 s. Nothing in
/// this workspace does it afterwards either. `REPLACE` on SQLite deletes without asking a trigger of deletions, so the
/// next number is the only one that can be inserted.
const SQLITE: [&str; 3] = [
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit \
     BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit \
     WHEN OLD.at_ms > (CAST(strftime('%s', 'now') AS INTEGER) - 189345600) * 1000 \
     BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    "CREATE TRIGGER audit_only_append BEFORE INSERT ON audit \
     WHEN NEW.number <> COALESCE((SELECT MAX(number) FROM audit), 0) + 1 \
     OR EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) \
     BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
];

/// The same for PostgreSQL, where a table can be emptied without deleting a row.
const POSTGRES: [&str; 4] = [
    "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'restrict_violation'; END $$",
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW \
     WHEN (OLD.at_ms > (EXTRACT(EPOCH FROM now()) * 1000)::bigint - 189345600000) EXECUTE FUNCTION audit_refuse()",
    "CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        use ColumnType::{BigInteger, Blob, SmallInteger, Text, Uuid};

        let audit = Table::create()
            .table(Audit::Table)
            .col(required(Audit::Number, BigInteger).primary_key())
            .col(required(Audit::Id, Uuid).unique_key())
            .col(required(Audit::AtMs, BigInteger))
            .col(required(Audit::Actor, Text))
            .col(required(Audit::Action, Text))
            .col(required(Audit::Kind, Text))
            .col(optional(Audit::Target, Text))
            .col(optional(Audit::Site, Text))
            .col(optional(Audit::Trace, Text))
            .col(required(Audit::Outcome, Text))
            .col(optional(Audit::Status, SmallInteger))
            .col(optional(Audit::Begun, Uuid))
            .col(required(Audit::Previous, Blob))
            .col(required(Audit::Hash, Blob))
            .take();
        manager.create_table(audit).await?;

        let keys = Table::create()
            .table(IdempotencyKeys::Table)
            .col(required(IdempotencyKeys::Scope, Text).primary_key())
            .col(required(IdempotencyKeys::Fingerprint, Blob))
            .col(required(IdempotencyKeys::Token, Uuid))
            .col(required(IdempotencyKeys::LeaseUntilMs, BigInteger))
            .col(required(IdempotencyKeys::ExpiresMs, BigInteger))
            .col(optional(IdempotencyKeys::Status, SmallInteger))
            .col(optional(IdempotencyKeys::Headers, Text))
            .col(optional(IdempotencyKeys::Body, Blob))
            .take();
        manager.create_table(keys).await?;

        let is_sqlite = manager.get_database_backend() == DbBackend::Sqlite;
        let guards: &[&str] = if is_sqlite { &SQLITE } else { &POSTGRES };
        for statement in INDEXES.iter().chain(guards) {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }
}
