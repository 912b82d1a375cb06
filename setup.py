"""Two packages: the system (`prorl_mega`) and its kernels (`kernels/`, imported as `prorl_kernels`).

The folder `kernels/` has no `__init__.py` at its top and is mapped to another import name, because a top-level
package called `kernels` would shadow the Hugging Face package of that name.
"""

from setuptools import find_packages, setup

kernel_packages = ["prorl_kernels"] + [
    f"prorl_kernels.{name}" for name in find_packages("kernels", exclude=["benchmarks", "benchmarks.*"])
]

setup(
    name="prorl_mega",
    version="0.1.0",
    description="Prolonged reinforcement learning for reasoning: Megatron-core learner, vLLM rollouts, fused kernels",
    python_requires=">=3.11,<3.12",
    packages=[*find_packages(include=["prorl_mega", "prorl_mega.*"]), "prorl_mega.configs", *kernel_packages],
    package_dir={"prorl_kernels": "kernels", "prorl_mega.configs": "configs"},
    package_data={
        "prorl_mega.configs": ["*.yaml", "**/*.yaml"],
        "prorl_mega.reporting": ["*.jinja", "assets/*"],
        "prorl_mega.viewing": ["pages/*"],
        "prorl_mega.tasks.instruction": ["*.gz", "*.txt"],
    },
    entry_points={"vllm.general_plugins": ["prorl_mega = prorl_mega.rollout.plugin:register"]},
    extras_require={  # for `hydra/sweeper=optuna`, and for the setting `loggers`, each by itself
        "optuna": ["optuna>=4"],
        "mlflow": ["mlflow-skinny>=3.17"],
        "trackio": ["trackio>=0.43"],
        "wandb": ["wandb>=0.31"],
    },
    install_requires=[],  # exact pins live in requirements/*.lock and are installed with --no-deps
)
