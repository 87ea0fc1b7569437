"""Commands about a catalogue before anything is trained: check it, or write a sample."""

from pathlib import Path
from typing import Literal

from likewise.cli.options import CATALOG_DEFAULTS, AsJson, CatalogOptions, Data, Switch
from likewise.progress import print_json, print_lines, print_table, say


def doctor(
    file: Data,
    /,
    *,
    suggest_config: Switch = False,
    as_json: AsJson = False,
    catalog: CatalogOptions = CATALOG_DEFAULTS,
) -> None:
    """Check a catalogue: count its rows, its usable items, and every problem by cause.

    Example: likewise doctor products.csv --map title=product_name

    Parameters
    ----------
    suggest_config
        Print a config that declares the kinds of the columns instead, for likewise train --config; pictures are not
        looked at.
    """
    if suggest_config:
        from likewise.catalog.field_inference import suggest_config as build_config

        print_lines(build_config(file, catalog.parse_columns(), catalog.build_image_settings()))
        return

    from functools import partial

    from likewise.catalog.doctor import check_catalog, render_report
    from likewise.config import PRESETS
    from likewise.encoders.languages import language_warning
    from likewise.encoders.registry import load_encoder

    encoder = load_encoder(PRESETS["lite"].text_encoder, "text")
    report = check_catalog(
        file,
        columns=catalog.parse_columns(),
        images=catalog.build_image_settings(),
        cache=catalog.find_cache(),
        count_truncated=encoder.count_truncated,
        language_warning=partial(language_warning, encoder),
    )
    if as_json:
        print_json(report.as_dict())
    else:
        print_table(render_report(report))


def sample(name: Literal["openmoji"], folder: Path, /) -> None:
    """Write a sample catalogue: about 1,900 OpenMoji pictures with names (CC BY-SA 4.0).

    Example: likewise sample openmoji samples/openmoji

    Parameters
    ----------
    name
        Name of the sample: openmoji.
    folder
        Folder for the CSV file and the pictures.
    """
    from likewise.catalog.samples import write_openmoji

    say(f"The {name} catalogue is {write_openmoji(folder)}")
