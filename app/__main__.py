"""`python -m app` is the command line, as `claimprint` is."""

from app.cli import main

main(prog_name="claimprint")
