"""Writes domain/errors.h from api/errors.yaml, so that a code's HTTP status and type stand in one place."""
import re
import sys

source, target = sys.argv[1], sys.argv[2]
LINE = re.compile(r'- \{code: (\w+), status: (\d+), type: (\w+), retry: (true|false), meaning: "(.*)"\}')

rows = []
for number, line in enumerate(open(source, encoding="utf-8"), 1):
    if line.startswith("#") or not line.strip():
        continue
    match = LINE.fullmatch(line.strip())
    if not match:
        sys.exit(f"{source}:{number}: expected {{code, status, type, retry, meaning}} in this order")
    rows.append(match.groups())

codes = [row[0] for row in rows]
if len(set(codes)) != len(codes):
    sys.exit(f"{source}: a code is listed twice")

with open(target, "w", encoding="utf-8") as out:
    out.write("// Generated from api/errors.yaml; change it there.\n#pragma once\n\n"
              "#include <array>\n#include <string_view>\n\n")
    out.write("namespace glowplug::domain {\n\nstruct ErrorKind {\n  std::string_view code;\n  int status;\n"
              "  std::string_view type;\n  bool retry;\n};\n\n")
    out.write(f"inline constexpr std::array<ErrorKind, {len(rows)}> kErrorKinds{{{{\n")
    for code, status, kind, retry, _ in rows:
        out.write(f'    {{"{code}", {status}, "{kind}", {retry}}},\n')
    out.write("}};\n\nnamespace error {\n")
    for code in codes:
        name = "k" + "".join(part.capitalize() for part in code.split("_"))
        out.write(f'inline constexpr std::string_view {name} = "{code}";\n')
    out.write("}  // namespace error\n\n")
    out.write("// The row of a code; an unknown code is our own fault and reads as server_error.\n"
              "constexpr ErrorKind error_kind(std::string_view code) {\n"
              "  for (const ErrorKind& kind : kErrorKinds)\n    if (kind.code == code) return kind;\n"
              '  return {"server_error", 500, "server_error", true};\n}\n\n}  // namespace glowplug::domain\n')
