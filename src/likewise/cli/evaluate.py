"""Commands that measure a run, alone or against another one."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from likewise.cli.options import (
    CATALOG_DEFAULTS,
    TASK_DEFAULTS,
    AsJson,
    CatalogOptions,
    Data,
    Device,
    QuestionOptions,
    Run,
    Switch,
    Where,
)
from likewise.progress import print_json, print_table, report_error, say


def evaluate(
    run: Run,
    /,
    *,
    data: Data,
    where: Where = None,
    asked: QuestionOptions = TASK_DEFAULTS,
    ablations: Switch = False,
    report: Path | None = None,
    fail_under: Annotated[list[str] | None, Parameter(negative="")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Measure a run on a catalogue, next to its baselines: untrained, BM25 and a closed-form linear map.

    Example: likewise evaluate runs/products --data products.csv --queries judged.csv --report report.html

    Parameters
    ----------
    ablations
        Also measure with each field alone, and with each field removed.
    report
        Write an HTML report with the figures, the worst queries and a map of the space.
    fail_under
        Exit with status 1 if a metric of the trained model is lower, such as recall@10=0.8 (repeatable).
    """
    from likewise.evaluation.evaluate import examine
    from likewise.evaluation.quality_gate import Goal
    from likewise.evaluation.report.evaluation_report import write_examination
    from likewise.evaluation.report.table import comparison_table
    from likewise.model.model import Model
    from likewise.retrieval.export import prepare_target

    goals = Goal.parse(fail_under or [])
    if report is not None:
        prepare_target(report)
    model = Model.load(run, device)
    inquiry = asked.inquiry(data, catalog, where, model.fields)
    examination = examine(run, model, inquiry, ablations=ablations)
    if report is not None:
        say(f"The report is {write_examination(report, run, model, examination)}")
    if as_json:
        print_json(examination.figures())
    else:
        print_table(comparison_table(examination.comparison, examination.threshold))
    missed = [sentence for goal in goals if (sentence := goal.missed_by(examination.comparison.subsets[0]))]
    for sentence in missed:
        report_error("likewise", sentence)
    if missed:
        sys.exit(1)


def compare(
    run: Run,
    other: Path,
    /,
    *,
    data: Data,
    where: Where = None,
    asked: QuestionOptions = TASK_DEFAULTS,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Compare two runs on the same queries: is the second one better, and for which queries?

    Example: likewise compare runs/old runs/new --data products.csv --queries judged.csv

    Parameters
    ----------
    other
        Run folder to compare with the first.
    """
    from likewise.evaluation.run_comparison import compare_runs, run_comparison_table
    from likewise.model.model import Model

    first, second = Model.load(run, device), Model.load(other, device)
    inquiry = asked.inquiry(data, catalog, where, list(dict.fromkeys([*first.fields, *second.fields])))
    result = compare_runs(inquiry, (run, first), (other, second))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_table(run_comparison_table(result))
