"""The files that servers are deployed with: they name what exists, run without rights, and hold no secrets."""

import http.client
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import require
from retrieval.fakes import FakeModel, catalog_of
from serving.asgi_server import running

from likewise.cli.app import app
from likewise.cli.serve import serve
from likewise.retrieval.index import Index
from likewise.serving.api import health
from likewise.serving.api.app import create_api
from likewise.serving.service import SearchService

ROOT = Path(__file__).parents[2]
FILES = ["Dockerfile", ".dockerignore", "compose.yaml", "deploy/likewise.service"]
SECRET = re.compile(r"(?i)(password|secret|token|api_key|write_key)(?!s)[a-z_]*\s*[:=]\s*[\"']?[^\s\"'$]")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, without comments and line ends."""
    lines = [line for line in read("Dockerfile").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def arguments_of(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def unit() -> dict[str, list[str]]:
    """Setting → its values in the unit."""
    found: dict[str, list[str]] = {}
    for line in read("deploy/likewise.service").splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(read("compose.yaml"))


def healthcheck_program() -> list[str]:
    [check] = arguments_of("HEALTHCHECK")
    return json.loads(check.partition("CMD ")[2])


def commands(compose: dict[str, Any]) -> Iterator[list[str]]:
    """The arguments of `likewise` in all files."""
    [command] = arguments_of("CMD")
    yield json.loads(command)
    yield compose["services"]["api"]["command"]
    yield [*compose["services"]["index"]["entrypoint"][1:], "products.csv"]
    [started] = unit()["ExecStart"]
    yield shlex.split(started)[1:]


def test_commands_are_ones_that_likewise_has(compose: dict[str, Any]) -> None:
    for command in commands(compose):
        app.parse_args(command, print_error=False, exit_on_error=False)


def test_a_server_that_others_reach_takes_keys(compose: dict[str, Any]) -> None:
    api = compose["services"]["api"]
    for command in (api["command"], shlex.split(unit()["ExecStart"][0])):
        assert "--keys" in command
    assert api["command"][api["command"].index("--keys") + 1] == "/run/secrets/likewise_keys"
    assert compose["secrets"][api["secrets"][0]]["file"]
    assert "LIKEWISE_API_KEYS" in read("Dockerfile").rpartition("ENTRYPOINT")[2]


@pytest.mark.parametrize("name", FILES)
def test_no_secret_is_written_down(name: str) -> None:
    settings = [line for line in read(name).splitlines() if not line.lstrip().startswith("#")]
    found = [line for line in settings if SECRET.search(line)]
    assert [line for line in found if "/run/secrets/" not in line] == []


def test_secrets_beside_the_files_are_neither_committed_nor_sent_to_a_builder() -> None:
    ignored = read(".gitignore").splitlines()
    assert {"/keys", "/milvus.env"} <= set(ignored)
    sent = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert sent[0] == "*"  # and then what is sent all the same
    copied = {part for rest in arguments_of("COPY") if "--from" not in rest for part in rest.split()[:-1]}
    assert {line[1:] for line in sent if line.startswith("!")} == copied
    for part in copied:
        assert (ROOT / part).exists()


def test_the_container_runs_as_nobody_in_particular() -> None:
    users = arguments_of("USER")
    assert users == ["10001:10001"]
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names.count("FROM") == 2
    assert not any(name == "ADD" for name in names)
    assert arguments_of("STOPSIGNAL") == ["SIGTERM"]
    assert arguments_of("EXPOSE") == ["8000"]


def test_versions_are_pinned_and_those_that_were_tested(compose: dict[str, Any]) -> None:
    tested = dict(line.split("==") for line in read("constraints.txt").splitlines() if "==" in line)
    arguments = dict(rest.partition("=")[::2] for rest in arguments_of("ARG"))
    assert arguments["TORCH_VERSION"] == tested["torch"]
    assert arguments["TORCH_INDEX_URL"] == ""
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    named = [arguments["EXTRAS"], compose["services"]["api"]["build"]["args"]["EXTRAS"]]
    assert all(extra in extras for names in named for extra in names.split(","))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", arguments["PYTHON_IMAGE"])
    for name, service in compose["services"].items():
        if "build" not in service:
            assert re.search(r":(v\d+\.\d+\.\d+|RELEASE\.[\dT-]+Z)$", service["image"]), name
    for rest in arguments_of("RUN"):
        if "pip install" in rest and "torch==" not in rest:
            assert "--constraint constraints.txt" in rest


def test_every_container_is_confined(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"api", "index", "milvus", "etcd", "minio"}
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert "privileged" not in service, name
        if name not in ("api", "index"):
            assert service["healthcheck"]["test"][0] == "CMD", name
            assert service["profiles"] == ["milvus"], name
            assert service["networks"] == ["stores"], name


def test_only_the_api_is_reached_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    assert compose["networks"]["stores"] == {"internal": True}
    [run] = [mount for mount in compose["services"]["api"]["volumes"] if mount["target"] == "/run-folder"]
    assert run["read_only"] is True


def test_a_server_has_time_to_answer_what_it_has_begun(compose: dict[str, Any]) -> None:
    drain = round((serve.__kwdefaults__ or {})["timeout"]) + 1
    slowest = drain + 9  # until the thread of the server is left behind
    assert int(compose["services"]["api"]["stop_grace_period"].removesuffix("s")) > slowest
    assert int(unit()["TimeoutStopSec"][0]) > slowest


def test_the_unit_is_hardened() -> None:
    settings = {name: values[-1] for name, values in unit().items()}
    assert settings["DynamicUser"] == "yes"
    assert settings["ProtectSystem"] == "strict"
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["Restart"] == "on-failure"
    assert settings["MemoryMax"]
    assert settings["IPAddressDeny"] == "any"
    assert "--host 127.0.0.1" in settings["ExecStart"]


@pytest.fixture(scope="module")
def service() -> Iterator[SearchService]:
    with Index.build(FakeModel(), catalog_of("red apple")) as index:
        service = SearchService(index)
        yield service
        service.close()


def check_health(url: str) -> int:
    """Run the health check of the Dockerfile against another port."""
    program = healthcheck_program()
    assert program[:2] == ["python", "-c"]
    assert "8000" in program[2]
    port = url.rpartition(":")[2]
    code = program[2].replace("8000", port)
    return subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True).returncode


def test_the_health_check_passes_while_the_server_is_ready(
    service: SearchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_SECONDS_SHARED", 0.0)
    with running(create_api(service)) as url:
        assert check_health(url) == 0

        async def fail() -> None:
            raise OSError("no disk")

        monkeypatch.setattr(service, "check", fail)
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        assert check_health(url) == 1
    assert check_health(url) == 1  # nobody listens


def tool(name: str) -> str:
    """A linter that the extra dev installs."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    require(found, f"{name} is not installed")
    return str(found)


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="hadolint comes for Linux alone")
def test_the_dockerfile_passes_its_linter() -> None:
    run(tool("hadolint"), "Dockerfile")


def test_the_compose_file_has_the_form_that_compose_specifies() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this system has no systemd")
def test_the_unit_passes_the_checks_of_systemd(tmp_path: Path) -> None:
    text = read("deploy/likewise.service").replace("/opt/likewise/bin/likewise", "/bin/true")
    (tmp_path / "likewise.service").write_text(text, encoding="utf-8")
    path = str(tmp_path / "likewise.service")
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    ours = [line for line in done.stderr.splitlines() if "likewise.service" in line]
    assert (done.returncode, ours) == (0, [])
    run("systemd-analyze", "security", "--offline=true", "--threshold=20", path)  # of 100: the lower, the less exposed
