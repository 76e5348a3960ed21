// Publishes events with the CloudEvents SDK for JavaScript, as a stranger would.
//
//   node publish.mjs URL API_KEY SITE structured|binary|batch COUNT ID_PREFIX
//
// URL is the base address of ingest. Prints {"mode":…,"ids":[…],"statuses":[…],"bodies":[…]}: one id for each event,
// one status and body for each request. The exit status is 0 whatever was answered; the test judges.

import { CloudEvent, CONSTANTS, HTTP, Mode, emitterFor } from "cloudevents";

const [url, apiKey, site, mode, count, idPrefix] = process.argv.slice(2);
if (idPrefix === undefined) {
  console.error("usage: publish.mjs URL API_KEY SITE structured|binary|batch COUNT ID_PREFIX");
  process.exit(2);
}
const endpoint = new URL(`/sites/${site}/events`, url);
const result = { mode, ids: [], statuses: [], bodies: [] };

// The SDK's own `httpTransport` hides the status; a transport function is its documented way to bring another client.
async function send(message) {
  const answer = await fetch(endpoint, {
    method: "POST",
    headers: { ...message.headers, "x-api-key": apiKey },
    body: message.body,
  });
  result.statuses.push(answer.status);
  result.bodies.push(await answer.text());
}

function event(number) {
  const id = `${idPrefix}${number}`;
  result.ids.push(id);
  return new CloudEvent({
    id,
    source: "https://post.example/letters",
    type: "communications.letter.created",
    // The SDK (10.0) does not percent-encode headers, as binary mode wants, and no client sends such text in one.
    subject: mode === "binary" ? `letter ${number} for Zoe` : `letter ${number} „für Zoë“`,
    time: new Date().toISOString(),
    datacontenttype: "application/json",
    visibility: 1,
    data: { recordId: id, color: false, express: number % 2 === 1, status: "Created", note: "Zoë 🦷" },
  });
}

const events = Array.from({ length: Number(count) }, (_, number) => event(number));
switch (mode) {
  case "structured":
  case "binary": {
    const emit = emitterFor(send, { binding: HTTP, mode: mode === "binary" ? Mode.BINARY : Mode.STRUCTURED });
    for (const one of events) {
      await emit(one);
    }
    break;
  }
  case "batch":
    // The SDK reads batches but has no function that writes one: an array of its own structured form (`toJSON`).
    await send({
      headers: { [CONSTANTS.HEADER_CONTENT_TYPE]: CONSTANTS.MIME_CE_BATCH },
      body: JSON.stringify(events),
    });
    break;
  default:
    console.error(`unknown mode ${mode}`);
    process.exit(2);
}
console.log(JSON.stringify(result));
