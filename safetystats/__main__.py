"""Run the command line: `python -m safetystats`."""

from safetystats.cli import main

if __name__ == "__main__":
    main()
