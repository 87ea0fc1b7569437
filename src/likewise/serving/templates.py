"""HTML templates of the package, in which everything that is filled in is escaped."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape


@cache
def load_template(package: str, name: str) -> Template:
    """Load a template from the folder of a package; a value that is missing when it is rendered is an error."""
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(name)
