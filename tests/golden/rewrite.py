"""`python -m tests.golden.rewrite`: write every scenario's `nb.txt` anew. Review the diff before you commit it."""

from tests.golden.scenario import FOLDER, SCENARIOS, outcome

if __name__ == "__main__":
    for name in SCENARIOS:
        (FOLDER / name / "nb.txt").write_text(outcome(name))
        print(FOLDER / name / "nb.txt")
