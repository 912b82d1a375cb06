"""`python -m prorl_mega.serve` under its name of version 0.1."""

from prorl_mega.errors import renamed

if __name__ == "__main__":
    renamed("python -m prorl_mega.tasks.serve", "python -m prorl_mega.serve")
