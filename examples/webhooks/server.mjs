// Receives Gatehouse's webhooks: node examples/webhooks/server.mjs [PORT]. Needs the package standardwebhooks.
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.GATEHOUSE_WEBHOOK_SECRET);
const seen = new Set(); // in production, a table

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let event;
  try {
    event = webhook.verify(Buffer.concat(chunks).toString(), request.headers);
  } catch {
    return response.writeHead(401).end();
  }
  if (!seen.has(request.headers["webhook-id"])) {
    console.log(event.type, event.data.subject);
    seen.add(request.headers["webhook-id"]);
  }
  response.writeHead(204).end();
}).listen(Number(process.argv[2] ?? 3000), "127.0.0.1");
