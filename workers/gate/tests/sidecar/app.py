"""An application that is served from legacy or from the new system, as the gate says. Standard library only."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Application(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        at = time.time()
        print("got", self.path, flush=True)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else self.chunks()
        query = parse_qs(urlsplit(self.path).query)
        time.sleep(float(query.get("ms", ["0"])[0]) / 1000)
        if "stream" in query:
            return self.stream(int(query["stream"][0]), float(query["every"][0]) / 1000)
        # The one line that an application needs.
        side = self.headers.get("handover-side-invoice-reminders")
        told = {name.lower(): value for name, value in self.headers.items()}
        answer = {"side": side, "user": self.headers.get("handover-user"), "method": self.command, "body": len(body), "at": at}
        answer["headers"] = told
        text = json.dumps(answer).encode()
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def chunks(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return b""
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def stream(self, count, every):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(count):
            self.wfile.write(b"5\r\nline" + str(number % 10).encode() + b"\r\n")
            self.wfile.flush()
            time.sleep(every)
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Application)
server.daemon_threads = True
print(f"listening {server.server_port} .", flush=True)
sys.stdout.flush()
server.serve_forever()
