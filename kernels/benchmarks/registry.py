"""All providers that are compared, in the order of the table."""

from prorl_kernels.benchmarks.peers import packages, prorl, pytorch
from prorl_kernels.benchmarks.provider import Provider

PROVIDERS: list[Provider] = [*prorl.PROVIDERS, *pytorch.PROVIDERS, *packages.PROVIDERS]
