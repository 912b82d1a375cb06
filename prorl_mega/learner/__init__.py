"""The learner on Megatron-core."""

import warnings

# Said at import about optional GPU libraries; `model.spec_name` tells what a run really uses.
warnings.filterwarnings("ignore", category=UserWarning, message=".*(Apex|Transformer Engine).* not installed")
