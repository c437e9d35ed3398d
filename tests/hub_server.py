"""A Hub on loopback that speaks the Hub's HTTP protocol to the real `huggingface_hub` and `datasets`.

Repositories and their commits are in memory, large files on disk. Who asks is told by their token, as on the Hub. What
goes wrong there goes wrong here where a test says so: ``fail`` answers with an error, ``cut`` drops an upload midway.
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
    """A file of a commit: small ones as bytes, large ones by the hash under which they lie on disk."""

    size: int
    oid: str
    data: bytes | None = None
    lfs: str | None = None


@dataclass(frozen=True)
class Commit:
    """One commit: all files as they are after it."""

    oid: str
    parent: str | None
    title: str
    date: str
    files: dict[str, Stored]


@dataclass
class Repo:
    """One repository, with what its settings say."""

    name: str
    private: bool
    gated: str | bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    head: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, title: str, files: dict[str, Stored]) -> Commit:
        told = json.dumps([self.name, self.head, title, sorted((path, one.oid) for path, one in files.items())])
        oid = hashlib.sha1(told.encode()).hexdigest()
        self.commits[oid] = Commit(oid, self.head or None, title, _now(), files)
        self.head = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit | None:
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.commits.get(self.head if name == "main" else self.tags.get(name, name))


@dataclass
class Fault:
    """What is to go wrong: the next ``times`` requests that match, after ``skip`` of them went well."""

    method: str
    path: re.Pattern[str]
    status: int | None
    times: int
    skip: int
    code: str | None = None


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str | None = None, message: str = "", body: JSON | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.body = status, code, message, body


class Hub:
    """The server. ``users`` is token → name; ``orgs`` is user → organisations they may write to."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.users = {"hf_owner": "owner", "hf_reader": "reader"}
        self.orgs = {"owner": ["my-org"]}
        self.repos: dict[str, Repo] = {}
        self.log: list[str] = []
        self.faults: list[Fault] = []
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """Path → called once, before the next request that matches is looked at: what another pusher does meanwhile."""
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
        """Answer ``status`` to the next matching requests."""
        self.faults.append(Fault(method, re.compile(path), status, times, skip, code))

    def cut(self, path: str, *, times: int = 1, skip: int = 0) -> None:
        """Drop the connection in the middle of the next matching uploads."""
        self.faults.append(Fault("PUT", re.compile(path), None, times, skip))

    def count(self, pattern: str) -> int:
        """Requests so far that match."""
        return sum(re.search(pattern, line) is not None for line in self.log)

    def text(self, repo: str, path: str, revision: str = "main") -> str:
        """A file's content."""
        commit = self.repos[repo].at(revision)
        assert commit is not None
        return self.data(commit.files[path]).decode()

    def data(self, stored: Stored) -> bytes:
        return stored.data if stored.data is not None else (self.folder / "lfs" / str(stored.lfs)).read_bytes()

    def write(self, repo: str, path: str, text: str) -> None:
        """A commit by somebody else: one file, written in the browser."""
        with self.lock:
            known = self.repos[repo]
            head = known.at("main")
            known.commit(f"Update {path}", {**(head.files if head else {}), path: _small(text.encode())})


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
            meanwhile = next((wanted for wanted in self.hub.meanwhile if re.search(wanted, path)), None)
            others = self.hub.meanwhile.pop(meanwhile) if meanwhile is not None else None
        if others is not None:
            others()
        length = int(self.headers.get("Content-Length") or 0)
        try:
            if fault is not None and fault.status is None:
                self.rfile.read(length // 2)
                self.close_connection = True
                self.connection.close()
                return
            if fault is None and self.command == "PUT" and path.startswith("/lfs/"):
                self._stored(path.removeprefix("/lfs/"), length)
                return
            if self.headers.get("Transfer-Encoding") == "chunked":
                self.body = b"".join(self._chunks())
            else:
                self.body = self.rfile.read(length)
            if fault is not None:
                raise Refused(int(fault.status or 500), fault.code, "asked to fail")
            for method, pattern, route in ROUTES:
                found = re.fullmatch(pattern, path)
                if found is not None and self.command in method:
                    with self.hub.lock:
                        route(self, **found.groupdict())
                    return
            raise Refused(404, None, f"no route {self.command} {path}")
        except Refused as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            headers["X-Error-Message"] = refused.message
            self._answer(refused.body or {"error": refused.message or str(refused.status)}, refused.status, headers)
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

    def _answer(self, content: object, status: int = 200, headers: JSON | None = None) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: JSON) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stored(self, oid: str, length: int) -> None:
        beside, digest, left = self.hub.folder / "lfs" / f"{oid}.{threading.get_ident()}.part", hashlib.sha256(), length
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        with beside.open("wb") as file:
            pieces = self._chunks() if chunked else iter(lambda: self.rfile.read(min(2**20, left)), b"")
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                left -= len(piece)
        if digest.hexdigest() != oid:
            beside.unlink()
            raise Refused(400, None, "not what was announced")
        beside.rename(self.hub.folder / "lfs" / oid)
        self._answer({})

    # Who asks, and what they may

    @property
    def user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if not token:
            return None
        if token not in self.hub.users:
            raise Refused(401, None, "Invalid credentials in Authorization header")
        return self.hub.users[token]

    def _writes(self, repo: str) -> bool:
        user = self.user
        return user is not None and repo.split("/")[0] in (user, *self.hub.orgs.get(user, ()))

    def _repo(self, ns: str, name: str, *, write: bool = False, content: bool = False) -> Repo:
        repo = self.hub.repos.get(f"{ns}/{name}")
        mine = self._writes(f"{ns}/{name}")
        if repo is None or (repo.private and not mine):
            raise Refused(404 if self.user else 401, "RepoNotFound", "Repository not found")
        if write and not mine:
            raise Refused(403 if self.user else 401, None, "You do not have the rights to write to this repository")
        if content and repo.gated and not mine:
            raise Refused(403 if self.user else 401, "GatedRepo", f"Access to dataset {repo.name} is restricted")
        return repo

    def _commit(self, repo: Repo, rev: str) -> Commit:
        commit = repo.at(rev)
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return commit

    # Routes

    def whoami(self) -> None:
        user = self.user
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        orgs = [{"name": name, "type": "org"} for name in self.hub.orgs.get(user, ())]
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
        self._answer({"name": user, "type": "user", "orgs": orgs, "auth": auth})

    def create(self) -> None:
        asked = json.loads(self.body)
        user = self.user
        if user is None:
            raise Refused(401, None, "Invalid username or password.")
        name = f"{asked.get('organization') or user}/{asked['name']}"
        if not self._writes(name):
            raise Refused(403, None, f"You don't have the rights to create a dataset under the namespace {name}")
        url = f"{self.hub.url}/datasets/{name}"
        if name in self.hub.repos:
            raise Refused(409, None, "You already created this dataset repo", {"error": "exists", "url": url})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.hub.repos[name] = Repo(name, private)
        repo.commit("initial commit", {".gitattributes": _small(b"*.parquet filter=lfs\n")})
        self._answer({"url": url, "name": name, "id": name})

    def delete(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or self.user}/{asked['name']}"
        self._repo(*name.split("/"), write=True)
        del self.hub.repos[name]
        self._answer({})

    def info(self, ns: str, name: str, rev: str = "main") -> None:
        repo = self._repo(ns, name)
        commit = self._commit(repo, rev)
        self._answer(
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
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for one in json.loads(self.body)["files"]
        ]
        self._answer({"files": files})

    def batch(self, ns: str, name: str) -> None:
        self._repo(ns, name, write=True)
        objects = []
        for one in json.loads(self.body)["objects"]:
            entry: JSON = {"oid": one["oid"], "size": one["size"]}
            if not (self.hub.folder / "lfs" / one["oid"]).is_file():
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}
            objects.append(entry)
        self._answer({"transfer": "basic", "objects": objects})

    def commit(self, ns: str, name: str, rev: str) -> None:
        repo = self._repo(ns, name, write=True)
        head = self._commit(repo, rev)
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        if header.get("parentCommit") not in (None, head.oid):
            raise Refused(412, None, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = _small(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                if not (self.hub.folder / "lfs" / value["oid"]).is_file():
                    raise Refused(400, None, f"{value['path']} was not uploaded")
                files[value["path"]] = Stored(value["size"], value["oid"][:40], lfs=value["oid"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "deletedFolder":
                files = {path: one for path, one in files.items() if not path.startswith(value["path"])}
        made = repo.commit(header["summary"], files)
        url = f"{self.hub.url}/datasets/{repo.name}/commit/{made.oid}"
        self._answer({"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""})

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
            raise Refused(404, "EntryNotFound", f"{path} does not exist on {rev}")
        self._answer(list(found.values()))

    def paths_info(self, ns: str, name: str, rev: str) -> None:
        commit = self._commit(self._repo(ns, name, content=True), rev)
        asked = parse_qs(self.body.decode()) if b"=" in self.body[:20] else json.loads(self.body)
        paths = asked["paths"]
        found = [_entry(path, commit.files[path], commit) for path in paths if path in commit.files]
        for path in paths:
            if any(file.startswith(f"{path}/") for file in commit.files):
                found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
        self._answer(found)

    def validate_yaml(self) -> None:
        content = json.loads(self.body)["content"]
        found = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        errors = []
        try:
            head = yaml.safe_load(found[1]) if found else {}
        except yaml.YAMLError as error:
            head, errors = {}, [{"message": str(error)}]
        errors += [{"message": message} for message in wrong_in(head)]
        self._answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def tag(self, ns: str, name: str, rev: str) -> None:
        repo = self._repo(ns, name, write=True)
        commit = self._commit(repo, rev)
        wanted = json.loads(self.body)["tag"]
        if wanted in repo.tags:
            raise Refused(409, None, f"Tag reference exists already: refs/tags/{wanted}")
        repo.tags[wanted] = commit.oid
        self._answer({})

    def refs(self, ns: str, name: str) -> None:
        repo = self._repo(ns, name)
        tags = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid} for tag, oid in sorted(repo.tags.items())]
        branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}]
        self._answer({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def settings(self, ns: str, name: str) -> None:
        repo = self._repo(ns, name, write=True)
        asked = json.loads(self.body)
        if "gated" in asked:
            repo.gated = asked["gated"]
        if "visibility" in asked or "private" in asked:
            repo.private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._answer({"gated": repo.gated, "private": repo.private})

    def resolve(self, ns: str, name: str, rev: str, path: str) -> None:
        commit = self._commit(self._repo(ns, name, content=True), rev)
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", f"Entry {path} not found")
        stored = commit.files[path]
        data = self.hub.data(stored)
        headers: JSON = {"X-Repo-Commit": commit.oid, "ETag": f'"{stored.lfs or stored.oid}"', "Accept-Ranges": "bytes"}
        if stored.lfs:
            headers |= {"X-Linked-Size": stored.size, "X-Linked-ETag": headers["ETag"]}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None:
            self._send(data, 200, headers)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            raise Refused(416, None, "no such range")
        headers["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
        self._send(data[start : stop + 1], 206, headers)


def wrong_in(head: JSON) -> list[str]:
    """What the Hub's rules for a dataset card's YAML forbid, as far as they concern what we write."""
    wrong = []
    if head.get("license") not in LICENCES:
        wrong.append(f'"license" must be one of {sorted(LICENCES)}')
    if head.get("license_name") and head.get("license") != "other":
        wrong.append('"license_name" goes with license "other" alone')
    if not set(head.get("size_categories") or []) <= SIZES:
        wrong.append('"size_categories" is not one of the known ones')
    for name in ("annotations_creators", "language_creators"):
        if not set(head.get(name) or []) <= CREATORS:
            wrong.append(f'"{name}" is not one of the known ones')
    for name in ("tags", "task_categories", "language", "configs"):
        if not isinstance(head.get(name, []), list):
            wrong.append(f'"{name}" must be an array')
    names = [one.get("config_name") for one in head.get("configs") or []]
    if len(names) != len(set(names)) or None in names:
        wrong.append('"configs" must have a config_name each, no two alike')
    return wrong


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


_D = r"/api/datasets/(?P<ns>[\w.-]+)/(?P<name>[\w.-]+)"
_FILES = r"/datasets/(?P<ns>[\w.-]+)/(?P<name>[\w.-]+)"
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
