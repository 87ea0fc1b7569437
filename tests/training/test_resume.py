"""Opening a run folder: going on, refusing what differs, never touching what is not ours."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from model.shape_catalogue import catalogue_of

from likewise.config import TrainConfig
from likewise.errors import UserError
from likewise.model.run_folder import seal_run
from likewise.training import resume
from likewise.training.training_state import FILE as STATE

CONFIG = TrainConfig(precision="float32", threads=1)


@pytest.fixture
def catalogue(tmp_path):
    return catalogue_of(tmp_path / "items", [{"title": name} for name in ("red", "green", "blue")])


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def test_a_new_folder_is_made_and_the_same_call_goes_on(run, catalogue):
    first = resume.open_run(run, CONFIG, catalogue)
    assert first.threads == 1 and first.precision == {"text": "float32", "image": "float32"}
    assert resume.open_run(run, CONFIG, catalogue) == first
    assert TrainConfig.read(run / "config.yaml") == CONFIG


def test_threads_and_tensorboard_may_change_and_the_first_threads_count(run, catalogue):
    resume.open_run(run, CONFIG, catalogue)
    again = resume.open_run(run, CONFIG.model_copy(update={"threads": 7, "tensorboard": True}), catalogue)
    assert again.threads == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 7}, r"epochs was None and is 7 now"),
        ({"model": {"text_encoder": "scratch-text"}}, r"model\.text_encoder was lite-text and is scratch-text now"),
        ({"split": "part"}, r"split was None and is part now"),
        ({"data": {"where": "a == 1"}}, r"data\.where was None and is a == 1 now"),
        ({"data": {"columns": {"title": "name"}}}, r"data\.columns was \{\} and is \{'title': 'name'\} now"),
        ({"model": {"fields": {"title": "text", "price": "number"}}}, r"model\.fields was .* 'price': 'number'\} now"),
        ({"model": {"fields": ["image", "title", "description"]}}, r"model\.fields was .* is \{'image': .*\} now"),
        ({"model": {"encoders": {"audio": "other"}}}, r"model\.encoders was not set and is \{'audio': 'other'\} now"),
        ({"data": {"audio": {}}}, r"data\.audio\.root was not set and is None now"),
        ({"lr_scales": {"heads.*": 0.5}}, r"lr_scales was \{\} and is \{'heads\.\*': 0\.5\} now"),
    ],
)
def test_a_changed_setting_is_named(run, catalogue, change, message):
    resume.open_run(run, CONFIG, catalogue)
    changed = TrainConfig.parse({**CONFIG.model_dump(exclude_unset=True), **change})
    with pytest.raises(UserError, match=message + r"\): choose another folder, or --restart to replace it"):
        resume.open_run(run, changed, catalogue)


def test_a_changed_catalogue_is_named(run, catalogue):
    resume.open_run(run, CONFIG, catalogue)
    with pytest.raises(UserError, match="the catalogue's rows, or its queries, have changed since"):
        resume.open_run(run, CONFIG, catalogue.select([0, 1]))


@pytest.mark.parametrize(
    ("column", "settings"),
    [
        ("price", {"model": {"fields": {"title": "text", "price": "number"}}}),
        ("query", {}),
        ("part", {"split": "part"}),
        ("thing", {"identity": "column:thing"}),
    ],
)
def test_a_changed_column_that_training_reads_is_noticed_and_another_is_not(run, tmp_path, column, settings):
    def read(folder, value):
        rows = [{"title": name, column: value, "stock": value} for name in ("red", "green")]
        return catalogue_of(tmp_path / folder, rows)

    config = TrainConfig.parse({**CONFIG.model_dump(exclude_unset=True), **settings})
    before, after = read("before", "1"), read("after", "2")
    assert before.fingerprint == after.fingerprint
    resume.open_run(run, config, before)
    resume.open_run(run, config, read("again", "1"))
    with pytest.raises(UserError, match="the catalogue's rows, or its queries, have changed since"):
        resume.open_run(run, config, after)
    plain = TrainConfig.parse({**CONFIG.model_dump(exclude_unset=True), "queries": tmp_path / "log.csv"})
    resume.open_run(tmp_path / "plain", plain, before)
    resume.open_run(tmp_path / "plain", plain, after)


def test_a_changed_log_of_queries_is_noticed(run, catalogue, tmp_path):
    log = tmp_path / "log.csv"
    config = CONFIG.model_copy(update={"queries": log})
    log.write_text("query,id\nwarm,0\n")
    resume.open_run(run, config, catalogue)
    resume.open_run(run, config, catalogue)
    log.write_text("query,id\nwarm,1\n")
    with pytest.raises(UserError, match="the catalogue's rows, or its queries, have changed since"):
        resume.open_run(run, config, catalogue)


@pytest.mark.parametrize("name", ["holiday.txt", "config.yaml", "training/notes.txt"])
def test_a_folder_of_something_else_is_refused_and_left_alone(run, catalogue, name):
    (run / name).parent.mkdir(parents=True)
    (run / name).write_text("mine")
    with pytest.raises(UserError, match="is not empty and is not a run folder"), resume.lock(run):
        pass
    with pytest.raises(UserError, match="is not empty and is not a run folder"):
        resume.clear(run)
    assert [path for path in run.rglob("*") if path.is_file()] == [run / name]
    assert (run / name).read_text() == "mine"


def test_a_file_in_the_way_is_refused(run, catalogue):
    run.write_text("mine")
    with pytest.raises(UserError, match="is a file"), resume.lock(run):
        pass
    assert run.read_text() == "mine"


def test_an_empty_folder_is_taken(run, catalogue):
    run.mkdir()
    resume.clear(run)
    resume.open_run(run, CONFIG, catalogue)


def finished_run(run, catalogue):
    resume.open_run(run, CONFIG, catalogue)
    for name in ("model.safetensors", "metrics.json", "report.html", "README.md", "index/current", "encoders/text/x"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("ours")
    seal_run(run)
    (run / STATE).write_text("ours")
    (run / "notes.txt").write_text("mine")


def test_clearing_removes_the_training_and_nothing_else(run, catalogue):
    finished_run(run, catalogue)
    assert resume.is_finished(run)
    resume.clear(run)
    assert [path.name for path in run.rglob("*")] == ["notes.txt"]
    assert not resume.is_finished(run)


def test_finishing_drops_the_state_and_what_killed_writers_left(run, catalogue):
    finished_run(run, catalogue)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (run / STATE).with_name(f".state.pt.{dead.pid}-0123abcd.tmp").write_text("half")
    (run / f".model.safetensors.{dead.pid}-0123abcd.tmp").write_text("half")
    resume.finish(run)
    assert sorted(path.name for path in (run / "training").iterdir()) == ["environment.json"]
    assert not list(run.glob("*.tmp")) and (run / "model.safetensors").exists()
    assert resume.is_finished(run)


def test_one_training_writes_into_a_run_at_a_time(run, catalogue):
    with resume.lock(run):
        resume.open_run(run, CONFIG, catalogue)
        with pytest.raises(UserError, match="another training is writing to"), resume.lock(run):
            pass
    with resume.lock(run):
        pass


def test_what_lies_beside_an_index_of_a_run_stays_when_it_is_cleared(run, catalogue):
    finished_run(run, catalogue)
    (run / "index" / ".git").mkdir()
    (run / "index" / ".git" / "HEAD").write_text("mine")
    resume.clear(run)
    assert (run / "index" / ".git" / "HEAD").read_text() == "mine"
    assert not (run / "index" / "current").exists()


class KilledError(BaseException):
    pass


def killed_at(monkeypatch, step, work):
    """Run `work`, and stop it before its file operation number `step`; False if it has fewer."""
    operations = 0

    def guarded(function):
        def wrapper(*arguments, **options):
            nonlocal operations
            operations += 1
            if operations == step:
                raise KilledError
            return function(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patch:
        for owner, names in ((Path, ("write_bytes", "replace", "unlink", "mkdir", "rmdir")), (os, ("rmdir", "unlink"))):
            for name in names:
                patch.setattr(owner, name, guarded(getattr(owner, name)))
        try:
            work()
        except KilledError:
            return True
    return False


@pytest.mark.parametrize("step", range(1, 12))
def test_a_begin_that_is_killed_anywhere_can_begin_again(run, catalogue, monkeypatch, step):
    killed_at(monkeypatch, step, lambda: resume.open_run(run, CONFIG, catalogue))
    resume.open_run(run, CONFIG, catalogue)
    assert TrainConfig.read(run / "config.yaml") == CONFIG
    resume.open_run(run, CONFIG, catalogue)


@pytest.mark.parametrize("step", range(1, 30))
def test_a_restart_that_is_killed_anywhere_can_restart_again(run, catalogue, monkeypatch, step):
    finished_run(run, catalogue)
    (run / "notes.txt").unlink()
    changed = CONFIG.model_copy(update={"epochs": 3})

    def restart():
        resume.clear(run)
        resume.open_run(run, changed, catalogue)

    killed_at(monkeypatch, step, restart)
    assert not (run / STATE).exists() or (run / "config.yaml").exists(), "a state is never read under other settings"
    restart()
    assert TrainConfig.read(run / "config.yaml") == changed
    assert not (run / STATE).exists() and not resume.is_finished(run)


def test_a_damaged_record_is_one_sentence(run, catalogue):
    resume.open_run(run, CONFIG, catalogue)
    for content in ("{", "[1]", '{"unknown": 1}'):
        (run / resume.ENVIRONMENT).write_text(content)
        with pytest.raises(UserError, match=r"cannot resume.*--restart"):
            resume.open_run(run, CONFIG, catalogue)
    resume.clear(run)
    resume.open_run(run, CONFIG, catalogue)
    shutil.rmtree(run)


def test_versions_are_known_without_an_installed_likewise(monkeypatch):
    def only_others(package):
        if package == "likewise":
            raise PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr("likewise.training.resume.version", only_others)
    assert resume.list_software()["likewise"] == "not installed"
    assert resume.list_software()["torch"] == "1"
