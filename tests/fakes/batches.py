"""A real HTTP server on loopback with the OpenAI Batch API: files, batches, and faults on order."""

import email.parser
import email.policy
import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.teacher import Reply, completion, error

# From a request's body and how often it came before: status and body of its line, or None where
# the batch expired before it was begun.
Work = Callable[[dict[str, Any], int], Reply | None]
# From method, path and number of the call: "lose" its answer after the work is done, or a reply.
Fault = Callable[[str, str, int], str | Reply | None]


@dataclass
class BatchServer:
    """The running server."""

    url: str = ""
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)  # by the last message
    polls_needed: int = 1
    fails_with: dict[str, str] = field(default_factory=dict)  # one failure, and then no more


def answer_all(body: dict[str, Any], times: int) -> Reply | None:
    """Answer every prompt with a sentence about it."""
    return completion(f"The answer to: {body['messages'][-1]['content']}")


@contextmanager
def batch_server(
    work: Work = answer_all, fault: Fault = lambda method, path, number: None
) -> Iterator[BatchServer]:
    """Serve while the block runs."""
    server, calls, numbers = BatchServer(), Counter[str](), itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.serve("GET")

        def do_POST(self) -> None:
            self.serve("POST")

        def serve(self, method: str) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(size) if size else self.read_chunks()
            path = self.path.removeprefix("/v1").partition("?")[0]
            number = calls[f"{method} {path}"]
            calls[f"{method} {path}"] += 1
            spoiled = fault(method, path, number)
            if isinstance(spoiled, tuple):
                return self.reply(*spoiled)
            answer = self.answer(method, path, data)
            if spoiled == "lose":
                self.close_connection = True
                return None
            return self.reply(*answer)

        def read_chunks(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return b""
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def answer(self, method: str, path: str, data: bytes) -> Reply:
            name = path.strip("/").split("/")
            match method, name:
                case "POST", ["files"]:
                    made = f"file-{next(numbers)}"
                    server.files[made] = self.part(data)
                    return 200, {}, {"id": made, "object": "file"}
                case "POST", ["batches"]:
                    made = f"batch_{next(numbers)}"
                    server.batches[made] = {"id": made, "status": "validating", **json.loads(data)}
                    server.batches[made] |= {"polls": 0, "request_counts": {}}
                    return 200, {}, server.batches[made]
                case "GET", ["batches"]:
                    newest = list(reversed(server.batches.values()))
                    after = self.path.partition("after=")[2]
                    ids = [batch["id"] for batch in newest]
                    start = ids.index(after) + 1 if after else 0
                    page = newest[start : start + 2]
                    more = start + 2 < len(newest)
                    return 200, {}, {"object": "list", "data": page, "has_more": more}
                case "GET", ["batches", made] if made in server.batches:
                    batch = server.batches[made]
                    batch["polls"] += 1
                    if batch["polls"] == server.polls_needed:
                        run(batch)
                    return 200, {}, batch
                case "GET", ["files", made, "content"] if made in server.files:
                    return 200, {}, server.files[made]
            return error(404, f"nothing at {method} {path}")

        def part(self, data: bytes) -> bytes:
            """Return the file of a multipart form."""
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parser = email.parser.BytesParser(policy=email.policy.HTTP)
            parts = {
                part.get_param("name", header="content-disposition"): part
                for part in parser.parsebytes(head + data).iter_parts()
            }
            assert parts["purpose"].get_content().strip() == "batch"
            return parts["file"].get_payload(decode=True)

        def reply(self, status: int, headers: dict[str, str], body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def run(batch: dict[str, Any]) -> None:
        """Work through a batch at once; the answers come in another order than the requests."""
        if server.fails_with:
            batch |= {"status": "failed", "errors": {"data": [dict(server.fails_with)]}}
            server.fails_with.clear()
            return
        good, bad, status = [], [], "completed"
        for line in reversed(server.files[batch["input_file_id"]].splitlines()):
            request = json.loads(line)
            assert request["url"] == batch["endpoint"] == "/v1/chat/completions"
            prompt = request["body"]["messages"][-1]["content"]
            reply = work(request["body"], server.asked[prompt])
            server.asked[prompt] += 1
            if reply is None:
                status = "expired"
                fault = {"code": "batch_expired", "message": "too late"}
                bad.append({"custom_id": request["custom_id"], "response": None, "error": fault})
            else:
                response = {"status_code": reply[0], "body": reply[2]}
                target = good if reply[0] == 200 else bad
                target.append({"custom_id": request["custom_id"], "response": response})
        for kind, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[kind] = f"file-{next(numbers)}"
                text = "".join(json.dumps(line) + "\n" for line in lines)
                server.files[batch[kind]] = text.encode()
        batch["status"] = status
        batch["request_counts"] = {"total": len(good) + len(bad), "completed": len(good)}

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/v1"
    with http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()
