#!/usr/bin/env python3
"""./dev demo: a server on free ports, a model deployed, asked from zero, warm, and from zero again.

Everything lives in a temporary folder and ends with the demo, unless --keep is given. The model file alone stays, in
the cache folder, so that it is downloaded once. Standard library only.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

NAME = "smollm2"
KEEP_ALIVE_S = 3
QUESTION = "In two short sentences: why does a diesel engine have a glow plug?"
MANIFEST = f"""apiVersion: glowplug.dev/v1
kind: Function
name: {NAME}
model: smollm2
context: 2048
keep_alive: {KEEP_ALIVE_S}s
"""
PHASES = ["queue", "fetch", "load", "fork", "prefill"]
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def heading(text):
    print(f"\n\033[1m{text}\033[0m" if COLOUR else f"\n{text}", flush=True)


def fail(text):
    print(f"demo: {text}", file=sys.stderr)
    raise SystemExit(1)


def free_port(wanted):
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    return fail("no free port on 127.0.0.1")


def resident_mb(pid):
    """VmRSS of one process in MB (10^6 bytes); 0 when it is gone."""
    try:
        match = re.search(r"^VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0.0
    return int(match.group(1)) * 1024 / 1e6 if match else 0.0


def descendants(pid):
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


class Demo:
    def __init__(self, options):
        self.bin = pathlib.Path(options.bin).resolve()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="glowplug-demo-"))
        self.port, self.admin_port = free_port(4569), free_port(4570)
        self.url = f"http://127.0.0.1:{self.port}"
        cache = os.environ.get("GLOWPLUG_CACHE_DIR")
        if not cache:
            cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "glowplug")
        self.cache = cache
        self.environment = os.environ | {"GLOWPLUG_URL": self.url,
                                         "GLOWPLUG_ADMIN_URL": f"http://127.0.0.1:{self.admin_port}"}
        self.server = None
        self.rows = []

    # ---- the server ----

    def start(self):
        log = open(self.folder / "server.log", "wb")
        self.server = subprocess.Popen(
            [self.bin / "glowplug", "serve", "--listen", f"127.0.0.1:{self.port}",
             "--admin-listen", f"127.0.0.1:{self.admin_port}", "--data-dir", self.folder / "data",
             "--cache-dir", self.cache],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True)
        log.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.server.poll() is not None:
                fail(f"the server ended with {self.server.returncode}:\n{self.log_end()}")
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        fail(f"the server was not ready within 30 s:\n{self.log_end()}")

    def log_end(self):
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-15:])

    def stop(self):
        if self.server and self.server.poll() is None:
            children = descendants(self.server.pid)
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
            for child in children:  # the lifeline ends them by itself; this is for a server that was killed
                if pathlib.Path(f"/proc/{child}/comm").exists() and "glowplug" in self.comm(child):
                    with contextlib.suppress(OSError):
                        os.kill(child, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def comm(pid):
        try:
            return pathlib.Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            return ""

    # ---- talking to it ----

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def glowplug(self, *arguments, **more):
        return subprocess.run([self.bin / "glowplug", *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                              check=False, **more)

    def show(self, *arguments):
        print(f"$ glowplug {' '.join(str(a) for a in arguments)}", flush=True)
        if self.glowplug(*arguments).returncode != 0:
            fail(f"that command failed; the server says:\n{self.log_end()}")

    def status(self):
        reply = self.glowplug("ps", "--json", capture_output=True, text=True)
        if reply.returncode != 0:
            fail(f"glowplug ps failed: {reply.stderr}")
        return next((row for row in json.loads(reply.stdout) if row.get("function") == NAME), {})

    def wait_for_file(self):
        """Deploying fetches the model in the background; the first start is timed apart from that."""
        deadline, told = time.monotonic() + 900, None
        while time.monotonic() < deadline:
            row = self.status()
            if row.get("state") == "failed":
                fail(f"the model could not be fetched: {row.get('reason', self.log_end())}")
            if row.get("tier") not in (None, "remote"):
                return
            if told is None:
                print("fetching the model file (once per machine) …", flush=True)
                told = True
            time.sleep(0.2)
        fail("the model was not fetched within 15 minutes")

    def wait_for_zero(self):
        begun, last = time.monotonic(), None
        while time.monotonic() - begun < 60:
            row = self.status()
            memory = row.get("memory_bytes", 0) / 1e6
            line = (f"state {row.get('state')}, replicas {row.get('replicas')}, memory {memory:.0f} MB, "
                    f"kept for the next start {kept_mb(row):.0f} MB")
            if line != last:
                print(f"  {time.monotonic() - begun:5.1f} s  {line}", flush=True)
                last = line
            if row.get("state") == "cold" and row.get("tier") not in ("disk", "memory"):
                return
            time.sleep(0.1)
        fail(f"the function did not go to zero within 60 s of keep_alive {KEEP_ALIVE_S} s")

    def memory(self):
        row = self.status()
        return {"replica_mb": row.get("memory_bytes", 0) / 1e6, "kept_mb": kept_mb(row)}

    def ask_streamed(self, label):
        """One streamed chat completion, printed as it comes, with what the server says about its time."""
        body = {"model": NAME, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 64,
                "temperature": 0.3, "messages": [{"role": "user", "content": QUESTION}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        begun = time.monotonic()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            fail(f"HTTP {reply.status}: {reply.read().decode(errors='replace')}\n{self.log_end()}")
        first, last, usage, extra = None, None, {}, {}
        for raw in reply:
            line = raw.decode().strip()
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            usage = chunk.get("usage") or usage
            extra = chunk.get("timings") or (chunk.get("usage") or {}).get("timings") or extra
            for choice in chunk.get("choices", []):
                text = choice.get("delta", {}).get("content")
                if text:
                    last = time.monotonic()
                    first = first or last
                    print(text, end="", flush=True)
        print(flush=True)
        phases = server_timing(reply.getheader("Server-Timing") or "")
        if "prefill" not in phases and "prompt_ms" in extra:
            phases["prefill"] = float(extra["prompt_ms"])
        cold = reply.getheader("x-glowplug-cold-start")
        if tier := reply.getheader("x-glowplug-start-tier"):
            label = f"{label} ({tier})"
        connection.close()
        tokens = usage.get("completion_tokens", 0)
        rate = (tokens - 1) / (last - first) if first and last > first and tokens > 1 else None
        self.rows.append({"start": label, "cold": cold, "first_ms": (first - begun) * 1000 if first else None,
                          "rate": rate, "server_mb": resident_mb(self.server.pid),
                          **self.memory(), **phases})

    def ask_by_command(self):
        print(f'$ glowplug run {NAME} "{QUESTION}"', flush=True)
        begun, first = time.monotonic(), None
        command = subprocess.Popen([self.bin / "glowplug", "run", NAME, QUESTION], env=self.environment,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        while piece := os.read(command.stdout.fileno(), 4096):
            first = first or time.monotonic()
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
        command.stdout.close()
        if command.wait() != 0:
            fail(f"glowplug run ended with {command.returncode}; the server says:\n{self.log_end()}")
        self.rows.append({"start": "glowplug run, from zero", "cold": "true",
                          "first_ms": (first - begun) * 1000 if first else None,
                          "server_mb": resident_mb(self.server.pid),
                          **self.memory()})

    # ---- the story ----

    def play(self):
        heading("1. A server, and a model deployed as a function. Nothing runs for it yet.")
        self.start()
        manifest = self.folder / "smollm2.yaml"
        manifest.write_text(MANIFEST)
        print(MANIFEST, end="")
        self.show("deploy", manifest)
        self.wait_for_file()
        self.show("ps")
        server_alone = resident_mb(self.server.pid)
        heading("2. The first question wakes it: from zero, streamed.")
        self.ask_by_command()
        heading("3. The same question, warm, as any OpenAI client asks it.")
        self.ask_streamed("warm")
        heading(f"4. Nobody asks. After {KEEP_ALIVE_S} s its replica ends; its template and a spare stay.")
        self.wait_for_zero()
        zero = kept_mb(self.status())
        heading("5. Asked again, from zero again.")
        self.ask_streamed("from zero")
        heading("What each start cost")
        self.table()
        print(f"\nmemory: server alone {server_alone:.0f} MB; at zero its template and spare hold {zero:.0f} MB "
              "(template: off in the manifest keeps nothing)")
        heading("How to go on")
        self.advice()

    def table(self):
        def cell(value, digits=0):
            return "-" if value is None else f"{value:.{digits}f}"
        header = ["start", "cold", *[f"{p} ms" for p in PHASES], "first token ms", "tokens/s", "server MB",
                  "replica MB", "kept MB"]
        rows = [[row["start"], row["cold"] or "-", *[cell(row.get(p), 1) for p in PHASES], cell(row["first_ms"]),
                 cell(row.get("rate"), 1), cell(row["server_mb"]), cell(row["replica_mb"]), cell(row["kept_mb"])]
                for row in self.rows]
        widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            print("  ".join(v.ljust(w) if i == 0 else v.rjust(w) for i, (v, w) in enumerate(zip(row, widths))))

    def advice(self):
        print(f"""server   {self.url}
curl     curl -N {self.url}/v1/chat/completions -H "Content-Type: application/json" \\
           -d '{{"model":"{NAME}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
python   from openai import OpenAI
         client = OpenAI(base_url="{self.url}/v1", api_key="none")
         print(client.chat.completions.create(model="{NAME}",
               messages=[{{"role": "user", "content": "Hello"}}]).choices[0].message.content)""", flush=True)


def kept_mb(row):
    """What the template and its spares hold, in a function's status."""
    template = row.get("template") or {}
    held = [template, *template.get("spares", [])]
    return sum(one.get("memory_bytes", 0) for one in held) / 1e6


def server_timing(header):
    """{'queue': 0.2, …} in ms from 'queue;dur=0.2, load;dur=310'."""
    pairs = re.findall(r'([\w-]+)(?:;desc="[^"]*")?;dur=([\d.]+)', header)
    return {name: float(duration) for name, duration in pairs}


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=pathlib.Path(__file__).resolve().parent.parent / "build/release/bin",
                        help="folder of glowplug and glowplug-worker")
    parser.add_argument("--keep", action="store_true", help="leave the server running")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    demo, kept = Demo(options), False
    try:
        demo.play()
        kept = options.keep
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130
    finally:
        if not kept:
            demo.stop()
    if kept:
        print(f"\nleft running: pid {demo.server.pid}, folder {demo.folder}; to end it: kill {demo.server.pid}")
    else:
        print("\nstopped; nothing is left but the model file in the cache "
              "(./dev demo --keep leaves the server running, ./dev run serve starts your own)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
