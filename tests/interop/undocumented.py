"""A check for schemathesis: answers have no member that the document does not have.

JSON Schema lets objects have further members, and so do our documents, since members may be added. So a member that is
written down under a wrong name is no mistake to the check of schemas; to this one it is.
"""

import schemathesis


@schemathesis.check
def undocumented_members(ctx, response, case):
    document = case.operation.schema.raw_schema
    operation = document["paths"][case.operation.path][case.operation.method.lower()]
    documented = operation["responses"].get(str(response.status_code), {})
    media_type = response.headers.get("content-type", [""])[0].split(";")[0]
    content = documented.get("content", {}).get(media_type)
    # What is not there is the matter of other checks.
    if content is None or not media_type.endswith("json"):
        return
    found = sorted(unknown(document, content["schema"], response.json(), "#"))
    assert not found, f"members that are not in the document: {', '.join(found)}"


def unknown(document, schema, value, place):
    """The pointers of members that no part of `schema` has."""
    if isinstance(value, list):
        elements = [it["items"] for it in parts(document, schema) if "items" in it]
        for index, element in enumerate(value):
            for items in elements[:1]:
                yield from unknown(document, items, element, f"{place}/{index}")
    elif isinstance(value, dict):
        known = {}
        for part in parts(document, schema):
            known.update(part.get("properties", {}))
        # A schema without members, such as that of any JSON, lets everything be there.
        for name, member in value.items() if known else ():
            if name in known:
                yield from unknown(document, known[name], member, f"{place}/{name}")
            else:
                yield f"{place}/{name}"


def parts(document, schema):
    """The schema and all that it is made of."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    yield schema
    for kind in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(kind, ()):
            yield from parts(document, part)
