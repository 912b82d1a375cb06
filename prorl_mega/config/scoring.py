"""The settings that scores depend on, beside the policy. Scores before and after a change of one are not compared."""

SCORED_UNDER = (
    "evaluation.problems_per_task",
    "evaluation.temperature",
    "evaluation.top_p",
    "rollout.max_response_tokens",
    "rollout.max_prompt_tokens",
    "model.keep_special_tokens",
    "tasks.mixture",
)
"""Settings, and the group of the entries, whose weights in training do not count."""
