"""A stand-in for huggingface.co on loopback: the endpoints that downloads and commits of huggingface_hub use.

It keeps repositories as lists of commits in memory. Files whose names end like those that the Hub's default
``.gitattributes`` names are stored by LFS, others come within the commit. There is no Xet storage.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import yaml

LARGE = (".parquet", ".safetensors")
TYPES = {"datasets": "dataset", "models": "model"}


class Request(NamedTuple):
    """What a client asked for."""

    method: str
    path: str
    token: str | None
    body: bytes


class Account(NamedTuple):
    """Who a token belongs to."""

    name: str
    writes: bool = True


class Refusal(Exception):  # noqa: N818
    """An answer that is no success."""

    def __init__(self, status: int, code: str = "", message: str = "", body: Mapping[str, Any] | None = None) -> None:
        super().__init__(status)
        self.status, self.code, self.message = status, code, message
        self.body = body or {"error": message}


NOT_FOUND = Refusal(404, "RepoNotFound", "Repository not found")
ANONYMOUS = Refusal(401, "RepoNotFound", "Invalid username or password.")


class Commit(NamedTuple):
    """A state of a repository."""

    oid: str
    files: dict[str, bytes]
    message: str


@dataclass
class Repository:
    """A repository: one branch, its history, who may see it."""

    type: str
    name: str
    private: bool = False
    gated: bool = False
    commits: list[Commit] = field(default_factory=list)

    def commit(self, files: Mapping[str, bytes | str], message: str = "") -> str:
        """Add or replace ``files``; returns the commit hash."""
        before = self.commits[-1].files if self.commits else {}
        new = {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}
        oid = hashlib.sha1(f"{self.name}/{len(self.commits)}".encode()).hexdigest()
        self.commits.append(Commit(oid, before | new, message))
        return oid

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        if revision == "main":
            return self.head
        for commit in self.commits:
            if commit.oid == revision:
                return commit
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")


class HubServer:
    """The server; set it up through its attributes and look at them afterwards."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.accounts: dict[str, Account] = {}
        self.requests: list[Request] = []
        self.stored: dict[str, bytes] = {}
        self.scripted: list[tuple[str, Refusal]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["HubServer"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def add(self, repo_type: str, name: str, files: Mapping[str, bytes | str], **changes: bool) -> Repository:
        """A repository with one commit."""
        repository = Repository(repo_type, name, **changes)
        repository.commit(files)
        self.repositories[repo_type, name] = repository
        return repository

    def fail(self, pattern: str, status: int, code: str = "", message: str = "") -> None:
        """From now on answer requests whose ``METHOD path`` matches with a failure."""
        self.scripted.append((pattern, Refusal(status, code, message)))

    def asked(self, pattern: str) -> list[Request]:
        """Requests whose ``METHOD path`` matches."""
        return [request for request in self.requests if re.search(pattern, f"{request.method} {request.path}")]


class Answer(NamedTuple):
    """A success."""

    body: bytes = b""
    headers: Mapping[str, str] = {}


def _json(content: Any) -> Answer:
    return Answer(json.dumps(content).encode(), {"Content-Type": "application/json"})


class Dialogue:
    """One request and what it is answered."""

    def __init__(self, server: HubServer, request: Request) -> None:
        self.server, self.request = server, request

    def answer(self) -> Answer:
        line = f"{self.request.method} {self.request.path}"
        for pattern, refusal in self.server.scripted:
            if re.search(pattern, line):
                raise refusal
        for pattern, make in ROUTES:
            if found := re.fullmatch(pattern, line):
                return make(self, **{name: unquote(value or "") for name, value in found.groupdict().items()})
        raise Refusal(404, message=f"no such endpoint: {line}")

    @property
    def account(self) -> Account | None:
        if self.request.token is None:
            return None
        if self.request.token not in self.server.accounts:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        return self.server.accounts[self.request.token]

    def repository(self, repo_type: str, name: str, content: bool = False) -> Repository:
        """A repository that the client may see; its ``content`` may be gated."""
        account = self.account
        repository = self.server.repositories.get((repo_type, name))
        if repository is None or (
            repository.private and (account is None or account.name != name.split("/", maxsplit=1)[0])
        ):
            raise NOT_FOUND if account else ANONYMOUS
        if content and repository.gated:
            raise Refusal(403 if account else 401, "GatedRepo", "Access to this repository is restricted")
        return repository

    def owned(self, repo_type: str, name: str) -> Repository:
        self.require_owner(name.split("/", maxsplit=1)[0])
        return self.repository(repo_type, name)

    def require_owner(self, owner: str) -> None:
        account = self.account
        if account is None:
            raise Refusal(401, message="Invalid username or password.")
        if account.name != owner or not account.writes:
            raise Refusal(403, message=f"You don't have the rights to write under the namespace {owner}")

    def info(self, types: str, name: str, revision: str) -> Answer:
        repository = self.repository(TYPES[types], name)
        sha = repository.at(revision or "main").oid
        return _json({"id": name, "sha": sha, "private": repository.private, "siblings": [], "tags": []})

    def tree(self, types: str, name: str, revision: str) -> Answer:
        files = self.repository(TYPES[types], name, content=True).at(revision).files
        return _json([_entry(path, content) for path, content in files.items()])

    def resolve(self, prefix: str, name: str, revision: str, path: str) -> Answer:
        repository = self.repository("dataset" if prefix else "model", name, content=True)
        commit = repository.at(revision)
        if path not in commit.files:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        content = commit.files[path]
        return Answer(content, {"ETag": f'"{_oid(path, content)}"', "X-Repo-Commit": commit.oid})

    def create(self) -> Answer:
        asked = json.loads(self.request.body)
        owner = asked.get("organization") or (self.account.name if self.account else "")
        self.require_owner(owner)
        name, repo_type = f"{owner}/{asked['name']}", asked.get("type", "model")
        url = f"{self.server.url}/{'datasets/' if repo_type == 'dataset' else ''}{name}"
        if (repo_type, name) in self.server.repositories:
            raise Refusal(409, message="You already created this repo", body={"url": url})
        self.server.add(repo_type, name, {".gitattributes": ""}, private=asked.get("visibility") == "private")
        return _json({"url": url, "name": name})

    def validate(self) -> Answer:
        content = json.loads(self.request.body)["content"]
        front = content.split("---\n")[1] if content.startswith("---\n") else ""
        try:
            assert isinstance(yaml.safe_load(front), dict)
        except (yaml.YAMLError, AssertionError):
            errors = [{"message": "the front matter is no YAML mapping"}]
            raise Refusal(400, body={"errors": errors, "warnings": []}) from None
        return _json({"errors": [], "warnings": []})

    def preupload(self, types: str, name: str, revision: str) -> Answer:
        head = self.owned(TYPES[types], name).at(revision)
        files = [file["path"] for file in json.loads(self.request.body)["files"]]
        return _json(
            {
                "files": [
                    {
                        "path": path,
                        "uploadMode": "lfs" if path.endswith(LARGE) else "regular",
                        "shouldIgnore": False,
                        "oid": _oid(path, head.files[path]) if path in head.files else None,
                    }
                    for path in files
                ]
            }
        )

    def batch(self, prefix: str, name: str) -> Answer:
        self.owned("dataset" if prefix else "model", name)
        objects = json.loads(self.request.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.stored:
                item["actions"] = {"upload": {"href": f"{self.server.url}/storage/{item['oid']}"}}
        return _json({"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> Answer:
        assert hashlib.sha256(self.request.body).hexdigest() == oid
        self.server.stored[oid] = self.request.body
        return Answer()

    def commit(self, types: str, name: str, revision: str) -> Answer:
        repository = self.owned(TYPES[types], name)
        header, *operations = [json.loads(line) for line in self.request.body.splitlines()]
        assert (header["key"], revision) == ("header", "main")
        files = {}
        for operation in operations:
            value = operation["value"]
            whole = operation["key"] == "file"
            files[value["path"]] = base64.b64decode(value["content"]) if whole else self.server.stored[value["oid"]]
        oid = repository.commit(files, header["value"]["summary"])
        return _json({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid})


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid, size = _oid(path, content), len(content)
    large = {"lfs": {"oid": oid, "size": size, "pointerSize": 130}} if path.endswith(LARGE) else {}
    return {"type": "file", "path": path, "size": size, "oid": oid, **large}


def _oid(path: str, content: bytes) -> str:
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


NAME = r"(?P<name>[^/]+/[^/]+?)"
API = rf"/api/(?P<types>models|datasets)/{NAME}"
ROUTES: list[tuple[str, Any]] = [
    (rf"GET {API}(?:/revision/(?P<revision>[^/]+))?", Dialogue.info),
    (rf"GET {API}/tree/(?P<revision>[^/]+)", Dialogue.tree),
    (rf"(?:GET|HEAD) /(?P<prefix>datasets/)?{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Dialogue.resolve),
    ("POST /api/repos/create", Dialogue.create),
    ("POST /api/validate-yaml", Dialogue.validate),
    (rf"POST {API}/preupload/(?P<revision>[^/]+)", Dialogue.preupload),
    (rf"POST /(?P<prefix>datasets/)?{NAME}\.git/info/lfs/objects/batch", Dialogue.batch),
    (r"PUT /storage/(?P<oid>\w+)", Dialogue.store),
    (rf"POST {API}/commit/(?P<revision>[^/]+)", Dialogue.commit),
]


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._dialogue()

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _dialogue(self) -> None:
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            request = Request(self.command, urlsplit(self.path).path, token, self._body())
            server.requests.append(request)
            try:
                answer = Dialogue(server, request).answer()
                self._send(200, answer.headers, answer.body)
            except Refusal as refusal:
                headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message.split("\n")[0]}
                body = json.dumps(refusal.body).encode()
                self._send(refusal.status, {name: value for name, value in headers.items() if value}, body)

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
