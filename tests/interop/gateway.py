"""A gateway with the rules of an HTTPRoute file, as small as one can be.

    python3 gateway.py FILE SERVICE=HOST:PORT …

Reads the rules (only path matches by RegularExpression), listens on a loopback port of the system's choice, prints that
port, and passes each request on to the service whose rule its path fits; `X-Rule` of the answer names it. A path that
fits no rule is answered 404, one that fits two 508: rules must not depend on which a gateway looks at first. Ends when
standard input does.
"""

import http.client
import http.server
import re
import sys
import threading

import yaml

# What concerns one connection only (RFC 9110, 7.6.1), and what the server here says by itself.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "date", "server"}


def read(file: str) -> list[tuple[str, list[re.Pattern]]]:
    with open(file, encoding="utf-8") as text:
        [route] = [it for it in yaml.safe_load_all(text) if it["kind"] == "HTTPRoute"]
    rules = []
    for rule in route["spec"]["rules"]:
        [backend] = rule["backendRefs"]
        expressions = []
        for match in rule["matches"]:
            # Anything else would be a rule that this gateway does not apply, and tests would not see it.
            assert set(match) == {"path"} and match["path"]["type"] == "RegularExpression", match
            value = match["path"]["value"]
            assert value.startswith("^") and value.endswith("$") and len(value) <= 1024, value
            expressions.append(re.compile(value, re.ASCII))
        assert set(rule) <= {"matches", "backendRefs"} and len(expressions) <= 64, rule
        rules.append((backend["name"], expressions))
    assert len(rules) <= 16, "more than the Gateway API allows"
    return rules


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rules: list[tuple[str, list[re.Pattern]]]
    services: dict[str, str]

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = self.path.split("?")[0]
        fitting = [service for service, expressions in self.rules if any(it.fullmatch(path) for it in expressions)]
        if len(fitting) != 1:
            status = 404 if not fitting else 508
            return self.answer(status, [("X-Rule", ",".join(fitting) or "none")], b"")
        upstream = http.client.HTTPConnection(self.services[fitting[0]], timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            headers = [it for it in answer.getheaders() if it[0].lower() not in HOP_BY_HOP | {"content-length"}]
            self.answer(answer.status, [*headers, ("X-Rule", fitting[0])], content)
        finally:
            upstream.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = pass_on

    def answer(self, status, headers, content):
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    Gateway.rules = read(sys.argv[1])
    Gateway.services = dict(it.split("=", 1) for it in sys.argv[2:])
    missing = {service for service, _ in Gateway.rules} - set(Gateway.services)
    assert not missing, f"nobody said where {missing} is"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


main()
