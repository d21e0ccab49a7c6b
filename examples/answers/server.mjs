// A Vapi server that looks orders up: node examples/answers/server.mjs [PORT]
import { createServer } from "node:http";

const orders = { 1042: "Order 1042 has been shipped.", 1043: "Order 1043 is being packed." };

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request) body += chunk;
  const { message } = JSON.parse(body);
  const answer = {}; // an empty answer leaves the reply to the next rule
  if (message.type === "tool-calls") {
    const status = (call) => orders[call.function.arguments.number] ?? "There is no such order.";
    answer.results = message.toolCallList.map((call) => ({ toolCallId: call.id, result: status(call) }));
  }
  response.setHeader("content-type", "application/json").end(JSON.stringify(answer));
}).listen(Number(process.argv[2] ?? 3000), "127.0.0.1");
