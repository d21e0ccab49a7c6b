"""Receives Gatehouse's webhooks: python3 examples/webhooks/server.py [PORT]. Needs the package standardwebhooks."""
import http.server, os, sys
from standardwebhooks import Webhook, WebhookVerificationError

webhook, seen = Webhook(os.environ["GATEHOUSE_WEBHOOK_SECRET"]), set()

class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.answer(401)
        if self.headers["webhook-id"] not in seen:  # in production, a table
            print(event["type"], event["data"]["subject"], flush=True)
            seen.add(self.headers["webhook-id"])
        self.answer(204)

    def answer(self, status):
        self.send_response(status)
        self.end_headers()

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 3000), Server).serve_forever()
