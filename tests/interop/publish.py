"""Publishes events with the CloudEvents SDK for Python, as a stranger would.

    python3 publish.py URL API_KEY SITE structured|binary COUNT ID_PREFIX

URL is the base address of ingest. Prints {"mode":…,"ids":[…],"statuses":[…],"bodies":[…]}: one id, status and body
for each event. The exit status is 0 whatever was answered; the test judges. The SDK (2.2) has no batch mode.
"""

import datetime
import json
import sys
import urllib.error
import urllib.request

from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent


def event(id_prefix: str, number: int) -> CloudEvent:
    identifier = f"{id_prefix}{number}"
    return CloudEvent(
        attributes={
            "id": identifier,
            "source": "https://post.example/letters",
            "type": "communications.letter.created",
            "subject": f"letter {number} „für Zoë“",  # needs percent-encoding in binary mode
            "time": datetime.datetime.now(datetime.timezone.utc),
            "datacontenttype": "application/json",
            "visibility": 1,
        },
        data={"recordId": identifier, "color": False, "express": number % 2 == 1, "status": "Created", "note": "Zoë 🦷"},
    )


def send(url: str, api_key: str, message: HTTPMessage) -> tuple[int, str]:
    request = urllib.request.Request(
        url, data=message.body, method="POST", headers={**message.headers, "X-API-KEY": api_key}
    )
    # No proxy, whatever the environment says: ingest is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def main() -> None:
    if len(sys.argv) != 7 or sys.argv[4] not in ("structured", "binary"):
        sys.exit(__doc__)
    base, api_key, site, mode, count, id_prefix = sys.argv[1:]
    encode = to_structured_event if mode == "structured" else to_binary_event
    result = {"mode": mode, "ids": [], "statuses": [], "bodies": []}
    for number in range(int(count)):
        one = event(id_prefix, number)
        status, body = send(f"{base.rstrip('/')}/sites/{site}/events", api_key, encode(one))
        result["ids"].append(one.get_id())
        result["statuses"].append(status)
        result["bodies"].append(body)
    print(json.dumps(result))


main()
