//! As much of JSON Schema 2020-12 as `proto-schemas/` uses. Stricter in one point: a member that the schema does not
//! name is an error, since the examples are to show what there is.
//!
//! A whole implementation would be the largest crate of the workspace. `pattern` and `format` are left to the types
//! that the examples go through.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

/// What says nothing about a value, or is checked by our types.
const WITHOUT_EFFECT: [&str; 7] = ["$schema", "$id", "$defs", "title", "description", "pattern", "format"];

/// All schemas of a directory, by file name.
pub(crate) struct Schemas(BTreeMap<String, Value>);

/// A place in a schema: the file that its references are relative to, and the schema itself.
#[derive(Clone, Copy)]
struct Node<'a> {
    file: &'a str,
    schema: &'a Map<String, Value>,
}

impl Schemas {
    pub(crate) fn read(directory: &Path) -> Self {
        let files = std::fs::read_dir(directory).expect("the schemas are there").map(|entry| entry.unwrap().path());
        let schema = |path: &Path| serde_json::from_slice(&std::fs::read(path).unwrap()).expect("a schema is JSON");
        Self(files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), schema(&path))).collect())
    }

    /// The paths of all members that a value may have: `events/[]/key`.
    pub(crate) fn members(&self, of: &str) -> BTreeSet<String> {
        let mut members = BTreeSet::new();
        self.collect(self.root(of), "", &mut members);
        members
    }

    /// Checks a value, and takes every member it has out of `unseen`.
    pub(crate) fn check(&self, of: &str, value: &Value, unseen: &mut BTreeSet<String>) -> Result<(), String> {
        self.check_at(self.root(of), value, "", unseen)
    }

    fn root<'a>(&'a self, of: &str) -> Node<'a> {
        let (file, schema) = self.0.get_key_value(&format!("{of}.json")).unwrap_or_else(|| panic!("no schema {of}"));
        Node { file, schema: schema.as_object().unwrap() }
    }

    /// The schema that a reference names: `common.json#/$defs/slug`, or `#/$defs/event` in the same file.
    fn follow<'a>(&'a self, from: Node<'a>, reference: &str) -> Node<'a> {
        let (file, pointer) = reference.split_once('#').expect("references have a fragment");
        let file = if file.is_empty() { from.file } else { file };
        let (file, schema) = self.0.get_key_value(file).unwrap_or_else(|| panic!("no file {file}"));
        let schema = schema.pointer(pointer).unwrap_or_else(|| panic!("nothing at {reference}"));
        Node { file, schema: schema.as_object().unwrap() }
    }

    fn within<'a>(node: Node<'a>, schema: &'a Value) -> Node<'a> {
        Node { schema: schema.as_object().expect("schemas are objects here"), ..node }
    }

    fn collect(&self, node: Node<'_>, path: &str, members: &mut BTreeSet<String>) {
        for (keyword, value) in node.schema {
            match keyword.as_str() {
                "$ref" => self.collect(self.follow(node, value.as_str().unwrap()), path, members),
                "items" => self.collect(Self::within(node, value), &format!("{path}[]/"), members),
                "oneOf" => {
                    for branch in value.as_array().unwrap() {
                        self.collect(Self::within(node, branch), path, members);
                    }
                }
                "properties" => {
                    for (name, schema) in value.as_object().unwrap() {
                        members.insert(format!("{path}{name}"));
                        self.collect(Self::within(node, schema), &format!("{path}{name}/"), members);
                    }
                }
                _ => {}
            }
        }
    }

    fn check_at(&self, node: Node<'_>, value: &Value, path: &str, unseen: &mut BTreeSet<String>) -> Result<(), String> {
        let wrong = |what: String| Err(format!("at `{path}`: {what}"));
        for (keyword, rule) in node.schema {
            let holds = match keyword.as_str() {
                "$ref" => {
                    self.check_at(self.follow(node, rule.as_str().unwrap()), value, path, unseen)?;
                    true
                }
                "type" => match rule {
                    Value::Array(types) => types.iter().any(|name| is_of_type(value, name)),
                    name => is_of_type(value, name),
                },
                "enum" => rule.as_array().unwrap().contains(value),
                "const" => rule == value,
                "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
                "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= rule.as_u64().unwrap()),
                "required" => value.as_object().is_none_or(|members| {
                    rule.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
                }),
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.check_at(Self::within(node, rule), item, &format!("{path}[]/"), unseen)?;
                    }
                    true
                }
                "properties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let Some(schema) = rule.get(name) else { return wrong(format!("`{name}` is not named")) };
                        unseen.remove(&format!("{path}{name}"));
                        self.check_at(Self::within(node, schema), member, &format!("{path}{name}/"), unseen)?;
                    }
                    true
                }
                "oneOf" => {
                    let branches = rule.as_array().unwrap().iter().map(|branch| Self::within(node, branch));
                    let fits = |branch: &Node<'_>| self.check_at(*branch, value, path, &mut BTreeSet::new()).is_ok();
                    let fitting: Vec<_> = branches.filter(fits).collect();
                    let [branch] = fitting.as_slice() else {
                        return wrong(format!("{value} fits {} branches", fitting.len()));
                    };
                    self.check_at(*branch, value, path, unseen)?;
                    true
                }
                known if WITHOUT_EFFECT.contains(&known) => true,
                unknown => panic!("`{unknown}` is not checked here: teach it or do without"),
            };
            if !holds {
                return wrong(format!("{value} breaks `{keyword}`: {rule}"));
            }
        }
        Ok(())
    }
}

fn is_of_type(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type is a name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("type `{unknown}` is not checked here"),
    }
}
