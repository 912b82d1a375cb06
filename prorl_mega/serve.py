r"""A reward server: scores the answers of runs on other machines in verifier processes of this one.

    python -m prorl_mega.serve experiment=prorl_v1_1p5b tasks.workers=32 tasks.token_file=/home/me/.prorl/token

It is given the settings of the run and refuses a client that has others. Only this machine reaches it unless
`tasks.serve.address` is an address of the network and `tasks.serve.open_to_network=true`; nothing is encrypted, so that
must be a network of the cluster's own. Requests and replies are signed with the token of `tasks.token_file`, which the
server makes when there is none. To run servers on further CPU nodes of a job:

    serve="python -m prorl_mega.serve experiment=prorl_v1_1p5b tasks.token_file=$HOME/.prorl/token"
    for node in cpu1 cpu2; do
        srun --overlap --nodes 1 --ntasks 1 --nodelist $node $serve tasks.workers=32 \
            tasks.serve.address=$node tasks.serve.open_to_network=true &
    done
    srun ... python -m prorl_mega.train experiment=prorl_v1_1p5b tasks.token_file=$HOME/.prorl/token \
        'tasks.servers=["cpu1:8650","cpu2:8650"]'

SIGTERM ends it and everything that it has started.
"""

from __future__ import annotations

import asyncio

from omegaconf import DictConfig

from prorl_mega.config.compose import run_composed, to_tasks
from prorl_mega.config.schema import RunConfig
from prorl_mega.errors import ExitCode
from prorl_mega.tasks.benchmarks import completed
from prorl_mega.verifiers.remote.server import RewardServer
from prorl_mega.verifiers.remote.token import obtain_token


def main(settings: DictConfig) -> ExitCode:
    tasks = to_tasks(settings, completed)
    asyncio.run(RewardServer(tasks, obtain_token(tasks.token_file)).run())
    return ExitCode.FINISHED


if __name__ == "__main__":
    run_composed(main, RunConfig)
