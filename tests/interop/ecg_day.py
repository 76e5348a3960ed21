"""A day in the life of those who use the ECG surface, from nothing but the OpenAPI document that is served.

    python3 ecg_day.py URL ADMIN_TOKEN MANAGER_TOKEN ORGANIZATION

An admin defines what there is, a manager subscribes a receiver (here, on loopback), posts, sees posts fail and be repeated,
posts some by itself, replaces secrets, switches things off and on, and clears up. Every one of the 53 operations is used;
what is posted is verified by the Standard Webhooks library and by an HMAC of our own. Prints what was done as JSON.

The system must retry after tenths of a second: `delivery.retry_schedule_ms = [0, 200, 300]`.
"""

import base64
import hashlib
import hmac
import http.server
import json
import sys
import threading
import time
import uuid
from datetime import datetime, timezone

from openapi_client import Api, until
from standardwebhooks import Webhook

CAT = "/api/webhook-categories"
ONE_CAT = CAT + "/{webhookCategoryId}"
EVT = ONE_CAT + "/webhook-events"
ONE_EVT = EVT + "/{webhookEventId}"
SUB = "/api/organizations/{organizationId}/webhook-subscriptions"
ONE_SUB = SUB + "/{subscriptionId}"
ACT = ONE_SUB + "/activity"
HSH = "/api/organizations/{organizationId}/subscriptions/{subscriptionId}"
TRUE = {"value": True}


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it gets, and answers by the list of statuses, then 200."""

    received: list[tuple[dict, bytes]] = []
    statuses: list[int] = []

    def do_OPTIONS(self):
        self.answer(200, {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = Receiver.statuses.pop(0) if Receiver.statuses else 200
        Receiver.received.append((dict(self.headers), body))
        self.answer(status, {})

    def answer(self, status, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


def posts_of(event_code: str) -> list[tuple[dict, bytes]]:
    named = lambda headers: {name.lower(): value for name, value in headers.items()}
    return [it for it in Receiver.received if named(it[0]).get("x-ecg-event") == event_code]


def compact(payload) -> str:
    """The form that is hashed: our payloads have no numbers that Python would write differently."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def our_hash(secret: str, created_at: int, payload: str) -> str:
    return hmac.new(secret.encode(), f"{created_at}{payload}".encode(), hashlib.sha256).hexdigest()


def verify(secret: str, headers: dict, body: bytes):
    """By the library, and by what SPEC 6.7 says of the hash, over the payload's own bytes."""
    Webhook("whsec_" + base64.b64encode(secret.encode()).decode()).verify(body, headers)
    post = json.loads(body)
    start, end = len(b'{"payload":'), body.index(b',"hash":"')
    assert our_hash(secret, post["createdAt"], body[start:end].decode()) == post["hash"], body


class Day:
    def __init__(self, url, admin, manager, organization):
        self.api = Api(url)
        self.url, self.organization = url.rstrip("/"), organization
        self.tokens = {"admin": admin, "manager": manager}

    def admin(self, method, path, expect=200, **more):
        return self.api.call(method, path, expect, token=self.tokens["admin"], **more)

    def manager(self, method, path, expect=200, **more):
        if "{organizationId}" in path:
            more["organizationId"] = self.organization
        return self.api.call(method, path, expect, token=self.tokens["manager"], **more)

    def at(self, method, path, expect=200, **more):
        """The manager, at the subscription."""
        return self.manager(method, path, expect, subscriptionId=self.subscription, **more)

    def run(self):
        self.define()
        self.subscribe()
        self.post()
        self.fail_and_repeat()
        self.post_by_ourselves()
        self.replace_secrets()
        self.switch()
        self.change_events()
        self.clear_up()

    def define(self):
        health = self.api.call("GET", "/healthcheck", 200)
        assert health["status"] == "ok", health
        assert self.manager("GET", "/api/seed-data/versions")
        self.code = f"vitals.observations.created.{uuid.uuid4().hex[:8]}"
        category = self.admin("POST", CAT, 201, body={"name": "Vitals", "code": f"vitals-{uuid.uuid4().hex[:8]}"})
        self.category = {"webhookCategoryId": category["id"]}
        rename = [{"op": "test", "path": "/name", "value": "Vitals"}, {"op": "replace", "path": "/name", "value": "Vital signs"}]
        assert self.admin("PATCH", ONE_CAT, body=rename, **self.category)["name"] == "Vital signs"
        assert self.manager("GET", ONE_CAT, **self.category)["name"] == "Vital signs"
        assert category["id"] in ids(self.manager("GET", CAT, query={"take": 100}))
        new = {"name": "Observations created", "code": self.code, "version": "v1"}
        event = self.admin("POST", EVT, 201, body=new, **self.category)
        self.event = {**self.category, "webhookEventId": event["id"]}
        described = [{"op": "add", "path": "/description", "value": "A device has measured"}]
        self.admin("PATCH", ONE_EVT, body=described, **self.event)
        assert self.manager("GET", ONE_EVT, **self.event)["description"] == "A device has measured"
        assert ids(self.manager("GET", EVT, query={"order_by": "ASC"}, **self.category)) == [event["id"]]

        # What its payloads look like.
        examples = ONE_EVT + "/sample-payloads-examples"
        for kind in ("ack", "nack", "phone-log", "vitals-observation"):
            example = self.manager("GET", examples, query={"type": kind}, **self.event)
            assert (example["eventType"], example["data"]["type"]) == (self.code, kind), example
        samples, v1 = ONE_EVT + "/sample-payloads", {"version": "v1"}
        self.admin("POST", samples, 201, body={"payload": example, "version": "v1"}, **self.event)
        pulse = [{"op": "add", "path": "/payload/data/pulse", "value": 72}]
        self.admin("PATCH", samples, body=pulse, query=v1, **self.event)
        sample = self.manager("GET", samples, query=v1, **self.event)
        assert sample["payload"]["data"]["pulse"] == 72, sample
        self.payload = sample["payload"]
        random = [self.manager("GET", "/api/webhook-deliveries/payload") for _ in range(2)]
        assert random[0] != random[1] and random[0]["eventType"] == "vitals.observations.created", random

    def subscribe(self):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        target = f"http://127.0.0.1:{server.server_address[1]}/webhooks"
        body = {"postUri": target, "events": [self.code], "isDevelopment": True}
        made = self.manager("POST", SUB, 201, body=body)
        self.subscription, self.secret = made["id"], made["secretKey"]
        assert made["activeInfo"]["active"] and made["events"][0]["code"] == self.code, made
        assert self.at("GET", ONE_SUB)["secretKey"] == self.secret
        assert made["id"] in ids(self.manager("GET", SUB, query={"eventId": made["events"][0]["id"]}))
        everybody = self.manager("GET", "/api/webhook-events/{eventCode}/subscriptions", eventCode=self.code)
        assert [it["id"] for it in everybody] == [made["id"]], everybody
        assert self.at("GET", ONE_SUB + "/secrets") == {"secretKey": self.secret}
        # Another service learns of it by itself.
        until(lambda: self.at("GET", ACT, (200, 404))[0] == 200, "the activity log knows the subscription")

    def new_post(self, expect=201):
        body = {"type": 1, "eventId": self.event["webhookEventId"], "payload": self.payload, "rawMessage": {"device": "bp-7731"}}
        return self.at("POST", ACT, expect, body=body)

    def when(self, activity, wanted, what):
        """An activity with its descendants in one list, itself first, when they are as wanted."""

        def look():
            root = self.at("GET", ACT + "/{activityId}", activityId=activity, query={"mode": "flat"})
            family = [root, *root["childPostHistory"]]
            return family if wanted(family) else None

        return until(look, what)

    def post(self):
        made = self.new_post()
        assert (made["dispatch"], made["success"]) == ("platform", None), made
        self.when(made["id"], lambda it: it[0]["success"], "the post has succeeded")
        [(headers, body)] = posts_of(self.code)
        verify(self.secret, headers, body)
        # The body is what E49 wants, as it came.
        assert self.at("POST", HSH + "/validate-hash", body=json.loads(body)) == TRUE
        forged = {**json.loads(body), "createdAt": json.loads(body)["createdAt"] + 1}
        assert self.at("POST", HSH + "/validate-hash", body=forged) == {"value": False}
        hashed = self.at("GET", HSH + "/activity/{activityId}/get-hash", activityId=made["id"])
        assert hashed["hash"] == json.loads(body)["hash"], hashed
        page = self.at("GET", ACT, query={"status": "succeeded", "include": "subscription,event"})
        assert page["items"][0]["event"]["code"] == self.code, page

    def fail_and_repeat(self):
        # Twice in vain, then it works.
        Receiver.statuses[:] = [500, 500]
        made = self.new_post()
        family = self.when(made["id"], lambda it: len(it) == 3 and it[2]["success"], "the third attempt has succeeded")
        assert [it["level"] for it in family] == [1, 2, 3], family
        assert [it["success"] for it in family] == [False, False, True], family
        self.when(made["id"], lambda it: all(one["nextRetryAt"] is None for one in it), "nothing waits any more")
        nested = self.at("GET", ACT + "/{activityId}", activityId=made["id"], query={"mode": "nested"})
        assert nested["childPostHistory"][0]["childPostHistory"][0]["id"] == family[2]["id"], nested
        for headers, body in posts_of(self.code):
            verify(self.secret, headers, body)
        # As often as may be in vain, and then by hand.
        Receiver.statuses[:] = [500, 500, 500]
        made = self.new_post()
        over = lambda it: len(it) == 3 and it[2]["success"] is False and it[2]["nextRetryAt"] is None
        last = self.when(made["id"], over, "no attempt is left")[2]
        retried = self.at("POST", ACT + "/{activityId}/retry", 201, activityId=last["id"])
        assert (retried["level"], retried["retryingFromPostId"]) == (4, last["id"]), retried
        self.when(made["id"], lambda it: len(it) == 4 and it[3]["success"], "the retry by hand has succeeded")

    def post_by_ourselves(self):
        data = {"eventType": self.code, "version": "v2", "data": {"vitals": 100}}
        for processor, success in (("success-response", True), ("failed-response", False)):
            signed = self.at("POST", HSH + "/webhooks-payloads", 201, query={"mode": "new"}, body=data)
            assert our_hash(self.secret, signed["createdAt"], compact_of(signed)) == signed["hash"], signed
            assert (signed["payload"]["specversion"], signed["payload"]["id"]) == ("1.0", signed["id"]), signed
            body = {name: signed[name] for name in ("payload", "hash", "createdAt")}
            path = f"/api/webhook-processors/{processor}"
            answer = self.api.call("POST", path, 200 if success else 500, body=body)
            outcome = {
                "originalActivityId": signed["id"],
                "success": success,
                "httpStatusCode": 200 if success else 500,
                "error": "" if success else "it failed",
                "rawResponse": answer,
            }
            told = self.at("POST", ACT + "/{activityId}/outcomes", 201, activityId=signed["id"], body=outcome)
            assert (told["dispatch"], told["success"], told["rawResponse"]) == ("external", success, answer), told
        # Once more, linked to the one that failed.
        mode = {"mode": "retry", "originalActivityId": signed["id"]}
        again = self.at("POST", HSH + "/webhooks-payloads", 201, query=mode, body=data)
        family = self.when(signed["id"], lambda it: len(it) == 2, "the second try is in the history")
        assert family[1]["id"] == again["id"] and family[1]["retryingFromPostId"] == signed["id"], family

    def replace_secrets(self):
        payload = {"vitals": 100}
        made_at = int(time.time() * 1000)
        before = {"payload": payload, "hash": our_hash(self.secret, made_at, compact(payload)), "createdAt": made_at}
        assert self.at("POST", HSH + "/validate-hash", body=before) == TRUE
        assert self.at("PUT", ONE_SUB + "/secrets") == TRUE
        second = self.at("GET", ONE_SUB + "/secrets")["secretKey"]
        assert second != self.secret
        assert self.at("POST", HSH + "/validate-hash", body=before) == TRUE, "made before the rotation"
        moment = datetime.fromtimestamp(made_at / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert self.at("GET", ONE_SUB + "/secrets", query={"createdAt": moment})["secretKey"] == self.secret
        histories = ONE_SUB + "/webhook-secret-histories"
        self.at("POST", histories, 201, body={"secretKey": "ecg-secret-key"})
        page = self.at("GET", histories, query={"include": "subscription"})
        assert [it["secretKey"] for it in page["items"]] == ["ecg-secret-key", second, self.secret], page
        self.secret = "ecg-secret-key"

    def switch(self):
        assert self.at("POST", ONE_SUB + "/deactivate") == TRUE
        self.is_refused()
        assert self.at("POST", ONE_SUB + "/activate") == TRUE
        activations = ONE_SUB + "/activations"
        activation = until(
            lambda: self.at("GET", activations, query={"status": "succeeded"})["items"], "the activation is posted"
        )[0]
        one = self.at("GET", activations + "/{activationId}", activationId=activation["id"])
        assert (one["type"], one["payload"]["eventType"]) == (0, "webhook.subscription.activated"), one
        self.is_taken()
        assert self.at("POST", ONE_SUB + "/archive") == TRUE
        self.is_refused()
        assert self.at("POST", ONE_SUB + "/restore") == TRUE
        self.is_taken()
        for path, who in ((ONE_EVT, self.event), (ONE_CAT, self.category)):
            for off, on in (("deactivate", "activate"), ("archive", "restore")):
                assert self.admin("POST", f"{path}/{off}", **who) == TRUE
                self.is_refused()
                assert self.admin("POST", f"{path}/{on}", **who) == TRUE
                self.is_taken()

    def is_refused(self):
        until(lambda: self.new_post((201, 409))[0] == 409, "posts are refused")

    def is_taken(self):
        def look():
            status, made = self.new_post((201, 409))
            return made if status == 201 else None

        made = until(look, "posts are taken")
        self.when(made["id"], lambda it: it[0]["success"], "the post has succeeded")
        verify(self.secret, *posts_of(self.code)[-1])

    def change_events(self):
        new = {"name": "Observations corrected", "code": self.code, "version": "v2"}
        second = self.admin("POST", EVT, 201, body=new, **self.category)
        patch = [{"op": "add", "path": "/events/-", "value": second["id"]}, {"op": "replace", "path": "/version", "value": "v2"}]
        patched = self.at("PATCH", ONE_SUB, body=patch)
        assert len(patched["events"]) == 2 and patched["version"] == "v2", patched
        assert self.at("DELETE", ONE_SUB + "/events/{eventId}", eventId=second["id"]) == TRUE
        assert len(self.at("GET", ONE_SUB)["events"]) == 1
        assert self.admin("DELETE", ONE_EVT, webhookEventId=second["id"], **self.category) == TRUE

    def clear_up(self):
        samples = ONE_EVT + "/sample-payloads"
        assert self.admin("DELETE", samples, query={"version": "v1"}, **self.event) == TRUE
        # Not while it has what hangs on it.
        self.admin("DELETE", ONE_CAT, 409, **self.category)
        self.admin("DELETE", ONE_EVT, 409, **self.event)
        assert self.at("DELETE", ONE_SUB) == TRUE
        self.at("GET", ONE_SUB, 404)
        # What was posted stays readable.
        assert self.at("GET", ACT)["totalRecords"] > 0
        assert self.admin("DELETE", ONE_EVT, **self.event) == TRUE
        assert self.admin("DELETE", ONE_CAT, **self.category) == TRUE
        self.manager("GET", ONE_CAT, 404, **self.category)


def ids(page) -> list[str]:
    return [it["id"] for it in page["items"]]


def compact_of(signed) -> str:
    return compact(signed["payload"])


def is_ecg(path: str) -> bool:
    return path == "/healthcheck" or (path.startswith("/api/") and not path.startswith("/api/v1/"))


def main() -> None:
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    day = Day(*sys.argv[1:])
    day.run()
    documented = {it for it in day.api.operations if is_ecg(it[1])}
    unused = sorted(documented - day.api.used)
    assert not unused, f"the day had no use for {unused}"
    print(json.dumps({"operations": len(documented), "calls": day.api.calls, "received": len(Receiver.received)}))


main()
