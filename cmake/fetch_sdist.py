#!/usr/bin/env python3
"""Downloads one source distribution as it lies in a package index, and checks it.

    fetch_sdist.py NAME==VERSION SHA256 OUTDIR     prints the archive's path; exits 1 with one line when it cannot

pip cannot do this: before it downloads an sdist it prepares the metadata, and for that it builds the build
requirements. The index is the one that pip is configured with, else the public one; the digest decides what is kept,
so it does not matter who serves it. Standard library only.
"""

import ast
import base64
import functools
import hashlib
import html.parser
import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

PUBLIC_INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
PAGE_BYTES_MAX = 32 << 20
TIMEOUT_SECONDS = 60
TRIES = 3
PIECE_BYTES = 1 << 18


class Failure(Exception):
    """What is printed before the program ends."""


def say(text):
    print(f"fetch_sdist: {text}", file=sys.stderr, flush=True)


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def shown(url):
    """The address without user name, password and query: what may stand in a log."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@functools.cache
def pip_configuration():
    """What pip's configuration files say; empty where there is no pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    settings = {}
    for line in result.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.startswith("global.") and value[:1] in "'\"":
            settings[key.removeprefix("global.")] = ast.literal_eval(value)
    return settings


def pip_setting(name):
    """A value as pip finds it: the environment comes first; empty when it is not set."""
    from_environment = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    return from_environment or pip_configuration().get(name, "")


def index_urls():
    urls = [pip_setting("index-url") or PUBLIC_INDEX, *pip_setting("extra-index-url").split()]
    return [url.rstrip("/") for url in urls]


def opener():
    """Verifies with the certificates that pip was given, else with the system's."""
    bundle = pip_setting("cert") or None
    try:
        context = ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise Failure(f"pip's setting cert names {bundle}, which cannot be read: {error}") from None
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def ask(url, accept):
    """A request; a user name in the address becomes a header, which no redirect carries to another host."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise Failure(f"{shown(url)} is neither http nor https")
    account, _, host = parts.netloc.rpartition("@")
    headers = {"Accept": accept, "User-Agent": "glowplug"}
    request = urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers)
    if account:
        plain = urllib.parse.unquote(account if ":" in account else account + ":")
        token = base64.b64encode(plain.encode()).decode()
        request.add_unredirected_header("Authorization", "Basic " + token)
    return request


class Links(html.parser.HTMLParser):
    """The addresses on an HTML page of an index."""

    def __init__(self, page_url):
        super().__init__()
        self.base = page_url
        self.urls = []

    def handle_starttag(self, tag, attrs):
        href = dict(attrs).get("href")
        if tag == "base" and href:
            self.base = urllib.parse.urljoin(self.base, href)
        elif tag == "a" and href:
            self.urls.append(urllib.parse.urljoin(self.base, href))


def links_of(page, content_type, page_url):
    if "json" in content_type:
        files = json.loads(page).get("files", [])
        return [urllib.parse.urljoin(page_url, file["url"]) for file in files]
    parser = Links(page_url)
    parser.feed(page.decode("utf-8", "replace"))
    return parser.urls


def is_sdist(url, name, version):
    file = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])
    stem, _, of = file.removesuffix(".tar.gz").rpartition("-")
    return file.endswith(".tar.gz") and normalised(stem) == normalised(name) and of == version


def find(browser, index, name, version):
    page_url = f"{index}/{normalised(name)}/"
    with browser.open(ask(page_url, ACCEPT), timeout=TIMEOUT_SECONDS) as reply:
        page = reply.read(PAGE_BYTES_MAX + 1)
        if len(page) > PAGE_BYTES_MAX:
            raise ValueError(f"the page is longer than {PAGE_BYTES_MAX} bytes")
        # Links are relative to where redirects led; the account belongs to the index's own host alone.
        asked, landed = urllib.parse.urlsplit(page_url), urllib.parse.urlsplit(reply.geturl())
        own = landed.netloc == asked.netloc.rpartition("@")[2]
        base = landed._replace(netloc=asked.netloc).geturl() if own else reply.geturl()
        links = links_of(page, reply.headers.get("Content-Type", ""), base)
    for url in links:
        if is_sdist(url, name, version):
            return urllib.parse.urldefrag(url).url
    raise ValueError(f"it lists no {name}-{version}.tar.gz")


def download(browser, url, into):
    """Writes the file and returns its SHA-256; a line of progress for each tenth."""
    digest, done, mark = hashlib.sha256(), 0, 10
    with browser.open(ask(url, "*/*"), timeout=TIMEOUT_SECONDS) as reply, open(into, "wb") as file:
        total = int(reply.headers.get("Content-Length") or 0)
        say(f"{shown(url)}: {total / 1e6:.1f} MB" if total else shown(url))
        while piece := reply.read(PIECE_BYTES):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            if total and 100 * done >= mark * total:
                mark = 100 * done // total
                say(f"{mark} % ({done / 1e6:.1f} of {total / 1e6:.1f} MB)")
                mark += 10 - mark % 10
    if total and done != total:
        raise ConnectionError(f"the answer ended after {done} of {total} bytes")
    return digest.hexdigest()


def attempt(what, action):
    """The action's value; the network gets some tries, and then the reason is the failure."""
    for turn in range(1, TRIES + 1):
        try:
            return action()
        except urllib.error.HTTPError as error:
            why, final = f"HTTP {error.code}", error.code < 500 and error.code not in (408, 429)
        except urllib.error.URLError as error:
            why, final = str(error.reason), isinstance(error.reason, ssl.SSLCertVerificationError)
        except (ValueError, KeyError, AttributeError, TypeError) as error:  # not what was expected
            why, final = str(error), True
        except (OSError, http.client.HTTPException) as error:
            why, final = str(error) or type(error).__name__, False
        if final or turn == TRIES:
            raise Failure(f"{what}: {why}")
        say(f"{what}: {why}; trying again")
    return None


def fetch(wish, sha256, folder):
    name, separator, version = wish.partition("==")
    if not (name and separator and version) or "/" in wish:
        raise Failure(f"'{wish}' is not NAME==VERSION")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise Failure(f"'{sha256}' is no SHA-256: 64 digits of 0-9a-f")
    browser, link, refused = opener(), "", []
    for index in index_urls():
        try:
            link = attempt(shown(index), lambda at=index: find(browser, at, name, version))
            break
        except Failure as failure:
            refused.append(str(failure))
    if not link:
        raise Failure(f"no index gives {wish}: " + "; ".join(refused))
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{normalised(name)}-{version}.tar.gz"
    partial = archive.with_name(archive.name + ".part")
    try:
        got = attempt(shown(link), lambda: download(browser, link, partial))
        if got != sha256:
            raise Failure(f"{shown(link)} has the SHA-256 {got}, but {sha256} is pinned; nothing is kept")
        partial.replace(archive)
    finally:
        partial.unlink(missing_ok=True)
    return archive


def main():
    if len(sys.argv) != 4:
        say("usage: fetch_sdist.py NAME==VERSION SHA256 OUTDIR")
        return 2
    try:
        print(fetch(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])))
    except Failure as failure:
        say(failure)
        return 1
    except OSError as error:
        say(f"cannot write into {sys.argv[3]}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
