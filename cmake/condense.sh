# Sourced by ./dev and cmake/engine.sh: what a long build shows.
#
# condense LABEL   reads Ninja's output on stdin. Its "[12/345] …" lines become one line that rewrites itself on a
#                  terminal, or one line per tenth in a log; everything else passes through. All of it goes to stderr.
#
# A loop of bash, because Debian's awk reads a pipe in blocks and would show nothing until the end.
condense() {
  local label=$1 line percent mark=0 open=""
  while IFS= read -r line; do
    if [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]]; then
      percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      if [ -t 2 ]; then
        printf '\r        %s %3d%% %s ' "$label" "$percent" "${BASH_REMATCH[0]}" >&2
        open=1
      elif [ "$percent" -ge "$mark" ]; then
        printf '        %s %d%% %s\n' "$label" "$percent" "${BASH_REMATCH[0]}" >&2
        mark=$((percent - percent % 10 + 10))
      fi
    elif [[ $line != "ninja: no work"* && $line != "ninja: Entering"* ]]; then
      if [ -n "$open" ]; then printf '\n' >&2; open=""; fi
      printf '%s\n' "$line" >&2
    fi
  done
  if [ -n "$open" ]; then printf '\n' >&2; fi
}
