"""`glowplug simulate` and `glowplug plan`: figures, files, many seeds, a log decided once more, and bad input. They ask
no server."""

from __future__ import annotations

import json
import re
import subprocess
import xml.dom.minidom
from pathlib import Path

import pytest
from support.server import GLOWPLUG, ROOT, cli

DONE, FAILED, USAGE = 0, 1, 2
TRACES = Path(__file__).resolve().parents[2] / "data/traces"
HEAD = "time_s,function,prompt_tokens,output_tokens\n"
SHORT = ("--generate", "bursts", "--rate", "0.5", "--length", "20m")


def run(*args: str | Path, seconds: float = 60) -> subprocess.CompletedProcess:
    return cli(*map(str, args), seconds=seconds, env={"GLOWPLUG_URL": "http://127.0.0.1:9"})  # nobody


def done(*args: str | Path, **more) -> str:
    result = run(*args, **more)
    assert result.returncode == DONE, result.stderr
    return result.stdout


def figures(*args: str | Path) -> dict:
    return json.loads(done(*args, "--json"))


def trace(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "mine.csv"
    path.write_text(head + "".join(row + "\n" for row in rows))
    return path


# ---- one run ----


def test_one_run_prints_a_table_within_eighty_columns():
    table = done("simulate", *SHORT)
    for word in ("calls", "cold starts", "wait for a replica", "p99", "device-seconds", "money"):
        assert word in table
    assert max(map(len, table.splitlines())) <= 80, table


def test_a_table_of_trouble_stays_within_eighty_columns_too(tmp_path):
    world = tmp_path / "small.yaml"
    world.write_text("machine: {memory: 900MB, page_cache: 700MB, cores: 2}\nfunction: {keep_alive: 20s}\n")
    traffic = ("--generate", "bursts", "--rate", "5", "--length", "4m", "--faults", 50, "--time-turns")
    table = done("simulate", *traffic, "--model", world)
    assert max(map(len, table.splitlines())) <= 80, table
    assert re.search(r"^faults +\d+$", table, re.MULTILINE) and "refused" in table


def test_turns_of_the_brain_are_told_in_a_unit_that_shows_them():
    row = next(line for line in done("simulate", *SHORT, "--time-turns").splitlines() if line.startswith("a turn"))
    assert re.match(r"a turn of the brain +[1-9][\d.]* µs", row), row


def test_a_dash_is_stdin_and_stdout():
    text = (TRACES / "own.csv").read_text()
    address = {"GLOWPLUG_URL": "http://127.0.0.1:9"}

    def piped(*args: str) -> subprocess.CompletedProcess:
        command = [str(GLOWPLUG), *args]
        return subprocess.run(command, input=text, capture_output=True, text=True, env=address, timeout=60)

    told = piped("simulate", "--trace", "-", "--json", "-")
    assert told.returncode == DONE, told.stderr
    assert told.stdout == done("simulate", "--trace", TRACES / "own.csv", "--json")
    assert "COLD" in piped("plan", "--trace", "-", "--policy", "lru").stdout
    several = piped("plan", "--trace", "-")
    assert several.returncode == USAGE and "--trace -: each policy reads the calls anew" in several.stderr
    text = HEAD + "abc,f,1,1\n"
    assert "stdin:2: " in piped("simulate", "--trace", "-").stderr
    for option in ("--plot", "--log"):
        result = run("simulate", *SHORT, option, "-")
        assert result.returncode == USAGE and f"{option}: '-' is no file" in result.stderr, result.stderr


def test_functions_that_the_world_names_are_there_before_their_first_call(tmp_path):
    world = tmp_path / "world.yaml"
    world.write_text("functions: {late: {model: smollm2-135m-q4_1, scale: {min: 1}}}\n")
    path = trace(tmp_path, "0,early,20,5", "1800,late,20,5")
    assert figures("simulate", "--trace", path, "--model", world)["cold"] == 1  # of the other one
    world.write_text("functions: {chta: {model: smollm2-135m-q4_1}}\n")
    for command, traffic in (("simulate", SHORT), ("simulate", ("--trace", path)), ("plan", ("--trace", path))):
        result = run(command, *traffic, "--model", world)
        assert result.returncode == FAILED
        assert "functions.chta: no call is of it; calls are of " in result.stderr, result.stderr


def test_the_figures_of_a_run_add_up():
    run = figures("simulate", *SHORT)
    assert run["calls"] > 300
    lost = run["broken"] + run["timed_out"] + run["left"] + sum(run["refused"].values())
    assert run["answered"] + lost == run["calls"]
    assert sum(run["cold_from"].values()) == run["cold"] > 0
    assert run["micros"]["held"] + run["micros"]["fees"] == run["micros"]["total"]


def test_a_seed_gives_the_same_bytes_and_another_one_others(tmp_path):
    def once(name: str, seed: int) -> list[bytes]:
        files = [tmp_path / f"{name}.{end}" for end in ("json", "svg", "log")]
        options = ("--seed", seed, "--faults", 20)
        done("simulate", *SHORT, *options, "--json", files[0], "--plot", files[1], "--log", files[2])
        return [file.read_bytes() for file in files]

    first = once("a", 1)
    assert once("b", 1) == first
    assert all(one != other for one, other in zip(once("c", 2), first))


def test_the_picture_is_an_svg_file_with_its_panels(tmp_path):
    done("simulate", *SHORT, "--plot", tmp_path / "run.svg")
    drawn = xml.dom.minidom.parse(str(tmp_path / "run.svg"))
    words = [text.firstChild.data for text in drawn.getElementsByTagName("text")]
    assert any("Memory reserved" in word for word in words)


def test_devices_are_used_and_priced(tmp_path):
    run = figures("simulate", *SHORT, "--devices", "A10G:2,T4:1")
    assert run["devices"]["T4"]["there"] == 1
    assert run["devices"]["A10G"]["there"] == 2
    assert run["devices"]["T4"]["answered"] + run["devices"]["A10G"]["answered"] == run["answered"]
    world = tmp_path / "fleet.yaml"
    world.write_text("devices: [{type: A100, count: 10000}]\nfunction: {slots: 8}\n")
    fleet = figures("simulate", *SHORT, "--model", world)
    assert fleet["devices"]["A100"]["there"] == 10_000


def test_every_kind_of_trace_is_played():
    for name in ("own.csv", "own.csv.gz", "azure_llm_2023.csv", "azure_functions_2021.csv",
                 "azure_functions_2019.csv", "servegen.csv", "mooncake.jsonl"):  # fmt: skip
        assert figures("simulate", "--trace", TRACES / name, "--requests", 50)["calls"] > 0, name


# ---- seeds ----


def test_many_seeds_hold_on_one_process_as_on_three():
    one = figures("simulate", "--seeds", "1..6", "--jobs", 1)
    three = figures("simulate", "--seeds", "1..6", "--jobs", 3)
    assert one == three
    assert one["seeds"] == 6 and one["failed"] == 0
    assert one["calls_least"] >= 1000 and one["faults_least"] >= 20


@pytest.mark.parametrize("seeds", ["", "1..", "9..1", "a..b", "-1..3", "1..999999999999", "1.5"])
def test_a_range_that_is_none_is_told(seeds):
    result = run("simulate", f"--seeds={seeds}")
    assert result.returncode == USAGE, result.stdout
    assert result.stderr.startswith("glowplug: ")


def test_what_a_scenario_makes_up_cannot_be_given(tmp_path):
    result = run("simulate", "--seeds", "1..2", "--trace", trace(tmp_path, "0,f,1,1"))
    assert result.returncode == USAGE
    assert "--seeds" in result.stderr and "--trace" in result.stderr


# ---- the log ----


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("log") / "run.log"
    done("simulate", *SHORT, "--faults", 30, "--log", path)
    return path


def test_a_log_is_decided_as_it_was(log):
    done_once = run("simulate", "replay", log)
    assert (done_once.returncode, done_once.stderr) == (0, "")
    turns = int(re.match(r"(\d+) turns", done_once.stdout).group(1))
    assert turns > 1000
    said = json.loads(done("simulate", "replay", log, "--json"))
    assert said["build"].startswith("glowplug ")
    assert said == {
        "turns": turns,
        "lines": len(log.read_text().splitlines()),
        "same": True,
        "policy": said["policy"],
        "build": said["build"],
        "end": "closed",
        "torn": False,
    }


POLICY = re.search(r"kPolicyVersion = (\d+)", (ROOT / "src/policy/version.h").read_text())[1]
LOG_HEAD = f'{{"glowplug_log":2,"policy":{POLICY},"build":"b","options":'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no turn"),
        ("hello\n", "line 1: this is no decision log"),
        ('{"glowplug_log":99,"options":{}}\n', "has version 99"),
        ('{"glowplug_log":2,"policy":999,"build":"b","options":{}}\n', "policy version 999 (b)"),
        (LOG_HEAD + '{"cores":2,"scale_speed":0}}\n', "scale_speed is out of range"),
        (LOG_HEAD + '{"accelerators":[{"count":999999999}]}}\n', "line 1: "),
    ],
)
def test_a_file_that_is_no_log_is_told(tmp_path, text, told):
    path = tmp_path / "no.log"
    path.write_text(text)
    result = run("simulate", "replay", path)
    assert result.returncode == FAILED
    assert told in result.stderr


def test_a_log_that_was_cut_is_replayed_as_far_as_it_goes(log, tmp_path):
    """At its end only: without its beginning it is refused."""
    cut = tmp_path / "cut.log"
    cut.write_bytes(log.read_bytes()[:-40])
    result = run("simulate", "replay", cut)
    assert result.returncode == 0 and "the log breaks off within turn" in result.stderr
    cut.write_text("".join(log.read_text().splitlines(True)[3:]))
    assert run("simulate", "replay", cut).returncode == FAILED


# ---- plan ----


def test_a_plan_compares_the_policies(tmp_path):
    rows = [f"{at},f{at // 90 % 3},40,20" for at in range(0, 7200, 90)]
    path = trace(tmp_path, *rows)
    table = done("plan", "--trace", path, "--plot", tmp_path / "plan.svg")
    lines = table.splitlines()
    assert lines[0].split()[:4] == ["POLICY", "COLD", "COLD", "S"] and lines[0].endswith("GB")
    assert 0.1 < float(lines[1].split()[-1]) < 10
    assert max(map(len, lines)) <= 80, table
    names = [line.split()[0] for line in lines[1:15]]
    assert names == ["concurrency", "threshold", "predictive", "keep-1m", "keep-10s", "knative", "fixed-1m",
                     "fixed-5m", "fixed-10m", "lru", "histogram", "oracle-1m", "oracle-5m", "oracle-10m"]  # fmt: skip
    assert f"{len(rows)} calls" in table
    xml.dom.minidom.parse(str(tmp_path / "plan.svg"))
    every = {one["policy"]: one["figures"] for one in figures("plan", "--trace", path)["policies"]}
    assert {one["calls"] for one in every.values()} == {len(rows)}
    assert every["fixed-10m"]["cold"] < every["fixed-1m"]["cold"]
    assert every["fixed-10m"]["memory_gb_seconds"] > every["fixed-1m"]["memory_gb_seconds"]


def test_a_plan_of_one_policy(tmp_path):
    path = trace(tmp_path, "0,f,10,10")
    plan = figures("plan", "--trace", path, "--policy", "lru", "--policy", "knative")
    assert [one["policy"] for one in plan["policies"]] == ["knative", "lru"]
    result = run("plan", "--trace", path, "--policy", "oracle")
    assert result.returncode == USAGE and "there is no 'oracle'; there are concurrency" in result.stderr


# ---- bad input ----


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("abc,f,1,1", "`time_s`"),
        ("1,f,-5,1", "`prompt_tokens`"),
        ("1,f,1,-5", "`output_tokens`"),
        ("1,f,1.5,1", "`prompt_tokens`"),
        ("1,f,99999999999,1", "`prompt_tokens`"),
        ("nan,f,1,1", "`time_s`"),
        ("inf,f,1,1", "`time_s`"),
        ("-1,f,1,1", "`time_s`"),
        ("1,,1,1", "`function`"),
        ("1,f,1", "3"),
        ("0,f,1,1", "the time goes back by 5.0 s"),
    ],
)
@pytest.mark.parametrize("command", ["simulate", "plan"])
def test_a_bad_row_is_named_by_file_line_and_field(tmp_path, command, row, told):
    path = trace(tmp_path, "5,f,1,1", row)
    result = run(command, "--trace", path)
    assert result.returncode == FAILED, result.stdout
    assert "mine.csv:3: " in result.stderr and told in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "the file is empty"), ("\n\n", "the file is empty"), ("a,b,c\n1,2,3\n", "no kind of trace"),
     ("\x00\x01\x02", "no kind of trace"), ("{}\n", "`timestamp`")],
)  # fmt: skip
def test_a_file_that_is_no_trace_is_told(tmp_path, text, told):
    path = tmp_path / "no.csv"
    path.write_text(text)
    result = run("simulate", "--trace", path)
    assert result.returncode == FAILED and told in result.stderr, result.stderr


def test_a_trace_without_a_call_is_told(tmp_path):
    result = run("simulate", "--trace", trace(tmp_path))
    assert result.returncode == FAILED
    assert "no call" in result.stderr


def test_a_file_that_is_not_there_is_told(tmp_path):
    for option in ("--trace", "--model"):
        result = run("simulate", option, tmp_path / "none", *(() if option == "--trace" else SHORT))
        assert result.returncode == FAILED and str(tmp_path / "none") in result.stderr
    result = run("simulate", *SHORT, "--log", tmp_path / "no/such/folder")
    assert result.returncode == FAILED and "cannot be written" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--generate", "tides"),
        ("--generate", "poisson", "--rate", "nan"),
        ("--generate", "poisson", "--rate", "-1"),
        ("--generate", "poisson", "--rate", "1e300"),
        ("--generate", "poisson", "--length", "-5m"),
        ("--generate", "poisson", "--length", "soon"),
        ("--generate", "poisson", "--functions", "0"),
        ("--generate", "poisson", "--functions", "10001"),
        ("--generate", "poisson", "--tenants", "0"),
        ("--generate", "poisson", "--zipf", "nan"),
        ("--generate", "poisson", "--prompt-tokens", "many"),
        ("--generate", "poisson", "--output-tokens", "10:-1"),
        ("--generate", "poisson", "--seed", "-1"),
        ("--generate", "poisson", "--faults", "-1"),
        ("--generate", "poisson", "--devices", "TPU:4"),
        ("--generate", "poisson", "--devices", "T4:0"),
        ("--generate", "poisson", "--devices", "T4:many"),
        ("--generate", "poisson", "--devices", "CPU"),
        ("--generate", "poisson", "--devices", ","),
        ("--generate", "poisson", "--trace", "x.csv"),
        ("--trace", str(TRACES / "own.csv"), "--keep", "0"),
        ("--trace", str(TRACES / "own.csv"), "--keep", "nan"),
        (),
    ],
)
def test_options_out_of_range_are_a_usage_error(options):
    result = run("simulate", *options)
    assert result.returncode == USAGE, (result.stdout, result.stderr)
    assert result.stderr.startswith("glowplug: ") and "--" in result.stderr


@pytest.mark.parametrize("option", ["--requests", "--seed", "--tenants"])
@pytest.mark.parametrize("value", ["-1", "1.5", "many", "99999999999999999999"])
def test_a_number_that_is_none_is_told_in_few_words(option, value):
    result = run("simulate", *SHORT, f"{option}={value}")
    assert result.returncode == USAGE
    assert re.search(rf"{option}: '{value}' is no whole number from [01] on", result.stderr), result.stderr


@pytest.mark.parametrize(
    ("world", "field"),
    [
        ("models: [{name: a, prefill_tokens_per_s: 1.0e-9}]", "models[0].prefill_tokens_per_s"),
        ("speeds: {T4: 1.0e-12}\ndevices: [{type: T4}]", "speeds.T4"),
        ("transfers: {read_mb_per_s: 1.0e-9}", "transfers.read_mb_per_s"),
        ("models: [{name: a, executed: 17000000TB}]", "models[0].executed"),
        ("models: [{name: a, kv_per_token: 16000000TB}]", "models[0].kv_per_token"),
    ],
)
def test_a_world_that_cannot_be_reckoned_with_is_refused(tmp_path, world, field):
    path = tmp_path / "world.yaml"
    path.write_text(world + "\n")
    result = run("simulate", *SHORT, "--model", path, seconds=20)
    assert result.returncode == FAILED
    assert f"{field}: must be " in result.stderr, result.stderr


def test_the_slowest_world_that_is_allowed_ends(tmp_path):
    path = tmp_path / "world.yaml"
    path.write_text("models: [{name: a, prefill_tokens_per_s: 0.001, step: 24h}]\n")
    assert figures("simulate", *SHORT, "--model", path)["answered"] == 0


def test_a_world_file_names_each_fault(tmp_path):
    world = tmp_path / "world.yaml"
    world.write_text("machine: {cores: 0, size: 4}\nspeeds: {A10G: 0}\ndevices: [{type: TPU}, {type: CPU}]\n")
    result = run("simulate", *SHORT, "--model", world)
    assert result.returncode == FAILED
    for told in ("machine.cores: ", "machine.size: unknown key", "speeds.A10G: ", "devices[0].memory: ",
                 "world.yaml"):  # fmt: skip
        assert told in result.stderr, told


def test_faults_are_told_as_json_too(tmp_path):
    path = tmp_path / "none"
    result = run("simulate", "--trace", path, "--json")
    assert result.returncode == FAILED
    error = json.loads(result.stdout)["error"]
    assert error["message"].startswith(f"'{path}' cannot be read: ")
    assert (error["code"], error["param"], error["type"]) == ("invalid_value", "trace", "client_error")


def test_a_trace_of_any_size_takes_a_buffer(tmp_path):
    """400,000 rows are read to the last, and about a thousand of them played: that takes no more memory than a
    thousand rows of the same calls."""
    probe = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )

    def held(rows: int, gap: int, *more: str) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write(HEAD)
            for number in range(rows):
                file.write(f"{number * gap},f{number % 7}{'x' * 100},20,5\n")
        command = [str(GLOWPLUG), "simulate", "--trace", str(path), "--json", *more]
        measured = subprocess.run(
            ["python3", "-c", probe, *command], capture_output=True, text=True, check=True, timeout=200
        )
        assert 800 < json.loads(measured.stdout)["calls"] < 1200
        return int(measured.stderr.split()[-1])  # KiB

    assert held(400_000, 1, "--keep", "0.0025") < held(1_000, 400) + 10_000  # of a file of 46 MB
