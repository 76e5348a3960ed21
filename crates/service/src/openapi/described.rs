//! Members with a description of their own and a schema that is written out where they stand.
//!
//! utoipa writes such a member as all of two schemas: its own, and an object without members that has the description. No
//! text is an object, so nothing at all would fit. Here the description goes to the schema, in the place of the one it has.

use utoipa::openapi::schema::{AdditionalProperties, ArrayItems};
use utoipa::openapi::{Object, RefOr, Schema};

/// Mends a schema and all within it.
pub(super) fn mend(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    if let Some(mended) = described(schema) {
        *schema = mended;
    }
    match schema {
        Schema::Object(object) => {
            object.properties.values_mut().for_each(mend);
            if let Some(AdditionalProperties::RefOr(schema)) = object.additional_properties.as_deref_mut() {
                mend(schema);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                mend(items);
            }
        }
        Schema::OneOf(of) => of.items.iter_mut().for_each(mend),
        Schema::AllOf(of) => of.items.iter_mut().for_each(mend),
        Schema::AnyOf(of) => of.items.iter_mut().for_each(mend),
        _ => {}
    }
}

/// The one schema that is meant by two, the second of which only describes it.
fn described(schema: &Schema) -> Option<Schema> {
    let Schema::AllOf(both) = schema else { return None };
    let [RefOr::T(itself), RefOr::T(Schema::Object(description))] = both.items.as_slice() else { return None };
    let mut nothing_else = Object::default();
    nothing_else.description.clone_from(&description.description);
    if *description != nothing_else {
        return None;
    }
    let mut itself = itself.clone();
    let place = match &mut itself {
        Schema::Object(it) => &mut it.description,
        Schema::Array(it) => &mut it.description,
        Schema::OneOf(it) => &mut it.description,
        Schema::AllOf(it) => &mut it.description,
        Schema::AnyOf(it) => &mut it.description,
        _ => return None,
    };
    place.clone_from(&description.description);
    Some(itself)
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::{AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};

    use super::*;

    fn time(description: &str) -> ObjectBuilder {
        ObjectBuilder::new().schema_type(Type::String).description(Some(description))
    }

    fn json(schema: &RefOr<Schema>) -> serde_json::Value {
        serde_json::to_value(schema).unwrap()
    }

    #[test]
    fn a_description_goes_to_the_schema_and_everything_else_stays() {
        let words = || ObjectBuilder::new().description(Some("When it was made"));
        let both: Schema = AllOfBuilder::new().item(time("Any time")).item(words()).into();
        let more = words().property("a", time("Any time"));
        let other: Schema = AllOfBuilder::new().item(time("Any time")).item(more).into();
        let within = |it: &Schema| {
            let list = ArrayBuilder::new().items(RefOr::T(it.clone()));
            let either = OneOfBuilder::new().item(it.clone()).item(ObjectBuilder::new().schema_type(Type::Null));
            let object = ObjectBuilder::new().property("a", it.clone()).property("b", list).property("c", either);
            RefOr::T(Schema::from(object.property("d", other.clone())))
        };
        let mut schema = within(&both);
        assert!(json(&schema)["properties"]["a"]["allOf"].is_array(), "{}", json(&schema));
        mend(&mut schema);
        assert_eq!(json(&schema), json(&within(&time("When it was made").into())));
    }
}
