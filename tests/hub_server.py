"""A Hub on loopback with the Hub's HTTP protocol, for the real `huggingface_hub` and `datasets`.

Repositories and their commits are in memory, large files on disk; a token identifies the user. Tests inject faults:
``fail`` responds with an error, ``cut`` drops an upload midway.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

JSON = dict[str, Any]

LARGE = (".parquet", ".png")

SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"}
CREATORS = {"crowdsourced", "found", "expert-generated", "machine-generated", "no-annotation", "other"}
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "other", "unknown"}


@dataclass(frozen=True)
class Stored:
    """A file of a commit: a small one as bytes, a large one by its hash, its name on disk."""

    size: int
    oid: str
    data: bytes | None = None
    lfs: str | None = None


@dataclass(frozen=True)
class Commit:
    """One commit, with all files."""

    oid: str
    parent: str | None
    title: str
    date: str
    files: dict[str, Stored]


@dataclass
class Repo:
    """One repository and its settings."""

    name: str
    private: bool
    gated: str | bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, title: str, files: dict[str, Stored]) -> Commit:
        content = [self.name, self.head, title, sorted((path, stored.oid) for path, stored in files.items())]
        oid = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        self.commits[oid] = Commit(oid, self.head or None, title, _now(), files)
        self.head = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit | None:
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.commits.get(self.head if name == "main" else self.tags.get(name, name))


@dataclass
class Fault:
    """A fault of the next ``times`` matching requests, after ``skip`` that succeed."""

    method: str
    path: re.Pattern[str]
    status: int | None
    times: int
    skip: int
    code: str | None = None


class ErrorResponse(Exception):
    """A response with an error status."""

    def __init__(self, status: int, code: str | None = None, message: str = "", body: JSON | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


class Hub:
    """The server. ``users`` is token → name; ``roles`` is token → role, "write" of all others; ``orgs`` is user →
    organisations they may write to."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.users = {"hf_owner": "owner", "hf_reader": "reader", "hf_read_only": "owner", "hf_fine": "owner"}
        self.roles = {"hf_read_only": "read", "hf_fine": "fineGrained"}
        self.orgs = {"owner": ["my-org"]}
        self.repos: dict[str, Repo] = {}
        self.log: list[str] = []
        self.faults: list[Fault] = []
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """Path → called once, before the next matching request is handled: what somebody else does meanwhile."""
        self.lock = threading.RLock()
        (folder / "lfs").mkdir(parents=True, exist_ok=True)
        self.server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def fail(
        self, method: str, path: str, status: int, *, times: int = 1, skip: int = 0, code: str | None = None
    ) -> None:
        """Respond with ``status`` to the next matching requests."""
        self.faults.append(Fault(method, re.compile(path), status, times, skip, code))

    def cut(self, path: str, *, times: int = 1, skip: int = 0) -> None:
        """Drop the connection in the middle of the next matching uploads."""
        self.faults.append(Fault("PUT", re.compile(path), None, times, skip))

    def count(self, pattern: str) -> int:
        """How many requests so far match."""
        return sum(re.search(pattern, line) is not None for line in self.log)

    def text(self, repo: str, path: str, revision: str = "main") -> str:
        """A file's content."""
        commit = self.repos[repo].at(revision)
        assert commit is not None
        return self.data(commit.files[path]).decode()

    def data(self, stored: Stored) -> bytes:
        return stored.data if stored.data is not None else (self.folder / "lfs" / str(stored.lfs)).read_bytes()

    def write(self, repo: str, path: str, content: str | bytes) -> None:
        """Commit one file, as somebody else does in the browser."""
        with self.lock:
            repository = self.repos[repo]
            head = repository.at("main")
            stored = _small(content if isinstance(content, bytes) else content.encode())
            repository.commit(f"Update {path}", {**(head.files if head else {}), path: stored})


class Handler(BaseHTTPRequestHandler):
    """One request. Routes are methods named in ``ROUTES``."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _any(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        self.query = parse_qs(parts.query)
        self.body = b""
        with self.hub.lock:
            self.hub.log.append(f"{self.command} {path}")
            fault = self._fault(path)
            meanwhile = next((pattern for pattern in self.hub.meanwhile if re.search(pattern, path)), None)
            act = self.hub.meanwhile.pop(meanwhile) if meanwhile is not None else None
        if act is not None:
            act()
        length = int(self.headers.get("Content-Length") or 0)
        try:
            if fault is not None and fault.status is None:
                self.rfile.read(length // 2)
                self.close_connection = True
                self.connection.close()
                return
            if fault is None and self.command == "PUT" and path.startswith("/lfs/"):
                self._store(path.removeprefix("/lfs/"), length)
                return
            if self.headers.get("Transfer-Encoding") == "chunked":
                self.body = b"".join(self._chunks())
            else:
                self.body = self.rfile.read(length)
            if fault is not None:
                raise ErrorResponse(int(fault.status or 500), fault.code, "an injected fault")
            for method, pattern, route in ROUTES:
                match = re.fullmatch(pattern, path)
                if match is not None and self.command in method:
                    with self.hub.lock:
                        route(self, **match.groupdict())
                    return
            raise ErrorResponse(404, None, f"no route {self.command} {path}")
        except ErrorResponse as error:
            headers = {"X-Error-Code": error.code} if error.code else {}
            headers["X-Error-Message"] = error.message
            self._respond(error.body or {"error": error.message or str(error.status)}, error.status, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _any

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().strip() or b"0", 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _fault(self, path: str) -> Fault | None:
        for fault in self.hub.faults:
            if self.command == fault.method and fault.path.search(path) and fault.times:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _respond(self, content: object, status: int = 200, headers: JSON | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: JSON) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _store(self, oid: str, length: int) -> None:
        part, digest, left = self.hub.folder / "lfs" / f"{oid}.{threading.get_ident()}.part", hashlib.sha256(), length
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        with part.open("wb") as file:
            pieces = self._chunks() if chunked else iter(lambda: self.rfile.read(min(2**20, left)), b"")
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                left -= len(piece)
        if digest.hexdigest() != oid:
            part.unlink()
            raise ErrorResponse(400, None, "the content does not have the announced hash")
        part.rename(self.hub.folder / "lfs" / oid)
        self._respond({})

    # Users and permissions

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    @property
    def role(self) -> str:
        return self.hub.roles.get(self.token, "write")

    @property
    def user(self) -> str | None:
        if not self.token:
            return None
        if self.token not in self.hub.users:
            raise ErrorResponse(401, None, "Invalid credentials in Authorization header")
        return self.hub.users[self.token]

    def _may_write(self, repo: str) -> bool:
        user = self.user
        return user is not None and repo.split("/")[0] in (user, *self.hub.orgs.get(user, ()))

    def _repo(self, ns: str, name: str, *, write: bool = False, content: bool = False) -> Repo:
        repo = self.hub.repos.get(f"{ns}/{name}")
        may_write = self._may_write(f"{ns}/{name}")
        if repo is None or (repo.private and not may_write):
            raise ErrorResponse(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if write and (not may_write or self.role == "read"):
            raise ErrorResponse(
                403 if self.user else 401, None, "You do not have the rights to write to this repository"
            )
        if content and repo.gated and not may_write:
            raise ErrorResponse(403 if self.user else 401, "GatedRepo", f"Access to dataset {repo.name} is restricted")
        return repo

    def _commit(self, repo: Repo, rev: str) -> Commit:
        commit = repo.at(rev)
        if commit is None:
            raise ErrorResponse(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return commit

    # Routes

    def whoami(self) -> None:
        user = self.user
        if user is None:
            raise ErrorResponse(401, None, "Invalid username or password.")
        orgs = [{"name": name, "type": "org"} for name in self.hub.orgs.get(user, ())]
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": self.role}}
        self._respond({"name": user, "type": "user", "orgs": orgs, "auth": auth})

    def create(self) -> None:
        request = json.loads(self.body)
        user = self.user
        if user is None:
            raise ErrorResponse(401, None, "Invalid username or password.")
        name = f"{request.get('organization') or user}/{request['name']}"
        if not self._may_write(name) or self.role == "read":
            raise ErrorResponse(403, None, f"You don't have the rights to create a dataset under the namespace {name}")
        url = f"{self.hub.url}/datasets/{name}"
        if name in self.hub.repos:
            raise ErrorResponse(409, None, "You already created this dataset repo", {"error": "exists", "url": url})
        private = request.get("visibility") == "private" or bool(request.get("private"))
        repo = self.hub.repos[name] = Repo(name, private)
        repo.commit("initial commit", {".gitattributes": _small(b"*.parquet filter=lfs\n")})
        self._respond({"url": url, "name": name, "id": name})

    def delete(self) -> None:
        request = json.loads(self.body)
        name = f"{request.get('organization') or self.user}/{request['name']}"
        self._repo(*name.split("/"), write=True)
        del self.hub.repos[name]
        self._respond({})

    def info(self, ns: str, name: str, rev: str = "main") -> None:
        repo = self._repo(ns, name)
        commit = self._commit(repo, rev)
        self._respond(
            {
                "id": repo.name,
                "_id": "0",
                "author": ns,
                "sha": commit.oid,
                "private": repo.private,
                "gated": repo.gated,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "createdAt": _now(),
                "lastModified": commit.date,
                "siblings": [{"rfilename": path} for path in sorted(commit.files)],
            }
        )

    def preupload(self, ns: str, name: str, rev: str) -> None:
        self._commit(self._repo(ns, name, write=True), rev)
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._respond({"files": files})

    def batch(self, ns: str, name: str) -> None:
        self._repo(ns, name, write=True)
        objects = []
        for item in json.loads(self.body)["objects"]:
            entry: JSON = {"oid": item["oid"], "size": item["size"]}
            if not (self.hub.folder / "lfs" / item["oid"]).is_file():
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}", "header": {}}}
            objects.append(entry)
        self._respond({"transfer": "basic", "objects": objects})

    def commit(self, ns: str, name: str, rev: str) -> None:
        repo = self._repo(ns, name, write=True)
        head = self._commit(repo, rev)
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, head.oid):
            raise ErrorResponse(412, None, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = _small(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if not (self.hub.folder / "lfs" / value["oid"]).is_file():
                    raise ErrorResponse(400, None, f"{value['path']} was not uploaded")
                files[value["path"]] = Stored(value["size"], value["oid"][:40], lfs=value["oid"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "deletedFolder":
                files = {path: stored for path, stored in files.items() if not path.startswith(value["path"])}
        commit = repo.commit(header["summary"], files)
        url = f"{self.hub.url}/datasets/{repo.name}/commit/{commit.oid}"
        self._respond({"success": True, "commitOid": commit.oid, "commitUrl": url, "hookOutput": ""})

    def tree(self, ns: str, name: str, rev: str, path: str = "") -> None:
        commit = self._commit(self._repo(ns, name, content=True), rev)
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        under = f"{path.strip('/')}/" if path else ""
        found: dict[str, JSON] = {}
        for file, stored in sorted(commit.files.items()):
            if not file.startswith(under):
                continue
            parts = file.removeprefix(under).split("/")
            for depth in range(1, len(parts)):
                folder = under + "/".join(parts[:depth])
                if recursive or depth == 1:
                    found[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
            if recursive or len(parts) == 1:
                found[file] = _entry(file, stored, commit)
        if under and not found:
            raise ErrorResponse(404, "EntryNotFound", f"{path} does not exist on {rev}")
        self._respond(list(found.values()))

    def paths_info(self, ns: str, name: str, rev: str) -> None:
        commit = self._commit(self._repo(ns, name, content=True), rev)
        request = parse_qs(self.body.decode()) if b"=" in self.body[:20] else json.loads(self.body)
        paths = request["paths"]
        found = [_entry(path, commit.files[path], commit) for path in paths if path in commit.files]
        for path in paths:
            if any(file.startswith(f"{path}/") for file in commit.files):
                found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        self._respond(found)

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        match = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        errors = []
        try:
            fields = yaml.safe_load(match[1]) if match else {}
        except yaml.YAMLError as error:
            fields, errors = {}, [{"message": str(error)}]
        errors += [{"message": message} for message in card_errors(fields)]
        self._respond({"errors": errors, "warnings": []}, 400 if errors else 200)

    def tag(self, ns: str, name: str, rev: str) -> None:
        repo = self._repo(ns, name, write=True)
        commit = self._commit(repo, rev)
        tag = json.loads(self.body)["tag"]
        if tag in repo.tags:
            raise ErrorResponse(409, None, f"Tag reference exists already: refs/tags/{tag}")
        repo.tags[tag] = commit.oid
        self._respond({})

    def refs(self, ns: str, name: str) -> None:
        repo = self._repo(ns, name)
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in sorted(repo.tags.items())]
        branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}]
        self._respond({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def settings(self, ns: str, name: str) -> None:
        repo = self._repo(ns, name, write=True)
        request = json.loads(self.body)
        if "gated" in request:
            repo.gated = request["gated"]
        if "visibility" in request or "private" in request:
            repo.private = request.get("visibility") == "private" or bool(request.get("private"))
        self._respond({"gated": repo.gated, "private": repo.private})

    def resolve(self, ns: str, name: str, rev: str, path: str) -> None:
        commit = self._commit(self._repo(ns, name, content=True), rev)
        if path not in commit.files:
            raise ErrorResponse(404, "EntryNotFound", f"Entry {path} not found")
        stored = commit.files[path]
        data = self.hub.data(stored)
        headers: JSON = {"X-Repo-Commit": commit.oid, "ETag": f'"{stored.lfs or stored.oid}"', "Accept-Ranges": "bytes"}
        if stored.lfs:
            headers |= {"X-Linked-Size": stored.size, "X-Linked-ETag": headers["ETag"]}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if span is None:
            self._send(data, 200, headers)
            return
        start, stop = int(span[1]), min(int(span[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            raise ErrorResponse(416, None, "no such range")
        headers["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
        self._send(data[start : stop + 1], 206, headers)


def card_errors(fields: JSON) -> list[str]:
    """Violations of the Hub's rules for the YAML of a dataset card, for the fields that ``ecgvf`` writes."""
    errors = []
    if fields.get("license") not in LICENCES:
        errors.append(f'"license" must be one of {sorted(LICENCES)}')
    if fields.get("license_name") and fields.get("license") != "other":
        errors.append('"license_name" requires license "other"')
    if not set(fields.get("size_categories") or []) <= SIZES:
        errors.append('"size_categories" has an unknown value')
    for name in ("annotations_creators", "language_creators"):
        if not set(fields.get(name) or []) <= CREATORS:
            errors.append(f'"{name}" has an unknown value')
    for name in ("tags", "task_categories", "language", "configs"):
        if not isinstance(fields.get(name, []), list):
            errors.append(f'"{name}" must be an array')
    names = [config.get("config_name") for config in fields.get("configs") or []]
    if len(names) != len(set(names)) or None in names:
        errors.append('"configs" must have a config_name each, each different')
    return errors


def _entry(path: str, stored: Stored, commit: Commit) -> JSON:
    entry: JSON = {"type": "file", "oid": stored.oid, "size": stored.size, "path": path}
    if stored.lfs:
        entry["lfs"] = {"oid": stored.lfs, "size": stored.size, "pointerSize": 134}
    entry["lastCommit"] = {"id": commit.oid, "title": commit.title, "date": commit.date}
    return entry


def _small(data: bytes) -> Stored:
    return Stored(len(data), hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(), data=data)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


_D = r"/api/(?:datasets|models)/(?P<ns>[\w.-]+)/(?P<name>[\w.-]+)"
_FILES = r"(?:/datasets)?/(?P<ns>[\w.-]+)/(?P<name>[\w.-]+)"
_REV = r"(?P<rev>refs/heads/\w+|[\w.-]+)"

ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("DELETE", "/api/repos/delete", Handler.delete),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("GET", _D, Handler.info),
    ("GET", f"{_D}/revision/{_REV}", Handler.info),
    ("POST", f"{_D}/preupload/{_REV}", Handler.preupload),
    ("POST", rf"{_FILES}\.git/info/lfs/objects/batch", Handler.batch),
    ("POST", f"{_D}/commit/{_REV}", Handler.commit),
    ("GET", f"{_D}/tree/{_REV}", Handler.tree),
    ("GET", f"{_D}/tree/{_REV}/(?P<path>.+)", Handler.tree),
    ("POST", f"{_D}/paths-info/{_REV}", Handler.paths_info),
    ("POST", f"{_D}/tag/{_REV}", Handler.tag),
    ("GET", f"{_D}/refs", Handler.refs),
    ("PUT", f"{_D}/settings", Handler.settings),
    ("GET HEAD", f"{_FILES}/resolve/{_REV}/(?P<path>.+)", Handler.resolve),
]
