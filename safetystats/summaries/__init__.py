"""Floor 4: numbers into tables: findings, checks, verdicts, and the one place where a number becomes text."""
