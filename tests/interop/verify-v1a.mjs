// Verifies the Ed25519 signatures (`v1a`) of webhooks with nothing but Node's own cryptography and the public keys that
// Slipstream serves: the libraries of Standard Webhooks know `v1` only.
//
//   node verify-v1a.mjs KEY_SET_URL < requests.jsonl
//
// Each line of standard input is {"headers":{…},"body_base64":"…"}. For each one line is printed: `ok` and the ids of the
// keys that made a signature, in the order of the signatures, or `failed: ` and the reason.

import { createPublicKey, verify } from "node:crypto";
import { createInterface } from "node:readline";

const [url] = process.argv.slice(2);
const answer = await fetch(url);
if (answer.status !== 200 || !answer.headers.get("content-type").startsWith("application/jwk-set+json")) {
  throw new Error(`${url} answered ${answer.status} ${answer.headers.get("content-type")}`);
}
const { keys } = await answer.json();
const publicKeys = keys.map((jwk) => ({ id: jwk.kid, key: createPublicKey({ key: jwk, format: "jwk" }) }));

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, body_base64: body } = JSON.parse(line);
  const signed = Buffer.concat([
    Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`),
    Buffer.from(body, "base64"),
  ]);
  const signatures = headers["webhook-signature"]
    .split(" ")
    .filter((entry) => entry.startsWith("v1a,"))
    .map((entry) => Buffer.from(entry.slice("v1a,".length), "base64"));
  const fits = (signature) => publicKeys.find(({ key }) => verify(null, signed, key, signature));
  const by = signatures.map((signature) => fits(signature)?.id ?? "nobody");
  if (signatures.length === 0) {
    console.log("failed: there is no v1a signature");
  } else if (by.every((id) => id === "nobody")) {
    console.log("failed: no key fits");
  } else {
    console.log(`ok ${by.join(" ")}`);
  }
}
