"""`python -m prorl_mega.backtest` under its name of version 0.1."""

from prorl_mega.errors import renamed

if __name__ == "__main__":
    renamed("python -m prorl_mega.replay", "python -m prorl_mega.backtest")
