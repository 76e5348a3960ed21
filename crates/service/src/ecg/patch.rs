//! JSON Patch (RFC 6902), as this surface takes it (SPEC 6.1): in order, all or nothing, and of some members only.
//!
//! | what is wrong | answer |
//! | --- | --- |
//! | the patch itself: no list of operations, an unknown one, a member that is missing or is no JSON Pointer | 400 |
//! | a path that is not there or that may not be patched, a `test` that fails, a result beyond its limits | 422 |
//! | a result that breaks a rule of its members | 400, by whoever reads it then |
//!
//! What is left is read with [`json::read_value`](crate::json::read_value), which names the members. What holds a payload is
//! patched as it is written: [`apply_as_written`].
//!
//! A patch of a kilobyte can ask for a document of gigabytes (a copy of all into itself, thirty times), so what is copied
//! and moved has a limit, and so has how deep it goes.

mod written;

use http::{HeaderMap, header};
use json_patch::PatchOperation as Operation;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use slipstream_core::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX};
use slipstream_core::problem::{FieldError, Problem, ProblemKind};

use self::written::Node;
use crate::json;

/// What operations may copy and move together, in about bytes: as much as a body may have.
const COPIED_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Media types of a patch. Others that end in `+json` mean something else: that of RFC 7396 is no list of operations.
const CONTENT_TYPES: [&str; 2] = ["application/json", "application/json-patch+json"];

/// A patch that is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch(Vec<Step>);

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    operation: Operation,
    /// The value that it brings, as it is written; `null` if it brings none.
    value: Box<str>,
}

/// What is read of an operation a second time.
#[derive(Deserialize)]
struct Brought {
    /// None is null as well.
    #[serde(default)]
    value: Option<Box<RawValue>>,
}

/// Reads a patch.
///
/// # Errors
/// 415 when it is of another media type, 400 when it is malformed.
pub fn read(headers: &HeaderMap, body: &[u8]) -> Result<Patch, Problem> {
    json::check_content_type(headers)?;
    let essence = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    if !essence.is_some_and(|essence| CONTENT_TYPES.iter().any(|known| essence.trim().eq_ignore_ascii_case(known))) {
        let detail = "the Content-Type must be application/json or application/json-patch+json";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let operations: Vec<Operation> = json::read(body)?;
    for (index, operation) in operations.iter().enumerate() {
        for (member, pointer) in [("path", path(operation)), ("from", from(operation).unwrap_or_default())] {
            if !is_pointer(pointer) {
                return Err(wrong(ProblemKind::BadRequest, index, member, "must be a JSON Pointer"));
            }
        }
    }
    // It is JSON by now, and a list of objects.
    let brought: Vec<Brought> = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("the body is not valid JSON: line {}, column {}", error.line(), error.column());
        Problem::new(ProblemKind::BadRequest, detail)
    })?;
    let value = |it: Brought| it.value.map_or_else(|| "null".into(), |value| value.get().into());
    let steps = operations.into_iter().zip(brought).map(|(operation, it)| Step { operation, value: value(it) });
    Ok(Patch(steps.collect()))
}

/// What the patch makes of `document`, of which what is at one of the pointers `patchable`, or below it, may be changed.
/// Everything in it may be tested and copied from.
///
/// # Errors
/// 422 when an operation cannot be carried out: then nothing is.
pub fn apply(patch: &Patch, document: &Value, patchable: &[&str]) -> Result<Value, Problem> {
    carry_out(patch, document.clone(), patchable)
}

/// As [`apply`], of a document that stays as it is written where it is not patched, and takes what the patch brings as that
/// is written: members in their order, numbers digit by digit (SPEC 6.7). The result is compact.
///
/// # Errors
/// As of [`apply`].
///
/// # Panics
/// When `document` is not JSON.
pub fn apply_as_written(patch: &Patch, document: &str, patchable: &[&str]) -> Result<String, Problem> {
    let document = Node::read(document).expect("callers give JSON that was written here");
    Ok(carry_out(patch, document, patchable)?.to_string())
}

/// JSON in another spelling: without spaces, and otherwise as it is written.
///
/// # Panics
/// When `text` is not JSON.
pub fn compact(text: &RawValue) -> String {
    Node::read(text.get()).expect("a raw value is JSON").to_string()
}

/// Why an operation cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    member: &'static str,
    detail: &'static str,
}

impl Refused {
    const NO_PATH: Self = Self { member: "path", detail: "does not exist" };
    const NO_FROM: Self = Self { member: "from", detail: "does not exist" };
    const INSIDE: Self = Self { member: "path", detail: "is inside of what is moved" };
    const DIFFERS: Self = Self { member: "value", detail: "is not what is there" };
}

/// What operations are carried out in.
trait Document {
    /// How large what is at a pointer is, if anything is.
    fn size_at(&self, pointer: &str) -> Option<Size>;

    /// Carries one operation out. What it leaves after a refusal is of no use.
    fn take(&mut self, step: &Step) -> Result<(), Refused>;
}

impl Document for Value {
    fn size_at(&self, pointer: &str) -> Option<Size> {
        self.pointer(pointer).map(Size::of)
    }

    fn take(&mut self, step: &Step) -> Result<(), Refused> {
        if let Operation::Test(test) = &step.operation {
            let there = self.pointer(test.path.as_str()).ok_or(Refused::NO_PATH)?;
            return if is_same(there, &test.value) { Ok(()) } else { Err(Refused::DIFFERS) };
        }
        // One by one: a patch as a whole would be carried out by recursion, and taken back step by step.
        json_patch::patch(self, std::slice::from_ref(&step.operation)).map_err(|error| match error.kind {
            json_patch::PatchErrorKind::InvalidFromPointer => Refused::NO_FROM,
            json_patch::PatchErrorKind::CannotMoveInsideItself => Refused::INSIDE,
            _ => Refused::NO_PATH,
        })
    }
}

impl Document for Node {
    fn size_at(&self, pointer: &str) -> Option<Size> {
        self.at(pointer).map(Self::size)
    }

    fn take(&mut self, step: &Step) -> Result<(), Refused> {
        let given = || Self::read(&step.value).expect("it was read as JSON before");
        match &step.operation {
            Operation::Add(it) => self.add(it.path.as_str(), given()),
            Operation::Remove(it) => self.remove(it.path.as_str()).map(drop).ok_or(Refused::NO_PATH),
            Operation::Replace(it) => self.replace(it.path.as_str(), given()),
            Operation::Move(it) => {
                let (from, path) = (it.from.as_str(), it.path.as_str());
                if from != path && is_at_or_below(path, from) {
                    return Err(Refused::INSIDE);
                }
                let moved = self.remove(from).ok_or(Refused::NO_FROM)?;
                self.add(path, moved)
            }
            Operation::Copy(it) => {
                let copied = self.at(it.from.as_str()).ok_or(Refused::NO_FROM)?.clone();
                self.add(it.path.as_str(), copied)
            }
            Operation::Test(it) => {
                let there = self.at(it.path.as_str()).ok_or(Refused::NO_PATH)?;
                if there.is_same(&given()) { Ok(()) } else { Err(Refused::DIFFERS) }
            }
        }
    }
}

fn carry_out<D: Document>(patch: &Patch, mut result: D, patchable: &[&str]) -> Result<D, Problem> {
    let mut left = COPIED_BYTES_MAX;
    for (index, step) in patch.0.iter().enumerate() {
        let refuse = |member, detail| wrong(ProblemKind::Unprocessable, index, member, detail);
        let operation = &step.operation;
        let (path, from) = (path(operation), from(operation));
        let may_change = |pointer: &str| patchable.iter().any(|it| is_at_or_below(pointer, it));
        if !matches!(operation, Operation::Test(_)) && !may_change(path) {
            return Err(refuse("path", "cannot be patched"));
        }
        if let (Operation::Move(_), Some(from)) = (operation, from)
            && !may_change(from)
        {
            return Err(refuse("from", "cannot be patched"));
        }
        let size = match operation {
            Operation::Add(add) => Some(Size::of(&add.value)),
            Operation::Replace(replace) => Some(Size::of(&replace.value)),
            Operation::Move(_) | Operation::Copy(_) => from.and_then(|from| result.size_at(from)),
            Operation::Remove(_) | Operation::Test(_) => None,
        };
        if let Some(size) = size {
            if size.depth + path.matches('/').count() > JSON_DEPTH_MAX {
                return Err(refuse("path", "would be nested too deep"));
            }
            if from.is_some() {
                let too_much = "is one too many: the patch copies and moves more than is allowed";
                left = left.checked_sub(size.bytes).ok_or_else(|| refuse("from", too_much))?;
            }
        }
        result.take(step).map_err(|refused| refuse(refused.member, refused.detail))?;
    }
    Ok(result)
}

fn wrong(kind: ProblemKind, index: usize, member: &str, detail: &'static str) -> Problem {
    Problem::with_errors(kind, vec![FieldError::at(member, detail).in_batch(index)])
}

fn path(operation: &Operation) -> &str {
    match operation {
        Operation::Add(it) => it.path.as_str(),
        Operation::Remove(it) => it.path.as_str(),
        Operation::Replace(it) => it.path.as_str(),
        Operation::Move(it) => it.path.as_str(),
        Operation::Copy(it) => it.path.as_str(),
        Operation::Test(it) => it.path.as_str(),
    }
}

fn from(operation: &Operation) -> Option<&str> {
    match operation {
        Operation::Move(it) => Some(it.from.as_str()),
        Operation::Copy(it) => Some(it.from.as_str()),
        _ => None,
    }
}

/// Whether it is written as RFC 6901 says.
fn is_pointer(text: &str) -> bool {
    let is_escaped = |rest: &str| rest.starts_with('0') || rest.starts_with('1');
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(is_escaped)
}

/// Pointers to one place are written in one way only, but for what has `~` or `/` in its name.
fn is_at_or_below(pointer: &str, place: &str) -> bool {
    pointer.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether two values are the same by RFC 6902, 4.6: numbers by what they are worth, however they are written.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        // Whole numbers exactly: as floats, two large ones may be the same.
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(name, value)| other.get(name).is_some_and(|other| is_same(value, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// How large a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    /// About as many as it has as JSON; more for many small ones, which have more in memory, too.
    bytes: usize,
    /// Levels of lists and objects.
    depth: usize,
}

impl Size {
    fn own(bytes: usize) -> Self {
        Self { bytes: 8 + bytes, depth: 0 }
    }

    fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), depth: self.depth.max(other.depth) }
    }

    /// Of what holds these.
    fn outer(inner: impl Iterator<Item = Self>) -> Self {
        let Self { bytes, depth } = inner.fold(Self { bytes: 0, depth: 0 }, Self::and);
        Self { bytes: bytes.saturating_add(8), depth: 1 + depth }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Self::own(0),
            Value::String(text) => Self::own(text.len()),
            Value::Array(list) => Self::outer(list.iter().map(Self::of)),
            Value::Object(members) => {
                Self::outer(members.iter().map(|(name, value)| Self::own(name.len()).and(Self::of(value))))
            }
        }
    }
}

#[cfg(test)]
mod tests;
