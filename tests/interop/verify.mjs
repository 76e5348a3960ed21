// Verifies webhooks with the Standard Webhooks library for JavaScript, as a receiver would.
//
//   node verify.mjs < requests.jsonl
//
// As verify.py: each line of standard input is {"headers":{…},"body_base64":"…","secret":"whsec_…"}. For each one line is
// printed: `ok`, or `failed: ` and the reason. The exit status is 0 only if every one is ok.

import { createInterface } from "node:readline";
import { Webhook, WebhookVerificationError } from "standardwebhooks";

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body_base64: body, secret } = JSON.parse(line);
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64"), headers);
    console.log("ok");
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) {
      throw error;
    }
    process.exitCode = 1;
    console.log(`failed: ${error.message}`);
  }
}
