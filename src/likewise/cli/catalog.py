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


def sample(name: Literal["openmoji", "tuxpaint"], folder: Path, /, *, language: str = "en") -> None:
    """Write a sample catalogue: OpenMoji pictures with names, or the installed stamps of Tux Paint with recordings.

    OpenMoji (CC BY-SA 4.0) has about 1,900 pictures. The stamps (GPL-2) are those of the Debian package
    tuxpaint-stamps-default: about 1,000 pictures with captions, spoken descriptions and sounds.

    Example: likewise sample tuxpaint samples/tuxpaint --language fr

    Parameters
    ----------
    name
        Name of the sample: openmoji or tuxpaint.
    folder
        Folder for the CSV file and the pictures.
    language
        Language of the captions and descriptions of tuxpaint, such as fr.
    """
    if name == "tuxpaint":
        from likewise.catalog.tuxpaint import write_tuxpaint

        path = write_tuxpaint(folder, language=language)
    else:
        from likewise.catalog.samples import write_openmoji

        path = write_openmoji(folder)
    say(f"The {name} catalogue is {path}")
