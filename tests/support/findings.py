"""What the measuring scripts print: Markdown tables, row by row, and what must hold."""


class Table:
    """A Markdown table that is printed row by row."""

    def __init__(self, *columns):
        print("\n| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)

    def row(self, *cells):
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


class Verdict:
    """What must hold; `exit_code` says whether all of it did. With `smoke`, what depends on the machine's speed is only told."""

    def __init__(self, smoke=False):
        self.exit_code, self.smoke = 0, smoke

    def check(self, holds, text):
        print(f"- {'holds' if holds else '**missed**'}: {text}", flush=True)
        if not holds:
            self.exit_code = 1

    def check_speed(self, holds, text):
        """Of what depends on the machine."""
        self.check(holds or self.smoke, text + (" (not judged)" if self.smoke and not holds else ""))
