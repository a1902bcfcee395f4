#!/usr/bin/env python3
"""The house rules, checked: layers of includes, one folder per library, sizes, banned calls, purity of policy/.

    tidy.py [--root DIR] [--policy-archive FILE]     prints file:line: rule; exits 1 when there is one
    tidy.py --self-test                              feeds bad snippets and expects each to be found

The rules are data in layers.toml beside this file. Standard library only.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
CODE = {".cc", ".h"}
TEXT = CODE | {
    ".py",
    ".md",
    ".txt",
    ".cmake",
    ".sh",
    ".yaml",
    ".yml",
    ".json",
    ".toml",
    ".ts",
    ".mjs",
    ".js",
    "",
}
LONG_LINES_ALLOWED = {".md", ".json", ".yaml", ".yml", ".txt", ".sh", ""}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Written so that this file does not contain what it looks for.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:wo" r"rk|ro" r"ot)/[\w.]|/tmp/" r"b-\w")
TO_DO = re.compile(r"\bTO" r"DO\b(?!\((?:perf|cleanup|test|later)\): \S)")
FUNCTION_HEAD = re.compile(
    r"^( {0,2})(?! )(?!namespace\b|class\b|struct\b|enum\b|union\b|extern\b|using\b|\})"
    r"[^=;]*\)[^;=]*\{$"
)
# A line that breaks a banned-call rule on purpose says why: // tidy: because …
BECAUSE = re.compile(r"// tidy: because \S")


class Tidy:
    """Collects faults as 'path:line: text'; warnings apart, they never fail."""

    def __init__(self, rules):
        self.rules = rules
        self.faults = []
        self.warnings = []
        self.banned = [
            (re.compile(b["pattern"]), set(b.get("allowed", [])), b["reason"])
            for b in rules["banned"]
        ]

    def fault(self, path, line, text):
        self.faults.append(f"{path}:{line}: {text}")

    def check_text(self, path, text):
        """Rules of every text file; `path` is relative to the root, as a PurePosixPath."""
        limit = self.rules["limits"]["columns"]
        for number, line in enumerate(text.split("\n"), 1):
            if path.suffix not in LONG_LINES_ALLOWED and len(line) > limit:
                self.fault(path, number, f"line has {len(line)} columns, at most {limit}")
            if MACHINE_PATH.search(line):
                self.fault(
                    path,
                    number,
                    "a path of one machine; take it from an argument or the environment",
                )
            if TO_DO.search(line):
                self.fault(
                    path,
                    number,
                    "a to-do names its kind: perf, cleanup, test or later, then a text",
                )

    def check_code(self, path, text):
        """Rules of our C++ under src/<folder>/."""
        folder = path.parts[1] if len(path.parts) > 2 else ""
        lines = text.split("\n")
        code = strip(text).split("\n")
        if path.suffix == ".h" and not any(line.strip() == "#pragma once" for line in lines):
            self.fault(path, 1, "a header has #pragma once")
        if folder not in self.rules["layers"]:
            self.fault(path, 1, f"folder src/{folder} is not in tests/tidy/layers.toml")
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                self.check_include(path, folder, number, match.group(1), match.group(2))
        for number, line in enumerate(code, 1):
            for pattern, allowed, reason in self.banned:
                if (
                    folder not in allowed
                    and pattern.search(line)
                    and not BECAUSE.search(lines[number - 1])
                ):
                    self.fault(path, number, f"banned: {reason}")
        self.check_sizes(path, text, code)

    def check_include(self, path, folder, number, kind, target):
        is_test = path.name.endswith("_test.cc")
        for name, library in self.rules["libraries"].items():
            folders = library.get("tests", library["folders"]) if is_test else library["folders"]
            if folder not in folders and target.startswith(tuple(library["includes"])):
                self.fault(path, number, f"{name} is named in {', '.join(folders)} only")
        if kind != '"' or "/" not in target:
            return
        other = target.split("/", 1)[0]
        layers = self.rules["layers"]
        may = layers.get(folder, [])
        if other in layers and other != folder and other not in may and "*" not in may:
            self.fault(path, number, f"layer: {folder} may not include {other} ({target})")

    def check_sizes(self, path, text, code):
        limits = self.rules["limits"]
        count = text.count("\n")
        if count > limits["file_lines"]:
            self.fault(
                path,
                count,
                f"file has {count} lines, at most {limits['file_lines']}; find its second noun",
            )
        elif count > limits["file_lines_warned"]:
            self.warnings.append(f"{path}:{count}: warning: file has {count} lines")
        for start, end in functions(code):
            length = end - start + 1
            if length > limits["function_lines"]:
                self.fault(
                    path,
                    start + 1,
                    f"function has {length} lines, at most {limits['function_lines']}",
                )

    def check_purity(self, path, symbols):
        """`symbols` is what `nm -C --undefined-only` prints of the archive."""
        forbidden = [re.compile(p) for p in self.rules["purity"]["forbidden"]]
        for line in symbols.split("\n"):
            match = re.match(r"\s*[Uvw] (.+?)(?:@.*)?$", line)
            if match and any(p.search(match.group(1)) for p in forbidden):
                self.fault(path, 0, f"policy is pure, but its archive needs {match.group(1)}")


def strip(text):
    """The code with comments and the insides of literals blanked, line for line."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'
        r"(?<!\w)'(?:\\.|[^'\\\n])+'",
        re.S,
    )

    def blank(match):
        kept = "\n" * match.group(0).count("\n")
        return '""' + kept if match.group(0)[0] in 'R"' else kept

    return pattern.sub(blank, text)


def functions(code):
    """(first, last) line indexes of functions, by the layout clang-format gives: the closing brace begins a line at
    the indent of the head."""
    for index, line in enumerate(code):
        line = line.rstrip()
        first = index  # a head may be wrapped: its '{' line is then indented deeper, its first line stands above
        if line.endswith("{") and line.startswith("   "):
            while (
                first > 0
                and code[first].startswith("   ")
                and not code[first - 1].rstrip().endswith((";", "}", "{"))
            ):
                first -= 1
            line = " ".join(
                part.strip() if at else part.rstrip()
                for at, part in enumerate(code[first : index + 1])
            )
        match = FUNCTION_HEAD.match(line)
        if not match:
            continue
        closing = match.group(1) + "}"
        for last in range(index + 1, len(code)):
            if code[last].startswith(closing):
                yield first, last
                break


def tracked_files(root):
    """What git tracks or would track; outside of git, everything but outputs."""
    result = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if result.returncode == 0:
        names = [name for name in result.stdout.decode().split("\0") if name]
    else:
        skipped = {"build", ".git", "node_modules", "__pycache__"}
        relative = [p.relative_to(root) for p in root.rglob("*") if p.is_file()]
        names = [str(p) for p in relative if not skipped & set(p.parts)]
    return [pathlib.PurePosixPath(name) for name in sorted(set(names)) if (root / name).is_file()]


def check_tree(tidy, root):
    paths = tracked_files(root)
    for path in paths:
        raw = (root / path).read_bytes()
        if b"\0" in raw[:8192]:
            if path.parts[0] not in ("docs", "tests"):
                tidy.fault(path, 0, "a binary file; only docs/ and tests/ may hold one")
            elif len(raw) > 200_000:
                tidy.fault(path, 0, f"a binary file of {len(raw)} bytes; at most 200000")
            continue
        if path.suffix not in TEXT or path.name in ("LICENSE", "package-lock.json"):
            continue
        text = raw.decode("utf-8", "replace")
        tidy.check_text(path, text)
        if path.parts[0] == "src" and path.suffix in CODE:
            tidy.check_code(path, text)
    return len(paths)


# Each: name, path, text, the words that the one fault holds ("" = none may be found).
LONG_FUNCTION = "int f(int a) {\n" + "  a++;\n" * 70 + "}\n"
WRAPPED_FUNCTION = "int f(int a,\n      int b) {\n" + "  a++;\n" * 70 + "}\n"
SNIPPETS = [
    ("clean file", "src/policy/a.cc", '#include "domain/ids.h"\nint f() { return 1; }\n', ""),
    (
        "policy includes control",
        "src/policy/a.cc",
        '#include "control/events.h"\n',
        "layer: policy",
    ),
    ("base includes domain", "src/base/a.cc", '#include "domain/ids.h"\n', "layer: base"),
    ("gateway includes app", "src/gateway/a.cc", '#include "app/server.h"\n', "layer: gateway"),
    ("gateway includes models", "src/gateway/a.cc", '#include "models/manifest_reader.h"\n', ""),
    ("app includes all", "src/app/a.cc", '#include "storage/database.h"\n', ""),
    ("cli includes storage", "src/cli/a.cc", '#include "storage/database.h"\n', "layer: cli"),
    ("unknown folder", "src/misc/a.cc", "\n", "not in tests/tidy/layers.toml"),
    ("sqlite in gateway", "src/gateway/a.cc", "#include <sqlite3.h>\n", "sqlite is named"),
    (
        "beast in control",
        "src/control/a.cc",
        "#include <boost/beast/http.hpp>\n",
        "asio-and-beast is named",
    ),
    ("asio in a models test", "src/models/a_test.cc", "#include <boost/asio/io_context.hpp>\n", ""),
    (
        "asio in models",
        "src/models/a.cc",
        "#include <boost/asio/io_context.hpp>\n",
        "asio-and-beast is named",
    ),
    ("llama in runtime", "src/runtime/a.cc", "#include <llama.h>\n", "llama is named"),
    ("no pragma once", "src/base/a.h", "int f();\n", "#pragma once"),
    ("long function", "src/base/a.cc", LONG_FUNCTION, "function has 72 lines"),
    ("long function, wrapped head", "src/base/a.cc", WRAPPED_FUNCTION, "function has 73 lines"),
    (
        "long struct is no function",
        "src/base/a.cc",
        "struct A {\n" + "  int a;\n" * 90 + "};\n",
        "",
    ),
    ("short lambda before much else", "src/base/a.cc",
     "  add(f([&] {\n    go();\n  }));\n" + "  int a;\n" * 90 + "  }\n", ""),
    ("long file", "src/base/a.cc", "\n" * 501, "file has 501 lines"),
    ("long line", "src/base/a.cc", "//" + "x" * 119 + "\n", "columns"),
    ("sleep", "src/base/a.cc", "std::this_thread::sleep_for(1s);\n", "a sleep guesses"),
    ("system", "src/app/a.cc", '  int rc = system("ls");\n', "a shell"),
    ("error_code system is fine", "src/app/a.cc", "boost::system::error_code code;\n", ""),
    ("sprintf", "src/base/a.cc", "sprintf(buffer, x);\n", "past the end"),
    ("snprintf is fine", "src/base/a.cc", "snprintf(buffer, 4, x);\n", ""),
    ("rand", "src/base/a.cc", "int x = rand();\n", "randomness"),
    ("detach", "src/base/a.cc", "thread.detach();\n", "detached"),
    ("capture all", "src/base/a.cc", "auto f = [=] { return a; };\n", "captures"),
    ("getenv in control", "src/control/a.cc", 'getenv("HOME");\n', "settings"),
    ("getenv in cli", "src/cli/a.cc", 'getenv("HOME");\n', ""),
    ("banned word in a comment", "src/base/a.cc", "// never sleep_for here\n", ""),
    (
        "banned call with a reason",
        "src/base/a.cc",
        "x.detach();  // tidy: because it never returns\n",
        "",
    ),
    ("banned word in a string", "src/base/a.cc", 'auto a = "rand()";\n', ""),
    ("machine path", "docs/a.md", "see /wo" + "rk/main/x\n", "path of one machine"),
    ("machine path in a URL is none", "docs/a.md", "https://example.com/wo" + "rk/x\n", ""),
    ("bare to-do", "src/base/a.cc", "// TO" + "DO: later\n", "names its kind"),
    ("to-do with kind", "src/base/a.cc", "// TO" + "DO(perf): batch\n", ""),
]
SYMBOLS = [
    ("clock", "                 U clock_gettime@GLIBC_2.17\n", "clock_gettime"),
    ("chrono", "                 U std::chrono::_V2::steady_clock::now()\n", "steady_clock"),
    (
        "thread",
        "                 U std::thread::_M_start_thread(std::unique_ptr<x>)\n",
        "std::thread",
    ),
    ("file", "                 U fopen@GLIBC_2.2.5\n", "fopen"),
    (
        "allocation",
        "                 U malloc\n                 U operator new(unsigned long)\n",
        "",
    ),
    ("own names", "                 U glowplug::policy::read_plan(int)\n", ""),
    ("defined", "0000000000000000 T time\n", ""),
]


def self_test(rules):
    wrong = []

    def expect(name, tidy, words):
        good = not tidy.faults if words == "" else len(tidy.faults) == 1 and words in tidy.faults[0]
        if not good:
            wrong.append(f"{name}: expected {words or 'nothing'!r}, found {tidy.faults}")

    for name, path, text, words in SNIPPETS:
        tidy = Tidy(rules)
        tidy.check_text(pathlib.PurePosixPath(path), text)
        if path.startswith("src/"):
            tidy.check_code(pathlib.PurePosixPath(path), text)
        expect(name, tidy, words)
    for name, symbols, words in SYMBOLS:
        tidy = Tidy(rules)
        tidy.check_purity("libglowplug_policy.a", symbols)
        expect(f"purity: {name}", tidy, words)
    print(
        "\n".join(wrong)
        if wrong
        else f"self-test: {len(SNIPPETS) + len(SYMBOLS)} cases as expected"
    )
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parent.parent)
    parser.add_argument("--policy-archive", type=pathlib.Path)
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    rules = tomllib.loads((HERE / "layers.toml").read_text(encoding="utf-8"))
    if options.self_test:
        return self_test(rules)
    tidy = Tidy(rules)
    count = check_tree(tidy, options.root.resolve())
    if options.policy_archive:
        symbols = subprocess.run(
            ["nm", "-C", "--undefined-only", str(options.policy_archive)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        tidy.check_purity(options.policy_archive.name, symbols)
    for line in tidy.warnings + tidy.faults:
        print(line)
    print(f"tidy: {count} files, {len(tidy.faults)} faults, {len(tidy.warnings)} warnings")
    return 1 if tidy.faults else 0


if __name__ == "__main__":
    sys.exit(main())
