"""Commands that measure a run, alone or against another one."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from likewise.cli.options import (
    CATALOG_DEFAULTS,
    EVALUATION_DEFAULTS,
    AsJson,
    CatalogOptions,
    Data,
    Device,
    EvaluationOptions,
    RunOrFile,
    Switch,
    Where,
    load_model,
    require_run,
)
from likewise.progress import print_json, print_table, report_error, say


def evaluate(
    run: RunOrFile,
    /,
    *,
    data: Data,
    where: Where = None,
    options: EvaluationOptions = EVALUATION_DEFAULTS,
    ablations: Switch = False,
    report: Path | None = None,
    baseline: Annotated[list[str] | None, Parameter(negative="")] = None,
    fail_under: Annotated[list[str] | None, Parameter(negative="")] = None,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Measure a run on a catalogue, next to its baselines: untrained, BM25, closed forms and where training began.

    Example: likewise evaluate runs/products --data products.csv --queries judged.csv --report report.html

    Parameters
    ----------
    ablations
        Also measure with each field alone, and with each field removed.
    report
        Write an HTML report with the figures, the worst queries and a map of the space.
    baseline
        Also measure a zero-shot CLIP or SigLIP model, by its Hugging Face id or folder (repeatable).
    fail_under
        Exit with status 1 if a metric of the trained model is lower, such as recall@10=0.8 (repeatable).
    """
    require_run(run)
    from likewise.evaluation.evaluate import evaluate_run
    from likewise.evaluation.quality_gate import parse_gates
    from likewise.evaluation.report.evaluation_report import write_evaluation
    from likewise.evaluation.report.report import FILE_NAME
    from likewise.evaluation.report.table import comparison_table
    from likewise.retrieval.export import prepare_target
    from likewise.training.refit import count_learned_items

    gates = parse_gates(fail_under or [])
    if report is not None:
        prepare_target(report)
    model = load_model(run, device)
    task = options.build_task(data, catalog, where, model.fields)
    evaluation = evaluate_run(run, model, task, ablations=ablations, zero_shot=baseline or [])
    learned, notes = count_learned_items(run, task.catalog), []
    if learned is not None:
        notes.append(
            f"The model was fitted on {learned:,} of these items after its training had measured it, so these figures "
            f"show what it remembers, and those in {run / FILE_NAME} what it finds among items that it has not seen."
        )
        say(notes[0])
    if report is not None:
        say(f"The report is {write_evaluation(report, run, model, evaluation, notes)}")
    if as_json:
        print_json(evaluation.as_dict())
    else:
        print_table(comparison_table(evaluation.comparison, evaluation.threshold))
        for worth in evaluation.worths:
            say(worth.sentence)
    first = evaluation.comparison.subsets[0]
    missed = [sentence for gate in gates if (sentence := gate.explain_failure(first))]
    for sentence in missed:
        report_error("likewise", sentence)
    if missed:
        sys.exit(1)


def compare(
    run: RunOrFile,
    other: Path,
    /,
    *,
    data: Data,
    where: Where = None,
    options: EvaluationOptions = EVALUATION_DEFAULTS,
    as_json: AsJson = False,
    device: Device = "auto",
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Compare two runs on the same queries: is the second one better, and for which queries?

    Example: likewise compare runs/old runs/new --data products.csv --queries judged.csv

    Parameters
    ----------
    other
        Run folder, or file of weights, to compare with the first.
    """
    from likewise.evaluation.run_comparison import compare_runs, run_comparison_table

    first, second = load_model(run, device), load_model(other, device)
    task = options.build_task(data, catalog, where, list(dict.fromkeys([*first.fields, *second.fields])))
    result = compare_runs(task, (run, first), (other, second))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        print_table(run_comparison_table(result))
