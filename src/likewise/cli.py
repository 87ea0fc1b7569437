"""The command line: one short function per command."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from likewise.errors import UserError
from likewise.options import (
    PLAIN,
    TITLES,
    AsJson,
    CatalogOptions,
    Data,
    Device,
    Fields,
    QuestionOptions,
    Run,
    Switch,
    Where,
    names,
    train_config,
)
from likewise.output import print_json, print_table
from likewise.progress import print_logs, report_error, say
from likewise.search_commands import demo, index, recommend, search, verify

_ABOUT = "Turn a catalogue into a search engine that understands text and pictures."

app = App(name="likewise", help=_ABOUT, help_format="plaintext", version_flags=["--version"])


@app.command
def doctor(file: Data, /, *, as_json: AsJson = False, catalog: CatalogOptions = PLAIN) -> None:
    """Check a catalogue: count its rows, its usable items, and every problem by cause.

    Example: likewise doctor products.csv --map title=product_name
    """
    from likewise.catalog.doctor import examine, render
    from likewise.config import PRESETS
    from likewise.encoders.registry import load_encoder

    encoder = load_encoder(PRESETS["lite"].text_encoder, "text")
    report = examine(
        file,
        columns=catalog.columns(),
        images=catalog.images(),
        cache=catalog.folder(),
        count_truncated=encoder.count_truncated,
    )
    if as_json:
        print_json(report.as_dict())
    else:
        print_table(render(report))


@app.command
def train(
    file: Data,
    /,
    *,
    output: Path,
    preset: str | None = None,
    regime: Literal["frozen", "partial", "full"] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    max_items: int | None = None,
    seed: int | None = None,
    where: Where = None,
    split: str | None = None,
    queries: Path | None = None,
    identity: str | None = None,
    config: Path | None = None,
    device: Device | None = None,
    tensorboard: Switch = False,
    effort: Literal["quick", "standard", "best"] | None = None,
    budget: str | None = None,
    restart: Switch = False,
    catalog: CatalogOptions = PLAIN,
) -> None:
    """Train a model on a catalogue and write a run folder. The same command again goes on where it was stopped.

    Example: likewise train products.csv --output runs/products --effort best --budget 40m

    Parameters
    ----------
    output
        The run folder.
    preset
        Encoders: lite (default), scratch, multilingual or clip.
    regime
        frozen trains heads and fusion over cached features, partial also the picture encoder's last blocks, full all.
    epochs
        How often every item is seen.
    batch_size
        Items in a step.
    max_items
        At most so many items, drawn with the seed and spread over titles.
    seed
        Of every random choice (default 0).
    split
        Column whose values say which rows train, validate ("val") and are reported on ("test").
    queries
        Table of what was asked and what answered it, with the columns query, id and perhaps weight, such as clicks.
    identity
        Which rows are the same thing beside equal titles and pictures: column:NAME, or none.
    config
        YAML file with any settings; flags win over it.
    effort
        A recipe planned from what training costs here: quick, standard (also the encoder's last blocks) or best.
    budget
        How long effort best may take in all, such as 40m or 1.5h.
    tensorboard
        Write TensorBoard events into the run folder.
    restart
        Begin afresh, whatever training lies in the folder.
    """
    started = time.monotonic()  # before PyTorch is imported, which counts, too
    from likewise.training.train import train as train_run

    settings = train_config(
        config,
        preset,
        regime=regime,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        split=split,
        queries=queries,
        identity=identity,
        device=device,
        tensorboard=tensorboard or None,
        effort=effort or ("best" if budget is not None else None),
        budget=budget,
    )
    where = where if where is not None else settings.data.where
    max_items = max_items if max_items is not None else settings.data.max_items
    train_run(catalog.read(file, where, max_items, settings.seed), output, settings, restart=restart, started=started)
    say(f"Saved to {output}: report.html shows the training and the figures")


@app.command
def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    where: Where = None,
    asked: QuestionOptions = TITLES,
    ablations: Switch = False,
    report: Path | None = None,
    fail_under: Annotated[list[str] | None, Parameter(negative="")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = PLAIN,
) -> None:
    """Measure a run on a catalogue beside its rivals: untrained, BM25 and a closed-form linear map.

    Example: likewise evaluate runs/products --data products.csv --queries judged.csv --report report.html

    Parameters
    ----------
    ablations
        Measure through each field alone, and with each left out, too.
    report
        Write an HTML page with the figures, the worst queries and a map of the space.
    fail_under
        End with status 1 where a metric of the trained model is lower, such as recall@10=0.8 (repeatable).
    """
    from likewise.evaluation.evaluate import evaluate_run
    from likewise.evaluation.quality_gate import parse_gates
    from likewise.evaluation.report.evaluation_report import write_evaluation
    from likewise.evaluation.report.table import comparison_table
    from likewise.model.model import Model
    from likewise.retrieval.export import prepare_target

    gates = parse_gates(fail_under or [])
    if report is not None:
        prepare_target(report)
    model = Model.load(run, device)
    task = asked.task(data, catalog, where, model.fields)
    evaluation = evaluate_run(run, model, task, ablations=ablations)
    if report is not None:
        say(f"The report is {write_evaluation(report, run, model, evaluation)}")
    if as_json:
        print_json(evaluation.as_dict())
    else:
        print_table(comparison_table(evaluation.comparison, evaluation.threshold))
    first = evaluation.comparison.subsets[0]
    missed = [sentence for gate in gates if (sentence := gate.explain_failure(first))]
    for sentence in missed:
        report_error("likewise", sentence)
    if missed:
        sys.exit(1)


@app.command
def compare(
    run: Run,
    other: Path,
    /,
    *,
    data: Data,
    where: Where = None,
    asked: QuestionOptions = TITLES,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = PLAIN,
) -> None:
    """Ask two runs the same questions: is the second one better, and for which queries?

    Example: likewise compare runs/old runs/new --data products.csv --queries judged.csv

    Parameters
    ----------
    other
        The run folder that is compared with the first.
    """
    from likewise.evaluation.run_comparison import compare_runs, run_comparison_table
    from likewise.model.model import Model

    first, second = Model.load(run, device), Model.load(other, device)
    task = asked.task(data, catalog, where, list(dict.fromkeys([*first.fields, *second.fields])))
    result = compare_runs(task, (run, first), (other, second))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_table(run_comparison_table(result))


@app.command
def encode(
    run: Run,
    /,
    *,
    data: Data,
    output: Path,
    fields: Fields = None,
    dim: int | None = None,
    where: Where = None,
    device: Device = "auto",
    catalog: CatalogOptions = PLAIN,
) -> None:
    """Write the vectors of a catalogue to a Parquet file with the columns id and vector.

    Example: likewise encode runs/products --data products.csv --output vectors.parquet

    Parameters
    ----------
    output
        The Parquet file; items without any of the fields are left out and counted.
    dim
        Keep only so many of the model's dimensions.
    """
    from likewise.model.model import Model
    from likewise.retrieval.export import prepare_target, write_vectors
    from likewise.retrieval.truncated import Shortened

    prepare_target(output)
    model = Model.load(run, device)
    shortened = Shortened(model, model.dim if dim is None else dim)
    items = catalog.read(data, where)
    written = write_vectors(output, items.ids, shortened.cut(model.encode_items(items, names(fields))))
    say(f"{written:,} vectors of {shortened.dim} dimensions in {output}")
    if written < len(items):
        say(f"{len(items) - written:,} items have none of the fields and are left out")


@app.command
def sample(name: Literal["openmoji"], folder: Path, /) -> None:
    """Write a sample catalogue: about 1,900 OpenMoji pictures with names (CC BY-SA 4.0).

    Example: likewise sample openmoji samples/openmoji

    Parameters
    ----------
    name
        openmoji.
    folder
        Where the CSV and the pictures go.
    """
    from likewise.catalog.samples import write_openmoji

    say(f"The {name} catalogue is {write_openmoji(folder)}")


for command in (index, search, recommend, demo, verify):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2."""
    print_logs()
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except (UserError, CycloptsError) as error:
        report_error("likewise", error)
        sys.exit(2)
    except KeyboardInterrupt:
        report_error("likewise", "stopped; the same command goes on from what is saved")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        sys.stderr.close()  # noqa: TID251
        sys.exit(0)


if __name__ == "__main__":
    main()
