"""The command `likewise` with a model that knows no names of classes: what training has from them is the difference."""

from functools import partial

from likewise.cli.__main__ import main
from likewise.model.model import Model

if __name__ == "__main__":
    Model.create = partial(Model.create, class_names=False)
    main()
