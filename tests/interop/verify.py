"""Verifies webhooks with the Standard Webhooks library for Python, as a receiver would.

    python3 verify.py < requests.jsonl

Each line of standard input is {"headers":{…},"body_base64":"…","secret":"whsec_…"}. For each one line is printed:
`ok`, or `failed: ` and the reason. The exit status is 0 only if every one is ok.
"""

import base64
import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError


def main() -> None:
    all_ok = True
    for line in sys.stdin:
        request = json.loads(line)
        try:
            Webhook(request["secret"]).verify(base64.b64decode(request["body_base64"]), request["headers"])
            print("ok")
        except WebhookVerificationError as error:
            all_ok = False
            print(f"failed: {error}")
    sys.exit(0 if all_ok else 1)


main()
