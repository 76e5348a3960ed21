"""A client of an API that knows nothing but its OpenAPI document: what is not in there cannot be called, and answers that are
not as it says are failures."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

# No proxy, whatever the environment says: the API is on this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
LIMIT_SECONDS = 30
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def fetch(method: str, url: str, headers: dict, body: bytes | None) -> tuple[int, dict, bytes]:
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with OPENER.open(request, timeout=LIMIT_SECONDS) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, dict(answer.headers), answer.read()


def until(look, what: str):
    """What `look` gives, as soon as it gives anything."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {LIMIT_SECONDS} s: {what}"
        time.sleep(0.02)
    return found


class Api:
    def __init__(self, url: str):
        self.url = url.rstrip("/")
        status, _, document = fetch("GET", f"{self.url}/openapi.json", {}, None)
        assert status == 200, status
        self.document = json.loads(document)
        self.operations = {}
        for path, item in self.document["paths"].items():
            for method in METHODS & set(item):
                self.operations[method.upper(), path] = item[method]
        # Which were used, and how many calls that were.
        self.used, self.calls = set(), 0

    def call(self, method, path, expect, token=None, body=None, query=None, **values):
        """Calls an operation; gives the answer's body, or status and body if several statuses are expected."""
        operation = self.operations[method, path]
        self.used.add((method, path))
        self.calls += 1
        parameters = {(it["in"], it["name"]): it for it in operation.get("parameters", [])}
        query = query or {}
        for kind, given in (("path", values), ("query", query)):
            for name in given:
                assert (kind, name) in parameters, f"{method} {path} has no {name} in its {kind}"
            missing = [name for (where, name), it in parameters.items() if where == kind and it.get("required")]
            assert set(missing) <= set(given), f"{method} {path} wants {missing}"
        is_open = operation.get("security", self.document.get("security")) in ([], None)
        assert is_open == (token is None), f"{method} {path}: whether a token is needed"
        target = self.url + path.format_map({name: urllib.parse.quote(it, safe="") for name, it in values.items()})
        if query:
            target += "?" + urllib.parse.urlencode(query)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        sent = None
        if body is not None:
            content = operation["requestBody"]["content"]
            kind = "application/json" if "application/json" in content else next(iter(content))
            headers["Content-Type"] = kind
            problems = list(self.problems(content[kind].get("schema", {}), body, "#"))
            assert not problems, f"{method} {path} takes no such body: {problems}"
            sent = json.dumps(body).encode()
        else:
            assert not operation.get("requestBody", {}).get("required"), f"{method} {path} wants a body"
        status, answered, content = fetch(method, target, headers, sent)
        expected = (expect,) if isinstance(expect, int) else expect
        assert status in expected, f"{method} {target}: {status} {content.decode(errors='replace')}"
        answer = self.checked(operation, f"{method} {path}", status, answered, content)
        return answer if isinstance(expect, int) else (status, answer)

    def checked(self, operation, at, status, headers, content):
        assert str(status) in operation["responses"], f"{at}: {status} is not documented"
        documented = operation["responses"][str(status)].get("content", {})
        kind = {name.lower(): it for name, it in headers.items()}.get("content-type", "").split(";")[0]
        assert kind in documented, f"{at}: {status} as {kind!r} is not documented"
        answer = json.loads(content)
        problems = list(self.problems(documented[kind].get("schema", {}), answer, "#", is_closed=True))
        assert not problems, f"{at}: {status} is not as documented: {problems}: {answer}"
        return answer

    def parts(self, schema):
        """The schema and all that it is made of at once."""
        while "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        yield schema
        for part in schema.get("allOf", ()):
            yield from self.parts(part)

    def problems(self, schema, value, at, is_closed=False):
        """What is wrong with a value: as much of JSON Schema as these documents use. If `is_closed`, members that are not
        documented are wrong too."""
        parts = list(self.parts(schema))
        for part in parts:
            kinds = part.get("type", [])
            kinds = [kinds] if isinstance(kinds, str) else kinds
            if kinds and not any(is_of(kind, value) for kind in kinds):
                yield f"{at} is not of {kinds}"
                return
            if "enum" in part and value not in part["enum"]:
                yield f"{at} is none of {part['enum']}"
            for either in ("oneOf", "anyOf"):
                if either in part and all(list(self.problems(it, value, at, is_closed)) for it in part[either]):
                    yield f"{at} is none of {either}"
        if isinstance(value, list):
            for items in (part["items"] for part in parts if "items" in part):
                for index, element in enumerate(value):
                    yield from self.problems(items, element, f"{at}/{index}", is_closed)
        if isinstance(value, dict):
            known = {}
            for part in parts:
                known.update(part.get("properties", {}))
                yield from (f"{at}/{name} is missing" for name in part.get("required", ()) if name not in value)
            for name, member in value.items():
                if name in known:
                    yield from self.problems(known[name], member, f"{at}/{name}", is_closed)
                elif is_closed and known and not any("additionalProperties" in part for part in parts):
                    yield f"{at}/{name} is not documented"


def is_of(kind: str, value) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    raise AssertionError(f"an unknown type: {kind}")
