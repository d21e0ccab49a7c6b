"""A Vapi server that looks orders up: python3 examples/answers/server.py [PORT]"""
import http.server, json, sys

ORDERS = {"1042": "Order 1042 has been shipped.", "1043": "Order 1043 is being packed."}

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))["message"]
        answer = {}  # an empty answer leaves the reply to the next rule
        if message["type"] == "tool-calls":
            status = lambda call: ORDERS.get(call["function"]["arguments"].get("number"), "There is no such order.")
            answer["results"] = [{"toolCallId": call["id"], "result": status(call)} for call in message["toolCallList"]]
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 3000), Server).serve_forever()
