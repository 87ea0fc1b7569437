"""The model card is valid Markdown whatever the catalogue holds, and says what one must know."""

import re

import yaml
from evaluation.example_run import example_metrics

from likewise.evaluation.report.model_card import write_model_card
from likewise.evaluation.results import DataNote


def test_it_says_data_encoders_licences_results_verdict_limits_and_how_to_load(tmp_path):
    metrics = example_metrics()
    card = write_model_card(tmp_path, metrics)
    assert card == tmp_path / "README.md"
    text = card.read_text()
    assert yaml.safe_load(text.split("---")[1])["library_name"] == "likewise"
    assert metrics.comparison.sentence in text
    assert text.count(metrics.comparison.training_sentence) == 2  # at the top and with its table
    assert "kernel ridge is a map from pictures" in text and "start is the model as its training began" in text
    assert "2,000 usable items of 2,043 rows" in text
    assert "43 × duplicate id: the id occurred before; the first row wins" in text
    encoders = "| lite-image | image |", "the licences of both apply"
    for part in (*encoders, "lw.Model.load", "## Limits", "Epoch 15 of 20 was kept", "fewer than 200 identities"):
        assert part in text, part
    lines = text.splitlines()
    assert any("A best score below 0.31" in line and line.startswith("- A high similarity") for line in lines)
    assert any(line.startswith("- The catalogue has fewer") for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_every_table_has_as_many_cells_in_each_row(tmp_path):
    metrics = example_metrics()
    hostile = metrics.model_copy(update={"settings": {"a|b": "x | y\n<img src=z>", "c": ["`", None]}})
    lines = write_model_card(tmp_path, hostile).read_text().splitlines()
    assert "<img" not in "\n".join(lines)
    cells = {}
    for number, line in enumerate(lines):
        if line.startswith("|"):
            table = cells.get(number - 1, line.count("|"))
            assert line.replace("\\|", "").count("|") == table, line
            cells[number] = table
    tables = sum(number - 1 not in cells for number in cells)
    assert tables == 1 + 1 + 4  # encoders, settings, one for each subset


def test_names_of_a_catalogue_are_text_and_no_markup(tmp_path):
    hostile = "![x](https://example.org/p.png) [y]: https://example.org **z** \x1b[31m \u202e \udcff"
    metrics = example_metrics().model_copy(update={"name": hostile, "settings": {hostile: hostile}, "notes": [hostile]})
    data = metrics.data.model_copy(update={"source": hostile, "fields": [hostile]})
    text = write_model_card(tmp_path, metrics.model_copy(update={"data": data})).read_text(encoding="utf-8")
    outside_code = re.sub(r"`[^`]*`", "", text)
    assert "![x\\](https://example.org/p.png) [y\\]: https" in outside_code
    assert not re.search(r"(?<!\\)\](?=[(\[:])", outside_code)
    assert not {"\x1b", "\u202e", "\udcff"} & set(text)
    assert "\\x1b[31m" in outside_code


def test_a_run_without_history_or_settings_has_a_card(tmp_path):
    full = example_metrics(baselines=())
    data = DataNote(source="`x`.csv", items=1, training_items=1, validation_items=0, fields=["title"], split="none")
    bare = full.model_copy(update={"history": [], "best_epoch": None, "settings": {}, "catalogue": {}, "data": data})
    text = write_model_card(tmp_path, bare).read_text()
    assert "`'x'.csv`" in text
    assert "no baseline was measured" in text
    unmeasured = write_model_card(tmp_path, bare.model_copy(update={"comparison": None})).read_text()
    assert "**Nothing could be measured" in unmeasured
    assert "## Results" not in unmeasured
