//! Whether the chain is whole.

use std::fmt;
use std::str::FromStr;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};
use slipstream_core::timestamp::Timestamp;

use super::{AuditRow, BEGINNING, COLUMNS};
use crate::error::StoreError;

/// Rows that are read at a time.
const ROWS: i64 = 1000;

/// A place in the chain: a record's number and its hash. Written as `{number}-{64 hex digits}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The record's number.
    pub number: u64,
    /// Its hash, over itself and the hash of the one before.
    pub hash: [u8; 32],
}

/// The text is no place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record's number, a hyphen and 64 hex digits")]
pub struct NotALink;

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.number)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Link {
    type Err = NotALink;

    fn from_str(text: &str) -> Result<Self, NotALink> {
        let (number, hex) = text.split_once('-').ok_or(NotALink)?;
        let number = number.parse().ok().filter(|number| (1..i64::MAX).contains(number)).ok_or(NotALink)?;
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotALink);
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| NotALink)?;
        }
        Ok(Self { number: i64::cast_unsigned(number), hash })
    }
}

/// What was found, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// How many records are as they were appended, one after the other, after the place where this began.
    pub intact: u64,
    /// The first record that was looked at, and its time. Where the whole chain is checked: number 1, unless the oldest were
    /// removed.
    pub first: Option<(u64, Timestamp)>,
    /// The number of the first record that is not what was appended, or does not follow the one before it.
    pub broken_at: Option<u64>,
    /// The last record that is intact.
    pub head: Option<Link>,
}

/// Goes through the chain, a statement per 1,000 records, and holds no more in memory. What is appended meanwhile is looked
/// at too.
///
/// The first record may be a later one than number 1, because the oldest may be removed after 6 years: what it says of the
/// one before it is believed then.
#[derive(Debug)]
pub struct Verification {
    chain: Chain,
    /// Where it begins, until that was looked at.
    from: Option<Link>,
    has_ended: bool,
}

impl Verification {
    /// Of the whole chain, or of what follows `from`: where an earlier one came to, or a place that was noted elsewhere. That
    /// record must stand as it was known; if it does not, or is not there any more, the chain is broken there.
    pub fn new(from: Option<Link>) -> Self {
        Self { chain: Chain::default(), from, has_ended: false }
    }

    /// What was found so far.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// Whether there is nothing more to look at: the end was reached, or a record that is not as it was.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Looks at the next 1,000 records. Given up halfway, it has looked at none of them.
    pub async fn step(&mut self, connection: &impl ConnectionTrait) -> Result<(), StoreError> {
        let next = match (self.from, self.chain.head) {
            (Some(from), _) => from.number,
            (None, Some(head)) => head.number + 1,
            (None, None) => 0,
        };
        let rows = rows_from(connection, next).await?;
        self.has_ended = (rows.len() as i64) < ROWS;
        let mut rows = rows.iter();
        if let Some(from) = self.from.take() {
            let known = rows.next().filter(|row| row.number.cast_unsigned() == from.number && row.hash == from.hash);
            let Some(known) =
                known.filter(|row| previous(row).is_some_and(|before| from.hash == row.link().hash(&before)))
            else {
                self.break_at(from.number);
                return Ok(());
            };
            self.chain.head = Some(from);
            self.chain.first = Some(place(known));
        }
        for row in rows {
            if !self.follows(row) {
                self.break_at(row.number.cast_unsigned());
                break;
            }
        }
        Ok(())
    }

    /// Takes `row` in, if it is what comes next.
    fn follows(&mut self, row: &AuditRow) -> bool {
        let number = row.number.cast_unsigned();
        let before = match self.chain.head {
            Some(head) => Some(head.hash).filter(|_| number == head.number + 1),
            None if number == 1 => Some(BEGINNING),
            None => previous(row),
        };
        self.chain.first.get_or_insert(place(row));
        let Some(before) = before.filter(|before| row.previous == before) else { return false };
        let hash = row.link().hash(&before);
        if row.hash != hash {
            return false;
        }
        self.chain.intact += 1;
        self.chain.head = Some(Link { number, hash });
        true
    }

    fn break_at(&mut self, number: u64) {
        self.chain.broken_at = Some(number);
        self.has_ended = true;
    }
}

/// What a record says of the one before.
fn previous(row: &AuditRow) -> Option<[u8; 32]> {
    row.previous.as_slice().try_into().ok()
}

fn place(row: &AuditRow) -> (u64, Timestamp) {
    (row.number.cast_unsigned(), Timestamp::from_millis(row.at_ms))
}

/// Goes through all records, however long that takes.
pub async fn verify(connection: &impl ConnectionTrait) -> Result<Chain, StoreError> {
    let mut verification = Verification::new(None);
    while !verification.has_ended() {
        verification.step(connection).await?;
    }
    Ok(verification.chain())
}

async fn rows_from(connection: &impl ConnectionTrait, number: u64) -> Result<Vec<AuditRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM audit WHERE number >= $1 ORDER BY number LIMIT $2");
    let values = [Value::BigInt(Some(number.cast_signed())), Value::BigInt(Some(ROWS))];
    let statement = Statement::from_sql_and_values(connection.get_database_backend(), sql, values);
    Ok(AuditRow::find_by_statement(statement).all(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_as_it_is_written() {
        let link = Link { number: 12, hash: std::array::from_fn(|at| at as u8 * 8) };
        assert_eq!(link.to_string().parse(), Ok(link));
        let hex = "0".repeat(64);
        let huge = u64::MAX;
        for other in ["", "12", "12-", "-", &hex, &format!("0-{hex}"), &format!("-1-{hex}"), &format!("{huge}-{hex}")] {
            assert_eq!(other.parse::<Link>(), Err(NotALink), "{other}");
        }
        assert_eq!(format!("1-{hex}0").parse::<Link>(), Err(NotALink));
        assert_eq!(format!("1-{}\u{e4}", &hex[2..]).parse::<Link>(), Err(NotALink));
    }
}
