"""vLLM servers beside the learner, as their client sees them: processes, health, routing, and pushes of weights.

`fleet.py` is what a loop calls. It needs no vLLM: the servers' program is `prorl_mega.rollout.server`.
"""
