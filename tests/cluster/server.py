"""A teacher, a webhook and a door to the store's volume, in one pod beside the runs.

It imports nothing but Python's own library: the tests send it as a ConfigMap.

POST /v1/chat/completions, GET /v1/models   the teacher
POST /hook                                  the webhook
GET, PUT /state                             what it was asked and sent; how slow it is, what it says
GET, PUT /files/PATH                        the volume at /var/soda; a folder is a list of names
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path("/var/soda")
STATE = {"asked": {}, "messages": [], "delay": 0.0, "says": "The answer to"}
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/v1/models":
            return self.reply({"object": "list", "data": [{"id": "fake", "object": "model"}]})
        if self.path == "/state":
            return self.reply(STATE)
        path = ROOT / self.path.removeprefix("/files/")
        if path.is_dir():
            return self.reply(sorted(each.name for each in path.iterdir()))
        if path.is_file():
            return self.send(200, path.read_bytes())
        return self.send(404, b"")

    def do_PUT(self):
        body = self.body()
        if self.path == "/state":
            with LOCK:
                STATE.update(json.loads(body))
            return self.reply(STATE)
        path = ROOT / self.path.removeprefix("/files/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        return self.reply({})

    def do_POST(self):
        body = json.loads(self.body())
        if self.path == "/hook":
            with LOCK:
                STATE["messages"].append(body["text"])
            return self.reply({})
        if body["model"] != "fake":
            error = {"message": f"no model {body['model']}", "code": "model_not_found"}
            return self.send(404, json.dumps({"error": error}).encode())
        prompt = body["messages"][-1]["content"]
        with LOCK:
            STATE["asked"][prompt] = STATE["asked"].get(prompt, 0) + 1
        time.sleep(STATE["delay"])
        text = f"{STATE['says']} {prompt}"
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": len(text.split())}
        return self.reply({"model": "fake-1", "choices": [choice], "usage": usage})

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, found):
        self.send(200, json.dumps(found).encode())

    def send(self, status, data):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
